"""Cells that have left memory: when they go, how they come back, and what is known of them meanwhile."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tests.plain_partials import to_ranks, to_record

from rtexp.core.cells import Cell, CellCounts, CellKey
from rtexp.engine.api import Page
from rtexp.errors import StateError
from rtexp.tables import cell_pages
from rtexp.tables.buckets import BucketsTable
from rtexp.tables.cell_pages import PageId
from rtexp.tables.cold_cells import Cold, ColdCells

if TYPE_CHECKING:
    from collections.abc import Mapping

MINUTE = 60_000
HOUR = 60 * MINUTE
START = 472_222 * HOUR
CLICK = CellKey("exp", START, "control", "click", START)
QUARTER_PAST = CLICK._replace(bucket_start_ms=START + 15 * MINUTE)
NEXT_HOUR = CLICK._replace(bucket_start_ms=START + HOUR)
ONE = Cell(CellCounts(2, 1, 4, 0, 0), {5: 3})
TWICE = Cell(CellCounts(4, 2, 8, 0, 0), {5: 3})
COLD_MS = START + 3 * HOUR + 15 * MINUTE
"""From here on the first hour may leave memory."""
OVER_MS = START + (72 + 1 + 24) * HOUR


class Worker:
    """A table beside the store of its last checkpoint, as the engine keeps it."""

    def __init__(self, pages: Mapping[bytes, bytes] | None = None) -> None:
        self.store = dict(pages or {})
        self.read: list[bytes] = []
        self.table = BucketsTable(lg_k=10, bucket_ms=15 * MINUTE, period_ms=72 * HOUR, grace_ms=HOUR)
        self.table.load([Page(*item) for item in self.store.items()], self._read)
        self.read.clear()

    def _read(self, key: bytes) -> bytes | None:
        self.read.append(key)
        return self.store.get(key)

    def flush(self, cells: Mapping[CellKey, Cell], watermark_ms: int) -> None:
        self.table.add(to_record(cells, watermark_ms=watermark_ms))
        self.table.expire()
        self.table.evict()

    def checkpoint(self) -> None:
        for key, value in self.table.changed_pages():
            if value is None:
                del self.store[key]
            else:
                self.store[key] = value

    def publish(self, limit: int = 1000) -> dict[CellKey, CellCounts]:
        cells = self.table.rows_to_publish(limit)
        self.table.mark_published(cells)
        return {cell.key: cell.counts for cell in cells}

    def restarted(self) -> Worker:
        return Worker(self.store)

    def contents(self) -> dict[CellKey, Cell]:
        cells = [(key, self.table.cell(key)) for key in self.table]
        return {key: Cell(counts, to_ranks(sketch)) for key, (counts, sketch) in cells}


def with_cold_hour(cells: Mapping[CellKey, Cell]) -> Worker:
    """Return a worker in whose table these cells have been saved, published and have left memory."""
    worker = Worker()
    worker.flush(cells, COLD_MS)
    worker.publish()
    worker.checkpoint()
    worker.flush({}, COLD_MS)
    assert worker.table.in_memory == 0
    return worker


def test_an_hour_leaves_memory_in_four_turns_after_its_end_by_the_watermark() -> None:
    #   START     +1 h                 +2.5 h            +3.25 h
    #   [--- hour ---)                    |                  |
    #                 [--- 1.5 h: hot ----) a quarter each 15 min: cold
    many = {CLICK._replace(event=f"e{number}"): ONE for number in range(400)}
    worker = Worker()
    worker.flush(many, START)
    left = []
    for minutes in (149, 150, 165, 180, 195):
        worker.checkpoint()
        worker.flush({}, START + minutes * MINUTE)
        left.append(len(many) - worker.table.in_memory)
    assert left[0] == 0
    assert left[-1] == len(many)
    turns = [after - before for before, after in pairwise(left)]
    assert all(70 < turn < 130 for turn in turns), "memory goes down as evenly as it went up"
    assert worker.contents() == many


def test_what_no_checkpoint_has_saved_stays_in_memory() -> None:
    worker = Worker()
    worker.flush({CLICK: ONE}, COLD_MS)
    assert worker.table.in_memory == 1
    worker.checkpoint()
    worker.flush({QUARTER_PAST: ONE}, COLD_MS)
    assert worker.table.in_memory == 2, "its page has changed since"


def test_without_a_reader_nothing_leaves_memory() -> None:
    table = BucketsTable(lg_k=10, bucket_ms=15 * MINUTE, period_ms=72 * HOUR, grace_ms=HOUR)
    table.add(to_record({CLICK: ONE}, watermark_ms=COLD_MS))
    list(table.changed_pages())
    table.evict()
    assert table.in_memory == 1


def test_cold_cells_are_counted_and_listed_as_before() -> None:
    worker = with_cold_hour({CLICK: ONE, QUARTER_PAST: ONE, NEXT_HOUR._replace(bucket_start_ms=START): ONE})
    assert len(worker.table) == 2
    assert worker.table.unpublished == 0
    assert worker.contents() == {CLICK: ONE, QUARTER_PAST: ONE}
    with pytest.raises(KeyError):
        worker.table.cell(NEXT_HOUR)


def test_a_late_delta_brings_its_page_back_and_goes_on_from_there() -> None:
    worker = with_cold_hour({CLICK: ONE, QUARTER_PAST: ONE})
    worker.flush({CLICK: ONE}, COLD_MS)
    assert worker.read == [PageId.of(CLICK).key(0)]
    assert worker.table.in_memory == 2
    assert worker.publish() == {CLICK: TWICE.counts}, "the other cell is in SQL already"
    worker.checkpoint()
    assert worker.restarted().contents() == {CLICK: TWICE, QUARTER_PAST: ONE}
    worker.flush({}, COLD_MS)
    assert worker.table.in_memory == 0
    assert worker.contents() == {CLICK: TWICE, QUARTER_PAST: ONE}


def test_a_new_cell_of_a_cold_page_joins_those_that_it_has() -> None:
    worker = with_cold_hour({CLICK: ONE})
    worker.flush({QUARTER_PAST: ONE}, COLD_MS)
    worker.checkpoint()
    assert worker.restarted().contents() == {CLICK: ONE, QUARTER_PAST: ONE}
    assert worker.publish() == {QUARTER_PAST: ONE.counts}


def test_a_page_of_several_chunks_comes_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_pages, "CHUNK_BYTES", 200)
    cells = {CLICK._replace(group=f"g{i:02}"): ONE for i in range(30)}
    worker = with_cold_hour(cells)
    assert len(worker.store) == 16, "15 chunks and the progress"
    again = worker.restarted()
    assert again.table.in_memory == 0
    assert len(again.table) == 30
    for one in (worker, again):
        one.flush({CLICK._replace(group="g00"): ONE}, COLD_MS)
        one.checkpoint()
        assert one.contents() == cells | {CLICK._replace(group="g00"): TWICE}
    assert worker.store == again.store


def test_a_page_that_comes_back_into_fewer_chunks_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_pages, "CHUNK_BYTES", 200)
    worker = with_cold_hour({CLICK._replace(group=f"g{i}"): ONE for i in range(9)})
    monkeypatch.setattr(cell_pages, "CHUNK_BYTES", 10_000)
    worker.flush({CLICK._replace(group="g0"): ONE}, COLD_MS)
    worker.checkpoint()
    assert worker.store.keys() == {PageId.of(CLICK).key(0), b"progress"}


def test_hours_that_are_over_dont_come_to_memory_at_a_restart() -> None:
    worker = Worker()
    worker.flush({CLICK: ONE, NEXT_HOUR: ONE}, COLD_MS)
    worker.checkpoint()
    again = worker.restarted()
    assert again.table.in_memory == 1
    assert again.contents() == {CLICK: ONE, NEXT_HOUR: ONE}
    assert again.table.watermark_ms == COLD_MS


def test_after_a_restart_cold_pages_are_published_again_in_slices() -> None:
    later = [CLICK._replace(bucket_start_ms=START + hour * HOUR) for hour in range(1, 4)]
    worker = Worker()
    worker.flush(dict.fromkeys((CLICK, QUARTER_PAST, *later), ONE), COLD_MS + 3 * HOUR)
    worker.checkpoint()
    again = worker.restarted()
    assert again.table.unpublished == 5
    assert [len(again.publish(3)) for _ in range(3)] == [3, 2, 0]
    assert again.table.unpublished == 0
    assert again.table.in_memory == 0, "reading them for SQL leaves them where they are"


def test_a_page_of_more_cells_than_a_slice_is_handed_out_whole() -> None:
    cells = {CLICK._replace(group=f"g{i}"): ONE for i in range(5)}
    again = with_cold_hour(cells).restarted()
    assert again.publish(2) == dict.fromkeys(cells, ONE.counts)


def test_after_a_restart_the_newest_cells_share_the_slices_with_the_old() -> None:
    old = {CLICK._replace(bucket_start_ms=START + hour * HOUR): ONE for hour in range(10)}
    new = {CLICK._replace(bucket_start_ms=START + hour * HOUR): ONE for hour in range(20, 30)}
    worker = Worker()
    worker.flush(old | new, START + 13 * HOUR)
    worker.checkpoint()
    published = worker.restarted().publish(4)
    assert len(published.keys() & old.keys()) == len(published.keys() & new.keys()) == 2


def test_pages_leave_memory_while_sql_is_away_and_are_published_when_it_is_back() -> None:
    worker = Worker()
    worker.flush({CLICK: ONE}, COLD_MS)
    worker.table.rows_to_publish(10)  # which fails
    worker.checkpoint()
    worker.flush({}, COLD_MS)
    assert (worker.table.in_memory, worker.table.unpublished) == (0, 1)
    assert worker.publish() == {CLICK: ONE.counts}
    assert worker.table.unpublished == 0


def test_a_page_that_comes_back_before_it_was_published_is_published_whole() -> None:
    again = with_cold_hour({CLICK: ONE, QUARTER_PAST: ONE}).restarted()
    again.flush({CLICK: ONE}, COLD_MS)
    assert again.publish() == {CLICK: TWICE.counts, QUARTER_PAST: ONE.counts}


def test_a_page_that_changes_while_it_is_written_stays_unpublished() -> None:
    again = with_cold_hour({CLICK: ONE}).restarted()
    handed_out = again.table.rows_to_publish(10)
    again.flush({CLICK: ONE}, COLD_MS)
    again.checkpoint()
    again.flush({}, COLD_MS)
    assert again.table.in_memory == 0, "back in the store before SQL has answered"
    again.table.mark_published(handed_out)
    assert again.publish() == {CLICK: TWICE.counts}


def test_a_page_that_was_brought_back_unchanged_in_part_is_published_by_what_was_handed_out() -> None:
    again = with_cold_hour({CLICK: ONE, QUARTER_PAST: ONE}).restarted()
    handed_out = again.table.rows_to_publish(10)
    again.flush({CLICK: ONE}, COLD_MS)
    again.table.mark_published(handed_out)
    assert again.publish() == {CLICK: TWICE.counts}


def test_a_period_whose_cells_are_cold_is_forgotten_with_all_its_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cell_pages, "CHUNK_BYTES", 200)
    cells = {CLICK._replace(group=f"g{i}"): ONE for i in range(9)}
    worker = with_cold_hour(cells)
    worker.read.clear()
    worker.flush({}, OVER_MS)
    assert len(worker.table) == 0
    assert worker.read == [], "nothing needs to be read for it"
    worker.checkpoint()
    assert worker.store.keys() == {b"progress"}


def test_a_period_with_cold_cells_that_sql_lacks_isnt_forgotten() -> None:
    again = with_cold_hour({CLICK: ONE}).restarted()
    again.flush({}, OVER_MS)
    assert again.contents() == {CLICK: ONE}
    assert again.publish() == {CLICK: ONE.counts}
    again.flush({}, OVER_MS + HOUR)
    assert again.contents() == {}


def test_a_period_that_was_restored_cold_lasts_until_its_newest_bucket_is_over() -> None:
    """Settings with shorter periods than those under which it was counted must not end it."""
    late = CLICK._replace(bucket_start_ms=START + 300 * HOUR)
    again = with_cold_hour({CLICK: ONE}).restarted()
    again.flush({late: ONE}, START + 310 * HOUR)
    again.checkpoint()
    again = again.restarted()
    again.publish()
    again.flush({}, START + 311 * HOUR)
    assert again.contents() == {CLICK: ONE, late: ONE}


def test_a_page_that_is_damaged_in_the_store_shows_at_the_start_though_it_stays_cold() -> None:
    worker = with_cold_hour({CLICK: ONE})
    key = PageId.of(CLICK).key(0)
    worker.store[key] = worker.store[key][:-1] + b"\0"
    with pytest.raises(StateError, match="damaged"):
        worker.restarted()


def test_a_page_that_the_store_has_lost_is_never_taken_for_an_empty_one() -> None:
    worker = with_cold_hour({CLICK: ONE})
    del worker.store[PageId.of(CLICK).key(0)]
    with pytest.raises(StateError, match="data directory"):
        worker.flush({CLICK: ONE}, COLD_MS)


def test_memory_that_many_cells_took_is_given_back_and_used_again() -> None:
    many = {CLICK._replace(event=f"e{e}", group=f"g{g}"): ONE for e in range(50) for g in range(40)}
    worker = Worker()
    worker.flush(many | {NEXT_HOUR: Cell(ONE.counts, {9: 1})}, COLD_MS)
    grown = worker.table.room
    worker.checkpoint()
    worker.flush({}, COLD_MS)
    assert grown >= 2000
    assert worker.table.room == 1024
    assert worker.table.in_memory == 1
    # The one that stayed has another row now.
    assert worker.contents() == many | {NEXT_HOUR: Cell(ONE.counts, {9: 1})}
    worker.flush({NEXT_HOUR: ONE}, COLD_MS)
    assert worker.contents()[NEXT_HOUR] == Cell(TWICE.counts, {5: 3, 9: 1})


def test_rows_are_used_again_hour_after_hour() -> None:
    worker = Worker()
    for hour in range(100):
        at_ms = START + hour * HOUR
        worker.flush({CLICK._replace(group=f"g{i}", bucket_start_ms=at_ms): ONE for i in range(300)}, at_ms)
        worker.checkpoint()
        worker.publish()
    assert worker.table.room <= 2048
    assert len(worker.table) == 30_000


def test_a_cold_page_takes_some_tens_of_bytes() -> None:
    cold = ColdCells(lambda _key: None)
    pages = [PageId("exp", START, f"event{e}", START + h * HOUR) for e in range(10) for h in range(73)]
    for page in pages:
        cold.put(page, Cold(8, 1, is_published=True))
    series = cold._series.values()
    size = sum(sys.getsizeof(one.cells) + sys.getsizeof(one.unpublished) + 300 for one in series)
    assert size / len(pages) < 80
