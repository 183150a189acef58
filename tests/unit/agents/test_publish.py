"""From changed cells to rows in SQL: nothing lost while SQL is away, nothing claimed before it is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from tests.unit.store.databases import cell_row, look_row

from rtexp.agents.freshness import Freshness
from rtexp.agents.publish import Changed, PublishedLook, Publisher
from rtexp.errors import StateError, StoreUnavailable
from rtexp.store.cells import CellRow, read_cells
from rtexp.store.engine import reading
from rtexp.store.looks import LookInputRow, read_look_inputs, read_looks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Engine
    from tests.unit.store.databases import Database


pytestmark = pytest.mark.timeout(30)  # a publisher that forgets what it has written never ends a round


class Table:
    """One partition's cells in a dictionary: bucket to volume, as the buckets table would keep them."""

    changelog = "rtexp.results-buckets-changelog"

    def __init__(self, partition: int = 0, incarnation: str = "first") -> None:
        self.partition = partition
        self.incarnation = incarnation
        self.position = 0
        self.volumes: dict[int, int] = {}
        self.dirty: dict[int, int] = {}
        """Bucket to the position of its newest change."""
        self.empty = asyncio.Event()
        """Whether SQL has every change."""
        self.before_return: Callable[[], None] = lambda: None
        self.looks_left: list[PublishedLook] = []
        self.looks_handed_out = 0

    def count(self, *buckets: int) -> None:
        """Merge one partials record."""
        self.position += 1
        self.empty.clear()
        for bucket in buckets:
            self.volumes[bucket] = self.volumes.get(bucket, 0) + 1
            self.dirty[bucket] = self.position

    def row(self, bucket: int) -> CellRow:
        return cell_row(
            f"feed-{self.partition}",
            bucket_start_ms=bucket,
            volume=self.volumes[bucket],
            sequence=self.position,
        )

    async def changed(self, limit: int) -> Changed:
        buckets = list(self.dirty)[:limit]
        handed_out = Changed(
            [self.row(b) for b in buckets], self.position, len(self.dirty) > limit, 1_000 * self.position
        )
        self.before_return()
        return handed_out

    async def looks(self, limit: int) -> Sequence[PublishedLook]:
        self.looks_handed_out = min(limit, len(self.looks_left))
        return self.looks_left[: self.looks_handed_out]

    def mark_looks_published(self) -> None:
        del self.looks_left[: self.looks_handed_out]

    def mark_published(self, rows: Sequence[CellRow]) -> None:
        for row in rows:
            if self.dirty[row.bucket_start_ms] <= row.sequence:
                del self.dirty[row.bucket_start_ms]
        if not self.dirty:
            self.empty.set()


def volumes(engine: Engine) -> dict[tuple[str, int], int]:
    with reading(engine) as connection:
        return {(row.experiment, row.bucket_start_ms): row.volume for row in read_cells(connection)}


async def test_changed_cells_of_all_partitions_become_rows(engine: Engine) -> None:
    tables = [Table(0), Table(1)]
    tables[0].count(1, 2)
    tables[1].count(1)
    tables[1].count(1)
    publisher = Publisher(engine, lambda: tables)
    assert await publisher.run_round() == 3
    assert volumes(engine) == {("feed-0", 1): 1, ("feed-0", 2): 1, ("feed-1", 1): 2}
    assert publisher.published == {0: 1, 1: 2}


async def test_only_what_changed_since_is_written_again(engine: Engine) -> None:
    table = Table()
    table.count(*range(10))
    publisher = Publisher(engine, lambda: [table])
    await publisher.run_round()
    assert await publisher.run_round() == 0
    table.count(3)
    assert await publisher.run_round() == 1
    assert volumes(engine)["feed-0", 3] == 2


async def test_a_position_without_changes_counts_as_published(engine: Engine) -> None:
    table = Table()
    table.count()
    publisher = Publisher(engine, lambda: [table])
    assert await publisher.run_round() == 0
    assert publisher.published == {0: 1}


async def test_a_cell_that_changes_while_it_is_written_is_written_again(engine: Engine) -> None:
    table = Table()
    table.count(1)
    publisher = Publisher(engine, lambda: [table])

    def count_once_more() -> None:
        table.before_return = lambda: None
        table.count(1)

    table.before_return = count_once_more
    await publisher.run_round()
    assert (volumes(engine), publisher.published) == ({("feed-0", 1): 1}, {0: 1})
    await publisher.run_round()
    assert (volumes(engine), publisher.published) == ({("feed-0", 1): 2}, {0: 2})


async def test_a_position_is_published_only_with_the_last_part(engine: Engine) -> None:
    table = Table()
    table.count(*range(5))
    publisher = Publisher(engine, lambda: [table], limit_rows=2)
    seen: list[tuple[int, dict[int, int]]] = []
    table.before_return = lambda: seen.append((len(volumes(engine)), dict(publisher.published)))
    assert await publisher.run_round() == 5
    assert seen == [(0, {}), (2, {}), (4, {})]
    assert (len(volumes(engine)), publisher.published) == (5, {0: 1})


