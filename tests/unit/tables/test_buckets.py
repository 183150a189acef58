"""The buckets table: merging, publishing, expiry and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.plain_partials import to_ranks, to_record

from rtexp.core import sketches
from rtexp.core.cells import Cell, CellCounts, CellKey
from rtexp.engine.api import Page
from rtexp.errors import StateError
from rtexp.tables import cell_pages
from rtexp.tables.buckets import BucketsTable

if TYPE_CHECKING:
    from collections.abc import Iterable

MINUTE = 60_000
HOUR = 60 * MINUTE
START = 1_700_000_100_000 // (15 * MINUTE) * (15 * MINUTE)
CLICK = CellKey("exp", START, "control", "click", START)
EXPOSED = CellKey("exp", START, "control", "", START)
ONE = Cell(CellCounts(2, 1, 4, 0, 0), {5: 3})
OVER_MS = START + 72 * HOUR + HOUR + 24 * HOUR
"""When a period that started at START may be forgotten."""


def make_table() -> BucketsTable:
    return BucketsTable(lg_k=10, bucket_ms=15 * MINUTE, period_ms=72 * HOUR, grace_ms=HOUR)


@pytest.fixture
def table() -> BucketsTable:
    return make_table()


def contents(table: BucketsTable) -> dict[CellKey, Cell]:
    return {key: Cell(counts, to_ranks(sketch)) for key in table for counts, sketch in [table.cell(key)]}


def publish(table: BucketsTable) -> set[CellKey]:
    cells = table.rows_to_publish(1000)
    table.mark_published(cells)
    return {cell.key for cell in cells}


def restored(pages: Iterable[Page]) -> BucketsTable:
    table = make_table()
    table.load(pages)
    return table


def stored(pages: dict[bytes, bytes], changed: Iterable[Page]) -> dict[bytes, bytes]:
    """Apply changed pages to what a changelog holds."""
    for key, value in changed:
        if value is None:
            assert key in pages, "a tombstone for a page that was never written"
            del pages[key]
        else:
            pages[key] = value
    return pages


def as_pages(pages: dict[bytes, bytes]) -> list[Page]:
    return [Page(key, value) for key, value in pages.items()]


def test_deltas_of_a_cell_add_up_and_sketches_unite(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE}))
    table.add(to_record({CLICK: Cell(CellCounts(1, 1, 1, 0, 0), {5: 4, 6: 1})}))
    assert contents(table) == {CLICK: Cell(CellCounts(3, 2, 5, 0, 0), {5: 4, 6: 1})}


def test_a_sketch_that_was_looked_at_goes_on_growing(table: BucketsTable) -> None:
    table.add(to_record({CLICK: Cell(ONE.counts, {5: 3, 7: 2})}))
    table.cell(CLICK)
    table.add(to_record({CLICK: Cell(ONE.counts, {5: 4, 6: 1}), EXPOSED: ONE}))
    assert to_ranks(table.cell(CLICK)[1]) == {5: 4, 6: 1, 7: 2}
    assert to_ranks(table.cell(EXPOSED)[1]) == {5: 3}


@pytest.mark.parametrize(
    "other",
    [
        CLICK._replace(experiment="Exp"),
        CLICK._replace(period_start_ms=START + 72 * HOUR),
        CLICK._replace(group="control "),
        CLICK._replace(event=""),
        CLICK._replace(bucket_start_ms=START + 15 * MINUTE),
    ],
)
def test_cells_that_differ_in_any_part_of_their_key_stay_apart(table: BucketsTable, other: CellKey) -> None:
    table.add(to_record({CLICK: ONE, other: ONE}))
    assert contents(table) == {CLICK: ONE, other: ONE}


def test_a_sketch_that_outgrows_its_entries_stays_the_same_sketch(table: BucketsTable) -> None:
    users = [f"user-{i}" for i in range(2000)]
    for user in users:
        entry = sketches.entry(user, 10)
        table.add(to_record({CLICK: Cell(CellCounts(1, 1, 1, 0, 0), {entry >> 6: entry & 63})}))
        if user == users[900]:
            table.cell(CLICK)  # merges what waits: the rest then meets registers
    expected = sketches.sparse(np.array([sketches.entry(user, 10) for user in users], "u4"))
    assert table.cell(CLICK)[1].tolist() == expected.tolist()


def test_the_watermark_is_the_least_of_all_sources(table: BucketsTable) -> None:
    table.add(to_record({}, source=0, sources=2, watermark_ms=500))
    assert table.watermark_ms == 0
    table.add(to_record({}, source=1, sources=2, watermark_ms=300))
    assert table.watermark_ms == 300


def test_a_changed_cell_is_published_once(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE, EXPOSED: ONE}))
    assert publish(table) == {CLICK, EXPOSED}
    assert publish(table) == set()
    table.add(to_record({CLICK: ONE}))
    assert table.unpublished == 1
    assert publish(table) == {CLICK}


def test_what_is_published_is_absolute(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE}))
    publish(table)
    table.add(to_record({CLICK: ONE}))
    (cell,) = table.rows_to_publish(10)
    assert (cell.key, cell.counts) == (CLICK, CellCounts(4, 2, 8, 0, 0))
    assert to_ranks(sketches.from_bytes(cell.sketch, 10)) == {5: 3}


def test_a_cell_that_changes_while_it_is_written_stays_unpublished(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE}))
    handed_out = table.rows_to_publish(10)
    table.add(to_record({CLICK: ONE}))
    table.mark_published(handed_out)
    assert publish(table) == {CLICK}


def test_a_failed_write_changes_nothing(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE}))
    table.rows_to_publish(10)
    assert publish(table) == {CLICK}


def test_cells_that_change_all_the_time_dont_keep_others_from_their_turn(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE, EXPOSED: ONE}))
    turns = []
    for _ in range(2):
        cells = table.rows_to_publish(1)
        table.mark_published(cells)
        turns += [cell.key for cell in cells]
        table.add(to_record({CLICK: ONE}))
    assert set(turns) == {CLICK, EXPOSED}


def test_everything_is_published_again_after_a_restart(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE}))
    publish(table)
    assert publish(restored(table.changed_pages())) == {CLICK}


def test_a_restored_table_holds_the_same_cells_and_watermark(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE, EXPOSED: ONE}, watermark_ms=77))
    again = restored(table.changed_pages())
    assert contents(again) == {CLICK: ONE, EXPOSED: ONE}
    assert again.watermark_ms == 77


def test_only_changed_pages_are_written_again(table: BucketsTable) -> None:
    later = CLICK._replace(bucket_start_ms=START + HOUR)
    table.add(to_record({CLICK: ONE, later: ONE}))
    first = [page.key for page in table.changed_pages()]
    assert len(first) == 3, "two hours and the progress"
    table.add(to_record({later: ONE}))
    second = [page.key for page in table.changed_pages()]
    assert len(second) == 2
    assert set(second) < set(first)
    assert [page.key for page in table.changed_pages()] == [b"progress"]


def test_page_keys_are_readable_and_names_with_slashes_dont_collide(table: BucketsTable) -> None:
    hour = START // HOUR * HOUR
    table.add(
        to_record(
            {CLICK._replace(experiment="a/b", event=""): ONE, CLICK._replace(experiment="a", event="b"): ONE}
        )
    )
    keys = sorted(page.key.decode() for page in table.changed_pages())
    assert keys == [f"cells/a%2Fb/{START}//{hour}/0", f"cells/a/{START}/b/{hour}/0", "progress"]


def test_a_large_page_is_cut_and_chunks_that_vanish_get_tombstones(
    table: BucketsTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_pages, "CHUNK_BYTES", 200)
    cells = {CLICK._replace(group=f"g{i}"): ONE for i in range(6)}
    table.add(to_record(cells))
    pages = stored({}, table.changed_pages())
    assert len(pages) == 4
    monkeypatch.setattr(cell_pages, "CHUNK_BYTES", 10_000)
    again = restored(as_pages(pages))
    assert contents(again) == cells
    again.add(to_record({CLICK._replace(group="g0"): ONE}))
    pages = stored(pages, again.changed_pages())
    assert len(pages) == 2
    assert contents(restored(as_pages(pages))) == contents(again)


def test_a_period_is_forgotten_when_it_is_over_and_published(table: BucketsTable) -> None:
    other = CLICK._replace(period_start_ms=START + 72 * HOUR, bucket_start_ms=START + 72 * HOUR)
    table.add(to_record({CLICK: ONE, other: ONE}, watermark_ms=OVER_MS - 1))
    pages = stored({}, table.changed_pages())
    publish(table)
    table.expire()
    assert contents(table).keys() == {CLICK, other}, "a millisecond too early"
    table = restored(as_pages(pages))
    publish(table)
    table.add(to_record({}, watermark_ms=OVER_MS))
    table.expire()
    assert contents(table).keys() == {other}
    pages = stored(pages, table.changed_pages())
    assert contents(restored(as_pages(pages))).keys() == {other}


def test_a_period_that_sql_lacks_isnt_forgotten(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE}, watermark_ms=OVER_MS))
    table.expire()
    assert contents(table) == {CLICK: ONE}
    publish(table)
    table.add(to_record({}, watermark_ms=OVER_MS + HOUR))
    table.expire()
    assert contents(table) == {}


def test_a_longer_period_of_earlier_settings_isnt_forgotten_while_it_is_counted(table: BucketsTable) -> None:
    late = CLICK._replace(bucket_start_ms=START + 300 * HOUR)
    table.add(to_record({CLICK: ONE, late: ONE}, watermark_ms=OVER_MS))
    publish(table)
    table.expire()
    assert contents(table).keys() == {CLICK, late}


def test_a_row_that_is_used_again_begins_at_zero(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE}, watermark_ms=OVER_MS))
    publish(table)
    table.expire()
    later = CellKey("new", OVER_MS, "a", "click", OVER_MS)
    table.add(to_record({later: Cell(CellCounts(1, 1, 1, 0, 0), {})}))
    assert contents(table) == {later: Cell(CellCounts(1, 1, 1, 0, 0), {})}
    assert publish(table) == {later}


def test_marking_a_forgotten_cell_as_published_is_harmless(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE}, watermark_ms=OVER_MS))
    handed_out = table.rows_to_publish(10)
    publish(table)
    table.expire()
    table.mark_published(handed_out)
    assert len(table) == 0


def test_pages_without_progress_are_refused(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE}))
    with pytest.raises(StateError, match="stand for"):
        restored(page for page in table.changed_pages() if page.key != b"progress")


def test_sketches_of_another_size_are_refused(table: BucketsTable) -> None:
    table.add(to_record({CLICK: ONE}))
    other = BucketsTable(lg_k=12, bucket_ms=15 * MINUTE, period_ms=72 * HOUR, grace_ms=HOUR)
    with pytest.raises(StateError, match="lg_k"):
        other.load(table.changed_pages())
