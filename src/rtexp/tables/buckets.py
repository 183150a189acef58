"""The buckets table: cells of one partition of experiments, absolute, and which of them SQL lacks.

Everything that a page holds is a pure function of the partials. What has been published is not: it lives in
memory only, and after a restart all cells count as unpublished again. Nor is which pages are in memory: those of
hours that are over rest in the local store, and are read back when something comes for them after all.
"""

from __future__ import annotations

import sys
import zlib
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtexp.core import sketches
from rtexp.core.buckets import HOUR_MS
from rtexp.core.cells import CellCounts, CellKey
from rtexp.core.progress import PlainWatermarks, Watermarks
from rtexp.engine.api import Page
from rtexp.errors import StateError
from rtexp.tables import cell_pages
from rtexp.tables.cell_pages import COUNTS, PageId
from rtexp.tables.cold_cells import Cold, ColdCells
from rtexp.tables.hot_cells import LOADED, HotCells
from rtexp.tables.pages import PageLayout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rtexp.engine.api import ReadPage
    from rtexp.records.partials import Partials
    from rtexp.tables.cell_pages import CellsPage

Period = tuple[str, int]
"""(experiment, start of the period in epoch ms)."""

PROGRESS = b"progress"
KEPT_MS = 24 * HOUR_MS
"""How long a period's cells stay after its end and grace, in time of the watermark."""
HOT_MS = 3 * HOUR_MS // 2
"""How long an hour's cells stay in memory after its end, in time of the watermark: nearly all that is late has come."""
TURN_MS, TURNS = HOUR_MS // 4, 4
"""Pages leave in turns, a quarter of an hour apart: else memory would grow for an hour and then drop."""


class UnpublishedCell(NamedTuple):
    """A cell as it stands now; ``revision`` tells `BucketsTable.mark_published` which state that was."""

    key: CellKey
    counts: CellCounts
    sketch: bytes
    """As `rtexp.core.sketches.to_bytes` stores it."""
    revision: int


_PROGRESS_LAYOUT: PageLayout[PlainWatermarks] = PageLayout("buckets", 1, PlainWatermarks)