async def test_a_partition_that_never_stops_changing_starves_no_other(engine: Engine) -> None:
    busy, calm = Table(0), Table(1)
    busy.count(*range(10))
    calm.count(1)
    publisher = Publisher(engine, lambda: [busy, calm], limit_rows=2)
    calls = 0

    def change_all() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            assert publisher.published == {1: 1}
        if calls < 6:
            busy.count(*range(10))

    busy.before_return = change_all
    await publisher.run_round()
    assert calls > 6
    assert publisher.published == {0: busy.position, 1: 1}
    assert volumes(engine) == {**{("feed-0", b): busy.volumes[b] for b in range(10)}, ("feed-1", 1): 1}


async def test_a_database_that_refuses_writes_costs_nothing_but_time(engine: Engine, store: Database) -> None:
    table = Table()
    table.count(1)
    publisher = Publisher(engine, lambda: [table])
    with capture_logs() as logs:
        with store.refusing_writes():
            for _ in range(3):
                assert await publisher.run_round() == 0
                table.count(1, 2)
            assert (publisher.published, publisher.store.is_up) == ({}, False)
        assert await publisher.run_round() == 2
        assert await publisher.run_round() == 0
    assert volumes(engine) == {("feed-0", 1): 4, ("feed-0", 2): 3}
    assert (publisher.published, publisher.store.is_up) == ({0: 4}, True)
    told = [entry for entry in logs if entry["log_level"] != "debug"]
    assert [entry["event"] for entry in told] == ["store_unavailable", "store_available"]
    assert told[1]["failures"] == 3


async def test_parts_that_were_written_before_a_failure_are_not_written_again(
    engine: Engine, store: Database
) -> None:
    table = Table()
    table.count(*range(5))
    publisher = Publisher(engine, lambda: [table], limit_rows=2)
    lock = store.refusing_writes()
    calls = 0

    def lock_at_the_second_part() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            lock.__enter__()

    table.before_return = lock_at_the_second_part
    await publisher.run_round()
    assert not publisher.store.is_up
    lock.__exit__(None, None, None)
    assert (len(volumes(engine)), publisher.published) == (2, {})
    assert await publisher.run_round() == 3
    assert (len(volumes(engine)), publisher.published) == (5, {0: 1})


async def test_an_owner_that_lost_its_partition_overwrites_nothing(engine: Engine) -> None:
    old, new = Table(), Table()
    for table in (old, new):
        table.count(1)
    new.count(1)
    await Publisher(engine, lambda: [new]).run_round()
    await Publisher(engine, lambda: [old]).run_round()
    assert volumes(engine) == {("feed-0", 1): 2}


async def test_positions_of_a_partition_that_went_away_are_forgotten(engine: Engine) -> None:
    tables = [Table(0), Table(1)]
    publisher = Publisher(engine, lambda: tables)
    await publisher.run_round()
    assert publisher.published == {0: 0, 1: 0}
    del tables[0]
    await publisher.run_round()
    assert publisher.published == {1: 0}


async def test_a_position_never_goes_back_while_a_restarted_table_catches_up(engine: Engine) -> None:
    table = Table()
    table.count(1)
    table.count(1)
    tables = [table]
    publisher = Publisher(engine, lambda: tables)
    await publisher.run_round()
    tables[0] = Table()
    tables[0].count(1)
    await publisher.run_round()
    assert (publisher.published, volumes(engine)) == ({0: 2}, {("feed-0", 1): 2})


async def test_a_database_of_another_history_stops_the_worker_and_stays_as_it_is(engine: Engine) -> None:
    table = Table(incarnation="first")
    table.count(1)
    await Publisher(engine, lambda: [table]).run_round()
    other = Table(incarnation="second")
    other.position = 100
    other.count(1, 2)
    with pytest.raises(StateError, match=r"another history .* \(first, not second\)"):
        await Publisher(engine, lambda: [other]).run()
    assert volumes(engine) == {("feed-0", 1): 1}


