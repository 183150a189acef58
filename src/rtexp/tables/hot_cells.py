"""Cells in memory, in columns: a dictionary finds a cell's row, and arrays hold what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtexp.engine.api import Page
from rtexp.tables import cell_pages
from rtexp.tables.cell_pages import COUNTS, PageId, StoredCell
from rtexp.tables.cell_sketches import CellSketches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from rtexp.core.cells import CellKey

LEAST_ROWS = 1024
LOADED = 1
"""The revision of what comes from the store; that of every record is later."""

_LEAST_SHARE = 4
"""Columns are made anew when fewer than one row in so many is used."""


class HotCells:
    """Cells by row, and rows by page.

    A cell's state is named by its revision, the number of the record that changed it last; as it was saved in a page
    and published in SQL are named alike, so that "which changed since" is a comparison of columns.
    """

    def __init__(self, lg_k: int) -> None:
        self.row_of: dict[tuple[str, int, str, str, int], int] = {}
        """By cell; a `CellKey` or a plain tuple finds it."""
        self.pages: dict[PageId, list[int]] = {}
        """The rows of each page."""
        self._chunks: dict[PageId, int] = {}
        """In how many chunks a page was last written."""
        self._keys: list[CellKey | None] = []
        self._free: list[int] = []
        self.sketches = CellSketches(lg_k)
        self.counts = np.zeros((LEAST_ROWS, COUNTS), np.int64)
        self.changed = np.zeros(LEAST_ROWS, np.int64)
        self.saved = np.zeros(LEAST_ROWS, np.int64)
        self.published = np.zeros(LEAST_ROWS, np.int64)

    def __len__(self) -> int:
        return len(self.row_of)

    def __iter__(self) -> Iterator[CellKey]:
        return (key for key in self._keys if key is not None)

    @property
    def room(self) -> int:
        """How many cells fit before the columns grow."""
        return len(self.changed)

    def key(self, row: int) -> CellKey:
        """Return the cell that has a row."""
        key = self._keys[row]
        assert key is not None
        return key

    def new(self, key: CellKey, page: PageId) -> int:
        """Return a row of zeros for a cell that has none; ``page`` is its page."""
        if self._free:
            row = self._free.pop()
            self._keys[row] = key
        else:
            row = len(self._keys)
            self._keys.append(key)
            if row == self.room:
                self._resize(np.arange(row), 2 * row)
        self.row_of[key] = row
        self.pages.setdefault(page, []).append(row)
        return row

    def insert(self, page: PageId, cells: Iterable[StoredCell], *, chunks: int, published: int) -> None:
        """Take over cells as the store has them; ``chunks`` is in how many the page stands there."""
        self._chunks[page] = max(self._chunks.get(page, 0), chunks)
        for cell in cells:
            row = self.new(page.cell(cell), page)
            self.counts[row] = cell.counts
            self.changed[row] = self.saved[row] = LOADED
            self.published[row] = published
            self.sketches.load(row, cell.sketch)

    def are_saved(self, pages: Sequence[PageId]) -> list[bool]:
        """Tell of each page whether all of its cells stand in it as it was last written."""
        return self._unchanged_since(self.saved, pages)

    def are_published(self, pages: Sequence[PageId]) -> list[bool]:
        """Tell of each page whether SQL has all of its cells."""
        return self._unchanged_since(self.published, pages)

    def _unchanged_since(self, column: NDArray[np.int64], pages: Sequence[PageId]) -> list[bool]:
        # All pages in one step: numpy takes 3 us for the rows of a page of its own.
        rows, sizes = self._rows(pages)
        unchanged = self.changed[rows] <= column[rows]
        return np.logical_and.reduceat(unchanged, np.cumsum(sizes) - sizes).tolist() if pages else []

    def _rows(self, pages: Sequence[PageId]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of some pages, one page after the other, and how many each has; a page has at least one."""
        rows = [self.pages[page] for page in pages]
        return np.array([row for of_page in rows for row in of_page], np.int64), np.array(
            [len(of_page) for of_page in rows], np.int64
        )

    def encode(self, page: PageId) -> Iterator[Page]:
        """Yield the chunks of a page, and tombstones for those that it has no longer."""
        chunks = cell_pages.encode(page, self._stored(page))
        yield from (Page(page.key(number), chunk) for number, chunk in enumerate(chunks))
        # Another cell may fit a chunk better than the ones before did, so that there are fewer now.
        before = self._chunks.get(page, 0)
        self._chunks[page] = len(chunks)
        yield from (Page(page.key(number), None) for number in range(len(chunks), before))

    def _stored(self, page: PageId) -> Iterator[StoredCell]:
        rows = self.pages[page]
        # All counts in one step: numpy takes 1 us for a row of its own.
        for row, counts in zip(rows, self.counts[rows].tolist(), strict=True):
            key = self.key(row)
            yield StoredCell(key.bucket_start_ms, key.group, counts, self.sketches.stored(row))

    def forget(self, pages: Sequence[PageId]) -> list[int]:
        """Take some pages' rows back, and return of each in how many chunks the store has it."""
        rows, _ = self._rows(pages)
        freed = rows.tolist()
        for row in freed:
            del self.row_of[self.key(row)]
            self._keys[row] = None
        for page in pages:
            del self.pages[page]
        self.sketches.remove(freed)
        for column in (self.counts, self.changed, self.saved, self.published):
            column[rows] = 0
        self._free += freed
        return [self._chunks.pop(page, 0) for page in pages]

    def compact(self) -> None:
        """Give memory back if few rows are used; cells get other rows then."""
        if self.room <= LEAST_ROWS or _LEAST_SHARE * len(self) >= self.room:
            return
        kept = np.array(sorted(self.row_of.values()), np.int64)
        numbers = np.full(len(self._keys), -1, np.int64)
        numbers[kept] = np.arange(len(kept))
        self._resize(kept, max(LEAST_ROWS, 2 * len(kept)))
        self._keys = [self._keys[row] for row in kept.tolist()]
        self._free = []
        self.row_of = {key: row for row, key in enumerate(self)}
        self.pages = {page: numbers[rows].tolist() for page, rows in self.pages.items()}
        self.sketches.renumber(numbers)

    def _resize(self, kept: NDArray[np.int64], room: int) -> None:
        for name in ("counts", "changed", "saved", "published"):
            old = getattr(self, name)
            new = np.zeros((room, *old.shape[1:]), np.int64)
            new[: len(kept)] = old[kept]
            setattr(self, name, new)
