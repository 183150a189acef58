"""The buckets table equals the plain merging of cells, whatever the cuts, restarts and rewinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plain_partials import to_ranks, to_record

from rtexp.core.cells import Cell, CellCounts, CellKey, merged
from rtexp.engine.api import Page
from rtexp.tables.buckets import BucketsTable

if TYPE_CHECKING:
    from rtexp.records.partials import Partials

HOUR = 3_600_000
QUARTER = HOUR // 4

keys = st.builds(
    CellKey,
    st.sampled_from(["a", "A"]),
    st.just(0),
    st.sampled_from(["x", "y"]),
    st.sampled_from(["", "click"]),
    st.sampled_from([0, QUARTER, HOUR]),
)
counts = st.builds(CellCounts, *[st.integers(0, 2**40)] * 5)
# Few registers, so that they meet; and now and then so many that a sketch turns into registers.
few_ranks = st.dictionaries(st.integers(0, 1), st.integers(1, 54), max_size=2)
many_ranks = st.integers(1, 54).map(lambda rank: dict.fromkeys(range(300), rank))
cells = st.builds(Cell, counts, few_ranks | many_ranks)
deltas = st.lists(st.dictionaries(keys, cells, max_size=4), max_size=8)


def make_table() -> BucketsTable:
    return BucketsTable(lg_k=10, bucket_ms=QUARTER, period_ms=72 * HOUR, grace_ms=HOUR)


def contents(table: BucketsTable) -> dict[CellKey, Cell]:
    return {key: Cell(counts, to_ranks(sketch)) for key in table for counts, sketch in [table.cell(key)]}


@settings(deadline=None, max_examples=100)
@given(deltas, st.randoms(use_true_random=False))
def test_cells_are_the_plain_merge_of_their_deltas_in_any_order(
    parts: list[dict[CellKey, Cell]], rng: object
) -> None:
    table = make_table()
    shuffled = list(parts)
    rng.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis hands out a random.Random
    for part in shuffled:
        table.add(to_record(part))
    assert contents(table) == merged((key, cell) for part in parts for key, cell in part.items())


class Changelog:
    """Keeps what a table checkpoints, and how many records of its input that stands for."""

    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}
        self.position = 0

    def save(self, table: BucketsTable, position: int) -> None:
        for key, value in table.changed_pages():
            if value is None:
                del self.pages[key]
            else:
                self.pages[key] = value
        self.position = position

    def restore(self) -> BucketsTable:
        table = make_table()
        table.load(Page(key, value) for key, value in self.pages.items())
        return table


steps = st.lists(st.sampled_from(["apply", "apply", "look", "save", "crash"]), max_size=24)


@settings(deadline=None, max_examples=100)
@given(deltas, steps)
def test_any_checkpoints_and_crashes_leave_the_same_cells_watermark_and_pages(
    parts: list[dict[CellKey, Cell]], steps: list[str]
) -> None:
    records = [to_record(part, source=i % 2, sources=2, watermark_ms=i) for i, part in enumerate(parts)]
    straight = Changelog()
    table = make_table()
    for record in records:
        table.add(record)
    straight.save(table, len(records))

    broken = Changelog()
    again, position = make_table(), 0
    for step in [*steps, *["apply"] * len(records)]:
        if step == "apply" and position < len(records):
            again.add(records[position])
            position += 1
        elif step == "look":
            contents(again)
        elif step == "save":
            broken.save(again, position)
        elif step == "crash":
            again, position = broken.restore(), broken.position
    broken.save(again, position)
    assert position == len(records)
    assert contents(again) == contents(table)
    assert again.watermark_ms == table.watermark_ms
    assert broken.pages == straight.pages
    assert contents(broken.restore()) == contents(table)


@settings(deadline=None, max_examples=100)
@given(deltas, st.lists(st.sampled_from(["add", "hand out", "write", "expire"]), max_size=24))
def test_publishing_some_of_it_at_any_time_brings_every_last_value_to_sql(
    parts: list[dict[CellKey, Cell]], steps: list[str]
) -> None:
    table = make_table()
    records = [to_record(part) for part in parts]
    # The end of all periods, so that cells may be forgotten: every last value must have been published.
    records.append(to_record({}, watermark_ms=1000 * HOUR))
    sql: dict[CellKey, CellCounts] = {}
    handed_out = table.rows_to_publish(3)
    feed: list[Partials] = list(records)
    for step in [*steps, *["add"] * len(records), *["hand out", "write", "expire"] * 20]:
        if step == "add" and feed:
            table.add(feed.pop(0))
        elif step == "hand out":
            handed_out = table.rows_to_publish(3)
        elif step == "write":
            sql |= {cell.key: cell.counts for cell in handed_out}
            table.mark_published(handed_out)
        elif step == "expire":
            table.expire()
    expected = merged((key, cell) for part in parts for key, cell in part.items())
    assert sql == {key: cell.counts for key, cell in expected.items()}
