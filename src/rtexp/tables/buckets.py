"""The buckets table: cells of one partition of experiments, absolute, and which of them SQL lacks.

Everything that a page holds is a pure function of the partials. What has been published is not: it lives in
memory only, and after a restart all cells count as unpublished again.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec
import numpy as np

from rtexp.core import sketches
from rtexp.core.buckets import HOUR_MS
from rtexp.core.cells import CellCounts, CellKey
from rtexp.core.progress import PlainWatermarks, Watermarks
from rtexp.engine.api import Page
from rtexp.errors import StateError
from rtexp.tables.cell_sketches import CellSketches
from rtexp.tables.pages import PageLayout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from rtexp.records.partials import Partials

PROGRESS = b"progress"
PAGE_BYTES = 400_000
"""A page is cut when it has grown to this."""
KEPT_MS = 24 * HOUR_MS
"""How long a period's cells stay after its end and grace, in time of the watermark."""

_COUNTS = len(CellCounts.__slots__)


class UnpublishedCell(NamedTuple):
    """A cell as it stands now; ``revision`` tells `BucketsTable.mark_published` which state that was."""

    key: CellKey
    counts: CellCounts
    sketch: bytes
    """As `rtexp.core.sketches.to_bytes` stores it."""
    revision: int


class _PageId(NamedTuple):
    experiment: str
    period_start_ms: int
    event: str
    hour_start_ms: int

    def key(self, chunk: int) -> bytes:
        experiment, event = quote(self.experiment, safe=""), quote(self.event, safe="")
        return f"cells/{experiment}/{self.period_start_ms}/{event}/{self.hour_start_ms}/{chunk}".encode()


class _CellsPage(msgspec.Struct, array_like=True, frozen=True):
    experiment: str
    period_start_ms: int
    event: str
    hour_start_ms: int
    chunk: int
    groups: list[str]
    """Of each cell, as are the following; cells stand in order of bucket, then group."""
    buckets: list[int]
    counts: bytes
    sketches: list[bytes]


_CELLS_LAYOUT: PageLayout[_CellsPage] = PageLayout("buckets", 1, _CellsPage)
_PROGRESS_LAYOUT: PageLayout[PlainWatermarks] = PageLayout("buckets", 1, PlainWatermarks)