async def test_running_publishes_until_cancelled(engine: Engine) -> None:
    table = Table()
    table.count(1)
    publisher = Publisher(engine, lambda: [table], interval_seconds=0.001)
    task = asyncio.create_task(publisher.run())
    for position in (1, 2):
        await asyncio.wait_for(table.empty.wait(), timeout=10)
        assert volumes(engine) == {("feed-0", 1): position}
        table.count(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Pauses:
    """Runs a publisher without waiting, and notes how long it would have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
        self.seconds: list[float] = []
        self._rounds = rounds
        self._really = asyncio.sleep
        monkeypatch.setattr("rtexp.agents.publish.asyncio.sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) == self._rounds:
            raise asyncio.CancelledError
        await self._really(0)


async def test_failures_are_retried_ever_later_up_to_a_limit(
    engine: Engine, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table()
    table.count(1)
    pauses = Pauses(monkeypatch, rounds=6)
    with store.refusing_writes(), pytest.raises(asyncio.CancelledError):
        await Publisher(engine, lambda: [table]).run()
    assert pauses.seconds == [2, 4, 8, 15, 15, 15]


async def test_days_of_failures_change_nothing_about_that(
    engine: Engine, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table()
    table.count(1)
    publisher = Publisher(engine, lambda: [table])
    for _ in range(20_000):
        publisher.store.lost(StoreUnavailable())
    pauses = Pauses(monkeypatch, rounds=1)
    with store.refusing_writes(), pytest.raises(asyncio.CancelledError):
        await publisher.run()
    assert pauses.seconds == [15]


async def test_with_very_many_changes_the_interval_grows_and_says_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtexp.agents.publish.ROWS_PER_INTERVAL", 20)
    table = Table()
    table.count(*range(50))
    pauses = Pauses(monkeypatch, rounds=3)
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await Publisher(engine, lambda: [table]).run()
    assert pauses.seconds == [2.5, 1, 1]
    told = [entry for entry in logs if entry["log_level"] != "debug"]
    assert [(entry["event"], entry["seconds"]) for entry in told] == [
        ("publish_interval", 2.5),
        ("publish_interval", 1),
    ]


def published(look: int, position: int = 1) -> PublishedLook:
    """A look of one comparison with its input, each of a size that is easy to tell."""
    row = look_row("feed-0", look=look, sequence=position)
    given = LookInputRow("feed-0", row.period_start_ms, look, row.scheduled_ms, "{}", position)
    return PublishedLook(given, [row])


def looks_in_sql(engine: Engine) -> tuple[list[int], list[int]]:
    """Return the numbers of the looks in SQL, and those of the inputs."""
    with reading(engine) as connection:
        return (
            sorted(row.look for row in read_looks(connection)),
            sorted(row.look for row in read_look_inputs(connection, experiment="feed-0")),
        )


async def test_looks_are_written_with_their_inputs_part_by_part(engine: Engine) -> None:
    table = Table()
    table.looks_left = [published(look) for look in (1, 2, 3)]
    await Publisher(engine, lambda: [table], limit_rows=2).run_round()
    assert looks_in_sql(engine) == ([1, 2, 3], [1, 2, 3])
    assert table.looks_left == []


async def test_looks_that_sql_refused_are_written_later_and_only_then_marked(
    engine: Engine, store: Database
) -> None:
    table = Table()
    table.looks_left = [published(1)]
    publisher = Publisher(engine, lambda: [table])
    with store.refusing_writes():
        await publisher.run_round()
        assert (looks_in_sql(engine), len(table.looks_left)) == (([], []), 1)
    await publisher.run_round()
    assert (looks_in_sql(engine), table.looks_left) == (([1], [1]), [])


async def test_a_look_and_its_input_are_written_both_or_not_at_all(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("gone between both")

    table = Table()
    table.looks_left = [published(1)]
    with monkeypatch.context() as patched:
        patched.setattr("rtexp.agents.publish.upsert_looks", fail)
        await Publisher(engine, lambda: [table]).run_round()
    assert (looks_in_sql(engine), len(table.looks_left)) == (([], []), 1)


async def test_looks_of_another_history_are_refused(engine: Engine) -> None:
    table, other = Table(incarnation="first"), Table(incarnation="second")
    table.looks_left, other.looks_left = [published(1)], [published(2, position=99)]
    await Publisher(engine, lambda: [table]).run_round()
    with pytest.raises(StateError, match="another history"):
        await Publisher(engine, lambda: [other]).run()
    assert looks_in_sql(engine) == ([1], [1])


class Fresh(Freshness):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, int]] = []

    def published(self, partition: int, watermark_ms: int) -> None:
        self.told.append((partition, watermark_ms))


async def test_freshness_is_told_of_a_watermark_once_all_that_it_stands_for_is_in_sql(
    store: Database, engine: Engine
) -> None:
    table, freshness = Table(3), Fresh()
    publisher = Publisher(engine, lambda: [table], limit_rows=2, freshness=freshness)
    table.count(*range(5))
    with store.refusing_writes():
        await publisher.run_round()
    assert freshness.told == []
    seen: list[tuple[int, int]] = []
    table.before_return = lambda: seen.append((len(volumes(engine)), len(freshness.told)))
    await publisher.run_round()
    assert seen == [(0, 0), (2, 0), (4, 0)]
    assert freshness.told == [(3, 1_000)]
    await publisher.run_round()
    assert freshness.told == [(3, 1_000)] * 2, "a watermark goes on without cells as well"


async def test_rounds_that_write_are_counted_with_their_rows_and_told_in_one_line_each(
    engine: Engine,
) -> None:
    table = Table()
    table.count(1, 2, 3)
    publisher = Publisher(engine, lambda: [table])
    with capture_logs() as logs:
        await publisher.run_round()
        await publisher.run_round()
    assert (publisher.sensors.rounds, publisher.sensors.cells, publisher.sensors.looks) == (1, 3, 0)
    assert publisher.sensors.seconds > 0
    (line,) = logs
    assert (line["event"], line["log_level"], line["cells"], line["looks"]) == ("published", "debug", 3, 0)