class BucketsTable:
    """Cells, in memory or not; the same is counted whichever they are."""

    def __init__(self, *, lg_k: int, bucket_ms: int, period_ms: int, grace_ms: int) -> None:
        self.lg_k = lg_k
        self._bucket_ms = bucket_ms
        self._period_ms = period_ms
        self._grace_ms = grace_ms
        self._watermarks = Watermarks()
        self._revision = 0
        # A page is in one of them, whole.
        self._hot = HotCells(lg_k)
        self._cold = ColdCells()
        self._may_evict = False
        self._newest_bucket_ms: dict[Period, int] = {}
        self._gone: list[tuple[PageId, int]] = []
        self._swept_ms = 0

    def __len__(self) -> int:
        return len(self._hot) + self._cold.cells

    @property
    def in_memory(self) -> int:
        """How many cells are in memory."""
        return len(self._hot)

    @property
    def room(self) -> int:
        """For how many cells in memory there is room."""
        return self._hot.room

    @property
    def watermark_ms(self) -> int:
        """What arrived before this time has been counted in these cells, whichever source counted it."""
        return self._watermarks.all_ms

    @property
    def unpublished(self) -> int:
        """How many cells SQL doesn't have as they are."""
        in_memory = int(np.count_nonzero(self._hot.changed > self._hot.published))
        return in_memory + self._cold.unpublished_cells

    def cell(self, key: CellKey) -> tuple[CellCounts, sketches.Entries]:
        """Return a cell's counts and sketch; KeyError where nothing was counted."""
        row = self._hot.row_of.get(key)
        if row is not None:
            return CellCounts(*self._hot.counts[row].tolist()), self._hot.sketches.sketch(row)
        page = PageId.of(key)
        for cell in self._cold.read(page) if page in self._cold else ():
            if (cell.bucket_start_ms, cell.group) == (key.bucket_start_ms, key.group):
                return CellCounts(*cell.counts), sketches.from_bytes(cell.sketch, self.lg_k)
        raise KeyError(key)

    def __iter__(self) -> Iterator[CellKey]:
        """Yield all cells; those that aren't in memory are read for it."""
        yield from self._hot
        for page in self._cold:
            yield from (page.cell(cell) for cell in self._cold.read(page))

    def periods(self, experiment: str) -> list[int]:
        """Return when the periods of an experiment begin that have cells here, oldest first."""
        return sorted(start_ms for name, start_ms in self._newest_bucket_ms if name == experiment)

    def pages(self, period: Period) -> Iterator[tuple[PageId, bool]]:
        """Yield the pages of a period, and whether each is in memory."""
        yield from ((page, True) for page in self._hot.pages if page[:2] == period)
        yield from ((page, False) for page in self._cold.of_periods({period}))

    def add(self, record: Partials) -> None:
        """Add the deltas of a record, and advance the watermark of its source.

        StateError if its sketches are of another size than this table's.
        """
        if record.lg_k != self.lg_k:
            raise StateError(
                f"partials hold sketches of lg_k {record.lg_k}, this worker's [sketch] lg_k is {self.lg_k}: "
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
        find = self._hot.row_of.get
        found = [row if (row := find(key)) is not None else self._brought(CellKey(*key)) for key in keys]
        rows = np.array(found, np.int64)
        np.add.at(self._hot.counts, rows, np.frombuffer(record.counts, "<i8").reshape(-1, COUNTS))
        self._hot.changed[rows] = self._revision
        sizes = np.frombuffer(record.sketch_sizes, "<u4")
        self._hot.sketches.add(np.repeat(rows, sizes), np.frombuffer(record.sketches, "<u4"))

    def _brought(self, key: CellKey) -> int:
        """Return the row of a cell that isn't in memory: its page comes back, or it is new."""
        page = PageId.of(key)
        if page in self._cold:
            self._bring_back(page)
            if (row := self._hot.row_of.get(key)) is not None:
                return row
        self._reach(page, key.bucket_start_ms)
        return self._hot.new(key, page)

    def _bring_back(self, page: PageId) -> None:
        cells = list(self._cold.read(page))
        cold = self._cold.take(page)
        self._hot.insert(page, cells, chunks=cold.chunks, published=LOADED if cold.is_published else 0)

    def _reach(self, page: PageId, bucket_start_ms: int) -> None:
        period = (page.experiment, page.period_start_ms)
        self._newest_bucket_ms[period] = max(self._newest_bucket_ms.get(period, 0), bucket_start_ms)

    # -- publishing ---------------------------------------------------------------------------------------

    def rows_to_publish(self, limit: int) -> list[UnpublishedCell]:
        """Return up to ``limit`` cells that SQL lacks; first those that it has lacked for longest.

        Cells that aren't in memory come by whole pages, so they may be more if a single page has more.
        """
        rows = np.flatnonzero(self._hot.changed > self._hot.published)
        # Half of it for each, if both have so many: after a restart the newest shall not wait for all of the old.
        for_cold = limit - min(len(rows), limit // 2)
        cold = [
            UnpublishedCell(page.cell(cell), CellCounts(*cell.counts), cell.sketch, self._revision)
            for page, cells in self._cold.hand_out(for_cold)
            for cell in cells
        ]
        # By their turn, not by their row: cells that change at every flush must not keep others waiting.
        turns = np.argsort(self._hot.published[rows], kind="stable")
        chosen = rows[turns[: max(limit - len(cold), 0)]]
        # All counts in one step: numpy takes 2 us for a row of its own.
        counts = self._hot.counts[chosen].tolist()
        sketch = self._hot.sketches.stored
        return cold + [
            UnpublishedCell(self._hot.key(row), CellCounts(*found), sketch(row), self._revision)
            for row, found in zip(chosen.tolist(), counts, strict=True)
        ]

    def mark_published(self, cells: Iterable[UnpublishedCell]) -> None:
        """Note that SQL has these; what has changed since it was handed out stays unpublished."""
        rows, revisions = [], []
        for cell in cells:
            row = self._hot.row_of.get(cell.key)
            if row is not None:
                rows.append(row)
                revisions.append(cell.revision)
            else:  # not in memory; or handed out twice, and forgotten after the first time
                self._cold.mark_published(PageId.of(cell.key))
        np.maximum.at(self._hot.published, np.array(rows, np.int64), np.array(revisions, np.int64))

    # -- leaving memory -----------------------------------------------------------------------------------

    def evict(self) -> None:
        """Let pages leave memory whose hour is `HOT_MS` over and whose turn it is, if the store has them as they are.

        To be called where the engine applies records: then every page that `changed_pages` yielded is in the store.
        SQL may lack them still, so that memory doesn't grow while it is away. It costs nothing until there has been
        another checkpoint.
        """
        if not self._may_evict:
            return
        self._may_evict = False
        over = [page for page in self._hot.pages if self._is_over(page)]
        leaving = list(compress(over, self._hot.are_saved(over)))
        cells = [len(self._hot.pages[page]) for page in leaving]
        published = self._hot.are_published(leaving)
        chunks = self._hot.forget(leaving)
        for page, known in zip(leaving, map(Cold, cells, chunks, published), strict=True):
            self._cold.put(page, known)
        self._hot.compact()

    def _is_over(self, page: PageId) -> bool:
        over_ms = self.watermark_ms - (page.hour_start_ms + HOUR_MS + HOT_MS)
        return over_ms >= 0 and over_ms >= _turn(page) * TURN_MS

    # -- expiry -------------------------------------------------------------------------------------------

    def expire(self) -> None:
        """Forget periods that can't change any more, once SQL has all of their cells.

        That SQL has them depends on the world. It doesn't harm: no record that is still to come adds to
        such a period, so whether its cells are here or not decides nothing that is counted.
        """
        if self.watermark_ms < self._swept_ms + self._bucket_ms:
            return
        self._swept_ms = self.watermark_ms
        over = {period for period in self._newest_bucket_ms if self._can_change_no_more(period)}
        if not over:
            return
        hot = _by_period(page for page in self._hot.pages if page[:2] in over)
        cold = _by_period(self._cold.of_periods(over))
        for period in over:
            in_memory, others = hot.get(period, []), cold.get(period, [])
            if all(self._hot.are_published(in_memory)) and all(map(self._cold.is_published, others)):
                del self._newest_bucket_ms[period]
                self._gone += zip(in_memory, self._hot.forget(in_memory), strict=True)
                self._gone += [(page, self._cold.take(page).chunks) for page in others]

    def _can_change_no_more(self, period: Period) -> bool:
        # Periods that began under another length of periods may still be counted beyond today's length.
        end_ms = max(period[1] + self._period_ms, self._newest_bucket_ms[period] + self._bucket_ms)
        return end_ms + self._grace_ms + KEPT_MS <= self.watermark_ms

    # -- pages --------------------------------------------------------------------------------------------

    def changed_pages(self) -> Iterator[Page]:
        """Yield what changed since the last call; cells may not be added before the last page was taken."""
        for page, chunks in self._gone:
            yield from (Page(page.key(chunk), None) for chunk in range(chunks))
        self._gone.clear()
        rows = np.flatnonzero(self._hot.changed > self._hot.saved)
        self._hot.saved[rows] = self._revision
        for page in dict.fromkeys(PageId.of(self._hot.key(row)) for row in rows.tolist()):
            yield from self._hot.encode(page)
        yield Page(PROGRESS, _PROGRESS_LAYOUT.encode(self._watermarks.to_plain()))
        self._may_evict = self._cold.can_read

    def load(self, pages: Iterable[Page], read: ReadPage | None = None) -> None:
        """Take over a checkpoint into an empty table; StateError if a page is damaged or one is missing.

        ``read`` gives single pages of it, and of later ones; without it, all cells stay in memory for good.
        """
        self._revision = LOADED
        if read is not None:
            self._cold = ColdCells(read)
            self._may_evict = True
            # First, as it tells which pages needn't come to memory. They are decoded all the same: a store that has
            # been damaged shall show itself now, when the changelog can replace it.
            if (progress := read(PROGRESS)) is not None:
                self._watermarks = Watermarks.from_plain(_PROGRESS_LAYOUT.decode(PROGRESS, progress))
        has_progress = False
        for key, value in pages:
            if value is None:
                continue
            if key == PROGRESS:
                self._watermarks = Watermarks.from_plain(_PROGRESS_LAYOUT.decode(key, value))
                has_progress = True
            else:
                self._load_cells(cell_pages.LAYOUT.decode(key, value))
        if len(self) and not has_progress:
            raise StateError("the buckets table has cells, but no page that says what they stand for")

    def _load_cells(self, body: CellsPage) -> None:
        page = body.page
        self._reach(page, max(body.buckets))
        if self._cold.can_read and self._is_over(page):
            self._cold.load(page, len(body.buckets), body.chunk)
        else:
            self._hot.insert(page, body.cells(), chunks=body.chunk + 1, published=0)


def _turn(page: PageId) -> int:
    """Return the same for all hours of an experiment's event, and as often each of `TURNS` over many of them."""
    return zlib.crc32(f"{page.experiment}/{page.event}".encode()) % TURNS


def _by_period(pages: Iterable[PageId]) -> dict[Period, list[PageId]]:
    found: dict[Period, list[PageId]] = {}
    for page in pages:
        found.setdefault(page[:2], []).append(page)
    return found
