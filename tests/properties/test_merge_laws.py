"""The buckets table equals the plain merging of cells, whatever the cuts, restarts, rewinds and evictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plain_partials import to_ranks, to_record

from rtexp.core.cells import Cell, CellCounts, CellKey, merged
from rtexp.engine.api import Page
from rtexp.tables import cell_pages
from rtexp.tables.buckets import BucketsTable

if TYPE_CHECKING:
    from rtexp.records.partials import Partials
    from rtexp.tables.buckets import UnpublishedCell

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


class Worker:
    """A table that may leave cells to the store of its last checkpoint, and SQL beside it."""

    def __init__(self, records: list[Partials], *, evicts: bool) -> None:
        self.records = records
        self.evicts = evicts
        self.changelog = Changelog()
        self.position = 0
        self.sql: dict[CellKey, CellCounts] = {}
        self.handed_out: list[UnpublishedCell] = []
        self.start()

    def start(self) -> None:
        self.table = make_table()
        stored = self.changelog.pages
        read = stored.get if self.evicts else None
        self.table.load([Page(*item) for item in stored.items()], read)
        self.position = self.changelog.position
        self.handed_out = []

    def do(self, step: str) -> None:
        match step:
            case "apply":
                if self.position < len(self.records):
                    self.table.add(self.records[self.position])
                    self.position += 1
                self.table.expire()
                self.table.evict()
            case "save":
                self.changelog.save(self.table, self.position)
            case "crash":
                self.start()
            case "hand out":
                self.handed_out = self.table.rows_to_publish(3)
            case "write":
                self.sql |= {cell.key: cell.counts for cell in self.handed_out}
            case "answer":
                # SQL has what was written, and says so; or it has, and nobody hears of it.
                self.sql |= {cell.key: cell.counts for cell in self.handed_out}
                self.table.mark_published(self.handed_out)


hours = st.integers(0, 5)
late_keys = st.builds(
    CellKey,
    st.sampled_from(["a", "A"]),
    st.just(0),
    st.sampled_from(["x", "y"]),
    st.sampled_from(["", "click"]),
    hours.map(lambda hour: hour * HOUR) | hours.map(lambda hour: hour * HOUR + QUARTER),
)
late_deltas = st.lists(
    st.tuples(
        st.dictionaries(late_keys, cells, max_size=4), st.integers(0, 10).map(lambda hour: hour * HOUR)
    ),
    max_size=10,
)
worker_steps = st.lists(
    st.sampled_from(["apply", "apply", "apply", "save", "crash", "hand out", "write", "answer"]), max_size=40
)


@settings(deadline=None, max_examples=200)
@given(late_deltas, worker_steps, st.sampled_from([100, cell_pages.CHUNK_BYTES]))
def test_a_table_that_evicts_equals_one_that_keeps_everything_whenever_it_evicts(
    parts: list[tuple[dict[CellKey, Cell], int]], steps: list[str], chunk_bytes: int
) -> None:
    records = [to_record(part, watermark_ms=watermark_ms) for part, watermark_ms in parts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_pages, "CHUNK_BYTES", chunk_bytes)
        keeps, evicts = Worker(records, evicts=False), Worker(records, evicts=True)
        for step in [*steps, *["apply"] * len(records), "save"]:
            keeps.do(step)
            evicts.do(step)
            assert len(evicts.table) == len(keeps.table)
            assert evicts.table.unpublished >= 0
        assert contents(evicts.table) == contents(keeps.table)
        assert evicts.table.watermark_ms == keeps.table.watermark_ms
        assert evicts.changelog.pages == keeps.changelog.pages

        expected = merged((key, cell) for part, _ in parts for key, cell in part.items())
        for step in ["apply", "save", "apply", *["hand out", "answer"] * (len(expected) + 1)]:
            evicts.do(step)
        assert evicts.sql == {key: cell.counts for key, cell in expected.items()}
        assert evicts.table.unpublished == 0
        evicts.records.append(to_record({}, watermark_ms=1000 * HOUR))
        for step in ("apply", "save"):
            evicts.do(step)
        assert len(evicts.table) == 0
        assert evicts.changelog.pages.keys() == {b"progress"}
