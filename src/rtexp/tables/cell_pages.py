"""The pages of the buckets table: which cells share one, its layout, and how it is cut into records.

A page holds the cells of one experiment, period, event and hour. It is stored in chunks, each a record that a broker
takes; most pages have one.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec
import numpy as np

from rtexp.core.buckets import HOUR_MS
from rtexp.core.cells import CellCounts, CellKey
from rtexp.tables.pages import PageLayout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CHUNK_BYTES = 400_000
"""A chunk is cut when it has grown to this."""

COUNTS = len(CellCounts.__slots__)


class PageId(NamedTuple):
    """Which page; its chunks are numbered from 0."""

    experiment: str
    period_start_ms: int
    event: str
    hour_start_ms: int

    @classmethod
    def of(cls, cell: CellKey) -> PageId:
        """Return the page that a cell stands in."""
        hour_start_ms = cell.bucket_start_ms // HOUR_MS * HOUR_MS
        return cls(cell.experiment, cell.period_start_ms, cell.event, hour_start_ms)

    def cell(self, cell: StoredCell) -> CellKey:
        """Return the key of one of its cells."""
        return CellKey(self.experiment, self.period_start_ms, cell.group, self.event, cell.bucket_start_ms)

    def key(self, chunk: int) -> bytes:
        """Return the key of one of its chunks; names may hold anything, slashes as well."""
        experiment, event = quote(self.experiment, safe=""), quote(self.event, safe="")
        return f"cells/{experiment}/{self.period_start_ms}/{event}/{self.hour_start_ms}/{chunk}".encode()


class StoredCell(NamedTuple):
    """A cell as a page has it."""

    bucket_start_ms: int
    group: str
    counts: Sequence[int]
    """In the order of the fields of `CellCounts`."""
    sketch: bytes
    """As `rtexp.core.sketches.to_bytes` stores it."""


class CellsPage(msgspec.Struct, array_like=True, frozen=True):
    """One chunk of a page."""

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

    @property
    def page(self) -> PageId:
        """Which page this is a chunk of."""
        experiment, event = sys.intern(self.experiment), sys.intern(self.event)
        return PageId(experiment, self.period_start_ms, event, self.hour_start_ms)

    def cells(self) -> Iterator[StoredCell]:
        """Yield its cells, in order."""
        # Interned, names of groups exist once for all cells.
        groups = map(sys.intern, self.groups)
        counts = np.frombuffer(self.counts, "<i8").reshape(-1, COUNTS).tolist()
        return map(StoredCell, self.buckets, groups, counts, self.sketches)


LAYOUT: PageLayout[CellsPage] = PageLayout("buckets", 1, CellsPage)


def encode(page: PageId, cells: Iterable[StoredCell]) -> list[bytes]:
    """Return the chunks of a page with these cells, in whatever order they come."""
    return [
        LAYOUT.encode(
            CellsPage(
                *page,
                number,
                [cell.group for cell in chunk],
                [cell.bucket_start_ms for cell in chunk],
                np.array([cell.counts for cell in chunk], "<i8").tobytes(),
                [cell.sketch for cell in chunk],
            )
        )
        for number, chunk in enumerate(_chunks(sorted(cells)))
    ]


def _chunks(cells: Iterable[StoredCell]) -> Iterator[list[StoredCell]]:
    """Cut cells into runs of about CHUNK_BYTES."""
    chunk: list[StoredCell] = []
    size = 0
    for cell in cells:
        cell_bytes = len(cell.sketch) + len(cell.group.encode()) + 64
        if chunk and size + cell_bytes > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(cell)
        size += cell_bytes
    if chunk:
        yield chunk
