"""From totals that are reported now and then to counts by minute: each thing once, whoever keeps the book."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agents.statuses import status

from rtexp.agents.counter_book import KEPT_MINUTES, MINUTE_MS, CounterBook
from rtexp.store.operations import CounterRow, WorkerRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.records.status import Status

REASON = "actions/repeat"


def counted(total: int, at_ms: int, worker: str = "host-1", partition: int = 0) -> Status:
    return status(worker, at_ms, partition, counters={REASON: total})


def ingested(total: int, at_ms: int, worker: str = "host-1", started_ms: int = 0) -> Status:
    return status(worker, at_ms, -1, job="ingest", started_ms=started_ms, counters={REASON: total})


def book(
    *statuses: Status, newest: Iterable[CounterRow] = (), workers: Iterable[WorkerRow] = ()
) -> CounterBook:
    made = CounterBook(newest, workers)
    for each in statuses:
        made.take(each)
    return made


def minutes(made: CounterBook) -> dict[int, int]:
    """Counts of the only counter, by number of the minute."""
    return {row.minute_ms // MINUTE_MS: row.counted for row in made.rows()}


def known(worker: str, updated_ms: int) -> WorkerRow:
    return WorkerRow(worker, "ingest", "", 1, 0, 0, 0, 0.0, updated_ms)


class Sql:
    """What a database would have: the row of the higher sequence."""

    def __init__(self) -> None:
        self.rows: dict[tuple[object, ...], CounterRow] = {}

    def write(self, made: CounterBook) -> None:
        rows = made.rows()
        for row in rows:
            stored = self.rows.get(row[:4])
            if stored is None or row.sequence >= stored.sequence:
                self.rows[row[:4]] = row
        made.written(rows)

    def newest(self) -> list[CounterRow]:
        found: dict[tuple[object, ...], CounterRow] = {}
        for row in sorted(self.rows.values(), key=lambda row: row.minute_ms):
            found[row[:3]] = row
        return list(found.values())

    def minutes(self) -> dict[int, int]:
        return {row.minute_ms // MINUTE_MS: row.counted for row in self.rows.values()}


def test_a_count_belongs_to_the_minute_of_the_report_that_first_has_it() -> None:
    #  minute      0             1       2
    #  total    3     5          9            (nothing)
    made = book(counted(3, 1_000), counted(5, 59_999), counted(9, 60_000), counted(9, 120_000))
    assert minutes(made) == {0: 5, 1: 4}
    assert [row.sequence for row in made.rows()] == [5, 9]


def test_a_minute_that_was_written_is_written_again_with_all_of_it() -> None:
    made = book(counted(3, 1_000))
    made.written(made.rows())
    assert made.rows() == []
    made.take(counted(7, 2_000))
    assert made.rows() == [CounterRow("aggregate", 0, REASON, 0, 7, 7)]


def test_what_is_taken_while_it_is_written_remains_to_be_written() -> None:
    made = book(counted(3, 1_000))
    rows = made.rows()
    made.take(counted(4, 2_000))
    made.take(counted(6, MINUTE_MS))
    made.written(rows)
    assert minutes(made) == {0: 4, 1: 2}


def test_a_rewind_counts_nothing_twice() -> None:
    made = book(
        counted(9, 1_000), counted(2, MINUTE_MS), counted(8, 2 * MINUTE_MS), counted(10, 3 * MINUTE_MS)
    )
    assert minutes(made) == {0: 9, 3: 1}


def test_a_partition_that_moves_to_another_worker_goes_on_with_its_total() -> None:
    made = book(counted(9, MINUTE_MS), counted(11, 0, worker="host-2"))
    assert minutes(made) == {1: 11}, "one whose clock is behind, so that its report seems older"
    made.written(made.rows())
    made.take(counted(12, 3 * MINUTE_MS))
    made.written(made.rows())
    made.take(counted(15, 2 * MINUTE_MS, worker="host-2"))
    assert minutes(made) == {3: 4}, "a counter's minutes never go back"


def test_a_new_book_goes_on_from_the_newest_row() -> None:
    newest = CounterRow("aggregate", 0, REASON, MINUTE_MS, 4, 9)
    made = book(
        counted(9, MINUTE_MS), counted(12, MINUTE_MS + 1), counted(20, 2 * MINUTE_MS), newest=[newest]
    )
    assert minutes(made) == {1: 7, 2: 8}


def test_each_partition_and_reason_counts_by_itself() -> None:
    two = status("w", 0, 1, counters={"actions/repeat": 1, "activations/marker": 2})
    assert len(book(counted(3, 0), two).rows()) == 3


def test_while_sql_is_away_a_day_of_minutes_is_kept() -> None:
    made = book(*(counted(minute + 1, minute * MINUTE_MS) for minute in range(KEPT_MINUTES + 100)))
    found = minutes(made)
    assert len(found) == KEPT_MINUTES
    assert sum(found.values()) == KEPT_MINUTES + 100


# --- Counters that begin with the worker


def test_workers_of_ingest_are_added_up() -> None:
    made = book(ingested(3, 0), ingested(4, 0, "host-2"), ingested(5, 1), ingested(4, 2, "host-2"))
    assert minutes(made) == {0: 9}
    assert made.rows()[0][:3] == ("ingest", -1, REASON)


def test_a_worker_that_starts_again_counts_from_nothing() -> None:
    made = book(ingested(9, 0), ingested(2, 20, started_ms=10), ingested(10, 30, started_ms=10))
    assert minutes(made) == {0: 19}


def test_a_new_book_takes_only_what_the_last_one_had_not() -> None:
    newest = [CounterRow("ingest", -1, REASON, 0, 9, 100)]
    made = book(
        ingested(5, 50), ingested(9, 100), ingested(11, 150), newest=newest, workers=[known("host-1", 100)]
    )
    assert [row.sequence for row in made.rows()] == [102]


def test_a_new_book_that_missed_what_the_last_one_took_counts_from_what_it_sees() -> None:
    newest = [CounterRow("ingest", -1, REASON, 0, 9, 100)]
    made = book(ingested(11, 150), ingested(14, 160), newest=newest, workers=[known("host-1", 100)])
    assert [row.sequence for row in made.rows()] == [103]
    made = book(ingested(11, 150, started_ms=120), newest=newest, workers=[known("host-1", 100)])
    assert [row.sequence for row in made.rows()] == [111], "it started after the last book was closed"


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 5), st.integers(0, 90_000))),
    st.sets(st.integers(0, 30)),
    st.sets(st.integers(0, 30)),
)
def test_wherever_books_are_closed_and_written_everything_is_counted_once(
    reports: list[tuple[str, int, int]], writes: set[int], closed: set[int]
) -> None:
    """A new leader reads the topic from its beginning, and SQL as its predecessor left it."""
    told: list[Status]
    sql, totals, told = Sql(), Counter[str](), []
    written_ms: dict[str, int] = {}
    made, now_ms = CounterBook([], []), 0
    for at, (worker, more, later_ms) in enumerate(reports):
        now_ms += later_ms + 1
        totals[worker] += more
        own = ingested(totals[worker], now_ms, worker)
        shared = counted(totals.total(), now_ms, worker)
        told += [own, shared]
        if at in closed:
            made = CounterBook(sql.newest(), [known(name, ms) for name, ms in written_ms.items()])
            for each in told:
                made.take(each)
        else:
            made.take(own)
            made.take(shared)
        if at in writes:
            sql.write(made)
            written_ms = {each.worker: each.at_ms for each in told}
    sql.write(made)
    by_job = Counter[str]()
    for row in sql.rows.values():
        by_job[row.job] += row.counted
    assert by_job["aggregate"] == by_job["ingest"] == totals.total()
