"""Pages of cells that have left memory: what is known of each, and reading one back from the local store.

A page is cold when the store has it as it is, and its hour is so long over that hardly anything comes for it. A page
in memory takes some 20 KB, its place here about 50 bytes: a dictionary's entry of two small whole numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.core.buckets import HOUR_MS
from rtexp.errors import StateError
from rtexp.tables import cell_pages
from rtexp.tables.cell_pages import PageId

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rtexp.engine.api import ReadPage
    from rtexp.tables.cell_pages import StoredCell


class Cold(NamedTuple):
    """What is known of a page without reading it."""

    cells: int
    chunks: int
    is_published: bool
    """Whether SQL has all of its cells."""


class _Series:
    """The cold pages of one event in one period; hours are counted from the one in which the period began."""

    __slots__ = ("cells", "unpublished")

    def __init__(self) -> None:
        self.cells: dict[int, int] = {}
        """By hour, how many cells its page has."""
        self.unpublished: set[int] = set()


class ColdCells:
    """Which pages are cold. They change only by being taken back."""

    def __init__(self, read: ReadPage | None = None) -> None:
        """``read`` reads from the store; without it, no page can be cold."""
        self._read = read
        self._series: dict[tuple[str, int, str], _Series] = {}
        self._chunks: dict[PageId, int] = {}
        """Of pages that have more than one."""
        self._unpublished: dict[tuple[str, int, str], None] = {}
        """Series with hours that SQL lacks, in the order in which they came to have some."""
        self._handed_out: set[PageId] = set()
        self.cells = 0
        """In all cold pages."""
        self.unpublished_cells = 0

    def __contains__(self, page: PageId) -> bool:
        series = self._series.get(page[:3])
        return series is not None and _hour(page) in series.cells

    def __iter__(self) -> Iterator[PageId]:
        return (_page(key, hour) for key, series in self._series.items() for hour in series.cells)

    @property
    def can_read(self) -> bool:
        """Whether pages can be read back at all."""
        return self._read is not None

    def load(self, page: PageId, cells: int, chunk: int) -> None:
        """Note that the store has ``cells`` of a page in this chunk, and that SQL may lack them."""
        before = self.take(page) if page in self else Cold(0, 0, is_published=False)
        self.put(page, Cold(before.cells + cells, max(before.chunks, chunk + 1), is_published=False))

    def put(self, page: PageId, cold: Cold) -> None:
        """Note that a page has left memory; the store must have it as it was."""
        key, hour = page[:3], _hour(page)
        series = self._series.setdefault(key, _Series())
        series.cells[hour] = cold.cells
        self.cells += cold.cells
        if cold.chunks > 1:
            self._chunks[page] = cold.chunks
        if not cold.is_published:
            series.unpublished.add(hour)
            self._unpublished[key] = None
            self.unpublished_cells += cold.cells

    def take(self, page: PageId) -> Cold:
        """Forget a page, and return what was known of it; KeyError if it isn't cold."""
        key, hour = page[:3], _hour(page)
        series = self._series[key]
        is_published = hour not in series.unpublished
        self._published(page)
        # From now on it may change: to have written what was handed out of it says nothing of what it will be.
        self._handed_out.discard(page)
        cells = series.cells.pop(hour)
        self.cells -= cells
        if not series.cells:
            del self._series[key]
        return Cold(cells, self._chunks.pop(page, 1), is_published)

    def read(self, page: PageId) -> Iterator[StoredCell]:
        """Yield the cells of a cold page in order, from the store; StateError if they aren't as they were."""
        assert self._read is not None
        found = 0
        for chunk in range(self._chunks.get(page, 1)):
            key = page.key(chunk)
            value = self._read(key)
            if value is None:
                break
            body = cell_pages.LAYOUT.decode(key, value)
            found += len(body.groups)
            yield from body.cells()
        if found != (expected := self._series[page[:3]].cells[_hour(page)]):
            raise StateError(
                f"page {page.key(0).decode()} has {found} cells in the local store, not the {expected} that it was "
                "left with: remove the worker's data directory, so that its state is read again from the changelog"
            )

    # -- publishing ---------------------------------------------------------------------------------------

    def hand_out(self, limit: int) -> Iterator[tuple[PageId, Iterator[StoredCell]]]:
        """Yield whole pages that SQL lacks, with their cells: up to ``limit`` cells, or a single larger page."""
        room = limit
        for page in self._lacking():
            cells = self._series[page[:3]].cells[_hour(page)]
            if cells > room and room < limit:
                return
            self._handed_out.add(page)
            yield page, self.read(page)
            room -= cells
            if room <= 0:
                return

    def _lacking(self) -> Iterator[PageId]:
        return (
            _page(key, hour) for key in self._unpublished for hour in sorted(self._series[key].unpublished)
        )

    def mark_published(self, page: PageId) -> None:
        """Note that SQL has what was handed out; nothing, if the page has been in memory since."""
        if page in self._handed_out:
            self._handed_out.remove(page)
            self._published(page)

    def _published(self, page: PageId) -> None:
        key, hour = page[:3], _hour(page)
        series = self._series[key]
        if hour in series.unpublished:
            series.unpublished.remove(hour)
            self.unpublished_cells -= series.cells[hour]
            if not series.unpublished:
                del self._unpublished[key]
                series.unpublished = set()  # which, unlike one that was emptied, takes no room

    # -- periods ------------------------------------------------------------------------------------------

    def of_periods(self, periods: Collection[tuple[str, int]]) -> Iterator[PageId]:
        """Yield all cold pages of these periods, each (experiment, start)."""
        return (
            _page(key, hour)
            for key, series in self._series.items()
            if key[:2] in periods
            for hour in series.cells
        )

    def is_published(self, page: PageId) -> bool:
        """Tell whether SQL has all cells of a cold page."""
        return _hour(page) not in self._series[page[:3]].unpublished


def _hour(page: PageId) -> int:
    return page.hour_start_ms // HOUR_MS - page.period_start_ms // HOUR_MS


def _page(key: tuple[str, int, str], hour: int) -> PageId:
    return PageId(*key, (key[1] // HOUR_MS + hour) * HOUR_MS)