class BucketsTable:
    """Cells in columns: a dictionary finds a cell's row, and arrays hold what is known of it."""

    def __init__(self, *, lg_k: int, bucket_ms: int, period_ms: int, grace_ms: int) -> None:
        self._lg_k = lg_k
        self._bucket_ms = bucket_ms
        self._period_ms = period_ms
        self._grace_ms = grace_ms
        self._watermarks = Watermarks()
        self._row_of: dict[tuple[str, int, str, str, int], int] = {}
        self._keys: list[CellKey | None] = []
        self._free: list[int] = []
        self._counts = np.zeros((1024, _COUNTS), np.int64)
        # A cell's state is named by the number of the record that changed it last; saved in a page and
        # published in SQL are named alike, so "which changed since" is a comparison of columns.
        self._revision = 0
        self._changed = np.zeros(1024, np.int64)
        self._saved = np.zeros(1024, np.int64)
        self._published = np.zeros(1024, np.int64)
        self._sketches = CellSketches(lg_k)
        self._rows_of_page: dict[_PageId, list[int]] = {}
        self._chunks_of_page: dict[_PageId, int] = {}
        self._pages_of_period: dict[tuple[str, int], list[_PageId]] = {}
        self._newest_bucket_ms: dict[tuple[str, int], int] = {}
        self._gone: list[_PageId] = []
        self._swept_ms = 0

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def watermark_ms(self) -> int:
        """What arrived before this time has been counted in these cells, whichever source counted it."""
        return self._watermarks.all_ms

    @property
    def unpublished(self) -> int:
        """How many cells SQL doesn't have as they are."""
        return int(np.count_nonzero(self._changed > self._published))

    def cell(self, key: CellKey) -> tuple[CellCounts, sketches.Entries]:
        """Return a cell's counts and sketch; KeyError where nothing was counted."""
        row = self._row_of[key]
        return CellCounts(*self._counts[row].tolist()), self._sketches.sketch(row)

    def __iter__(self) -> Iterator[CellKey]:
        return (key for key in self._keys if key is not None)

    def add(self, record: Partials) -> None:
        """Add the deltas of a record, and advance the watermark of its source.

        StateError if its sketches are of another size than this table's.
        """
        if record.lg_k != self._lg_k:
            raise StateError(
                f"partials hold sketches of lg_k {record.lg_k}, this worker's [sketch] lg_k is {self._lg_k}: "
                "they can't be merged; set it back, or begin anew with another [kafka] prefix"
            )
        self._revision += 1
        if record.experiment:
            self._add_cells(record)
        self._watermarks.expect(record.sources)
        self._watermarks.carry(record.source, record.watermark_ms)

    def _add_cells(self, record: Partials) -> None:
        # Interned, a name is compared by its address when its cell is looked up.
        names = [sys.intern(name) for name in record.names]
        keys = zip(
            [names[i] for i in np.frombuffer(record.experiment, "<u4").tolist()],
            np.frombuffer(record.period_start, "<i8").tolist(),
            [names[i] for i in np.frombuffer(record.group, "<u4").tolist()],
            [names[i] for i in np.frombuffer(record.event, "<u4").tolist()],
            np.frombuffer(record.bucket, "<i8").tolist(),
            strict=True,
        )
        find = self._row_of.get
        found = [row if (row := find(key)) is not None else self._new_row(CellKey(*key)) for key in keys]
        rows = np.array(found, np.int64)
        np.add.at(self._counts, rows, np.frombuffer(record.counts, "<i8").reshape(-1, _COUNTS))
        self._changed[rows] = self._revision
        sizes = np.frombuffer(record.sketch_sizes, "<u4")
        self._sketches.add(np.repeat(rows, sizes), np.frombuffer(record.sketches, "<u4"))

    def _new_row(self, key: CellKey) -> int:
        if self._free:
            row = self._free.pop()
            self._keys[row] = key
        else:
            row = len(self._keys)
            self._keys.append(key)
            if row == len(self._changed):
                self._grow()
        self._row_of[key] = row
        page = _page_of(key)
        period = (key.experiment, key.period_start_ms)
        if page not in self._rows_of_page:
            self._rows_of_page[page] = []
            self._pages_of_period.setdefault(period, []).append(page)
        self._rows_of_page[page].append(row)
        self._newest_bucket_ms[period] = max(self._newest_bucket_ms.get(period, 0), key.bucket_start_ms)
        return row

    def _grow(self) -> None:
        more = len(self._changed)
        self._counts = np.concatenate((self._counts, np.zeros((more, _COUNTS), np.int64)))
        for column in ("_changed", "_saved", "_published"):
            setattr(self, column, np.concatenate((getattr(self, column), np.zeros(more, np.int64))))

    # -- publishing ---------------------------------------------------------------------------------------

    def rows_to_publish(self, limit: int) -> list[UnpublishedCell]:
        """Return up to ``limit`` cells that SQL lacks; first those that it has lacked for longest."""
        rows = np.flatnonzero(self._changed > self._published)
        # By their turn, not by their row: cells that change at every flush must not keep others waiting.
        chosen = rows[np.argsort(self._published[rows], kind="stable")[:limit]]
        # All counts in one step: numpy takes 2 us for a row of its own.
        counts = self._counts[chosen].tolist()
        return [
            UnpublishedCell(self._key(row), CellCounts(*found), self._sketches.stored(row), self._revision)
            for row, found in zip(chosen.tolist(), counts, strict=True)
        ]

    def _key(self, row: int) -> CellKey:
        key = self._keys[row]
        assert key is not None
        return key

    def mark_published(self, cells: Iterable[UnpublishedCell]) -> None:
        """Note that SQL has these; what has changed since it was handed out stays unpublished."""
        for cell in cells:
            row = self._row_of.get(cell.key)
            if row is not None:  # it may have been handed out twice, and forgotten after the first time
                self._published[row] = max(int(self._published[row]), cell.revision)

    # -- expiry -------------------------------------------------------------------------------------------

    def expire(self) -> None:
        """Forget periods that can't change any more, once SQL has all of their cells.

        That SQL has them depends on the world. It doesn't harm: no record that is still to come adds to
        such a period, so whether its cells are here or not decides nothing that is counted.
        """
        if self.watermark_ms < self._swept_ms + self._bucket_ms:
            return
        self._swept_ms = self.watermark_ms
        for period, newest_bucket_ms in list(self._newest_bucket_ms.items()):
            # Periods that began under another length of periods may still be counted beyond today's length.
            end_ms = max(period[1] + self._period_ms, newest_bucket_ms + self._bucket_ms)
            if end_ms + self._grace_ms + KEPT_MS > self.watermark_ms:
                continue
            pages = self._pages_of_period[period]
            rows = np.array([row for page in pages for row in self._rows_of_page[page]], np.int64)
            if np.all(self._changed[rows] <= self._published[rows]):
                self._forget(rows.tolist())
                del self._newest_bucket_ms[period], self._pages_of_period[period]
                for page in pages:
                    del self._rows_of_page[page]
                self._gone += pages

    def _forget(self, rows: Sequence[int]) -> None:
        for row in rows:
            del self._row_of[self._key(row)]
            self._keys[row] = None
            self._sketches.remove(row)
        for column in (self._counts, self._changed, self._saved, self._published):
            column[rows] = 0
        self._free += rows

    # -- pages --------------------------------------------------------------------------------------------

    def changed_pages(self) -> Iterator[Page]:
        """Yield what changed since the last call; cells may not be added before the last page was taken."""
        for page in self._gone:
            yield from (Page(page.key(chunk), None) for chunk in range(self._chunks_of_page.pop(page, 0)))
        self._gone.clear()
        rows = np.flatnonzero(self._changed > self._saved)
        self._saved[rows] = self._revision
        for page in dict.fromkeys(map(self._page_of_row, rows.tolist())):
            yield from self._encode(page)
        yield Page(PROGRESS, _PROGRESS_LAYOUT.encode(self._watermarks.to_plain()))

    def _page_of_row(self, row: int) -> _PageId:
        return _page_of(self._key(row))

    def _encode(self, page: _PageId) -> Iterator[Page]:
        cells = []
        for row in self._rows_of_page[page]:
            key = self._key(row)
            cells.append((key.bucket_start_ms, key.group, row, self._sketches.stored(row)))
        cells.sort()
        chunks = list(_chunks(cells))
        for number, chunk in enumerate(chunks):
            buckets, groups, rows, stored = zip(*chunk, strict=True)
            counts: NDArray[np.int64] = self._counts[list(rows)]
            body = _CellsPage(
                *page, number, list(groups), list(buckets), counts.astype("<i8").tobytes(), list(stored)
            )
            yield Page(page.key(number), _CELLS_LAYOUT.encode(body))
        # Another cell may fit a chunk better than the ones before did, so that there are fewer now.
        before = self._chunks_of_page.get(page, 0)
        self._chunks_of_page[page] = len(chunks)
        yield from (Page(page.key(number), None) for number in range(len(chunks), before))

    def load(self, pages: Iterable[Page]) -> None:
        """Take over a checkpoint into an empty table; StateError if a page is damaged or one is missing."""
        self._revision = 1
        has_progress = False
        for key, value in pages:
            if value is None:
                continue
            if key == PROGRESS:
                self._watermarks = Watermarks.from_plain(_PROGRESS_LAYOUT.decode(key, value))
                has_progress = True
            else:
                self._load_cells(_CELLS_LAYOUT.decode(key, value))
        if self._row_of and not has_progress:
            raise StateError("the buckets table has cells, but no page that says what they stand for")

    def _load_cells(self, body: _CellsPage) -> None:
        page = _PageId(body.experiment, body.period_start_ms, body.event, body.hour_start_ms)
        self._chunks_of_page[page] = max(self._chunks_of_page.get(page, 0), body.chunk + 1)
        counts = np.frombuffer(body.counts, "<i8").reshape(-1, _COUNTS)
        for group, bucket, count, stored in zip(
            body.groups, body.buckets, counts, body.sketches, strict=True
        ):
            row = self._new_row(CellKey(body.experiment, body.period_start_ms, group, body.event, bucket))
            self._counts[row] = count
            self._changed[row] = self._saved[row] = self._revision
            entries = sketches.from_bytes(stored, self._lg_k)
            self._sketches.add(np.full(len(entries), row, np.int64), entries)


def _page_of(key: CellKey) -> _PageId:
    hour_start_ms = key.bucket_start_ms // HOUR_MS * HOUR_MS
    return _PageId(key.experiment, key.period_start_ms, key.event, hour_start_ms)


def _chunks(
    cells: Iterable[tuple[int, str, int, bytes]],
) -> Iterator[list[tuple[int, str, int, bytes]]]:
    """Cut cells, in order, into runs of about PAGE_BYTES; each is (bucket, group, row, sketch)."""
    chunk: list[tuple[int, str, int, bytes]] = []
    size = 0
    for cell in cells:
        cell_bytes = len(cell[3]) + len(cell[1].encode()) + 64
        if chunk and size + cell_bytes > PAGE_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(cell)
        size += cell_bytes
    if chunk:
        yield chunk
