"""Cells as plain values: what is counted, and what it means to merge two parts of it.

This is the definition. `rtexp.tables.buckets` holds the same in columns, and a law says that both agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

K = TypeVar("K")


class CellKey(NamedTuple):
    """Which cell: one group and event of one measured period, in one bucket of event time."""

    experiment: str
    period_start_ms: int
    group: str
    event: str
    """Empty for the cell that carries exposures."""
    bucket_start_ms: int


@dataclass(frozen=True, slots=True)
class CellCounts:
    """Whole numbers that add: over parts of a cell, and over the buckets of a period."""

    volume: int
    actors: int
    sum_squares: int
    exposures: int
    multiple_exposures: int

    def __add__(self, other: CellCounts) -> CellCounts:
        return CellCounts(
            self.volume + other.volume,
            self.actors + other.actors,
            self.sum_squares + other.sum_squares,
            self.exposures + other.exposures,
            self.multiple_exposures + other.multiple_exposures,
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """Counts, and the sketch of the users in them: by register the highest rank seen."""

    counts: CellCounts
    ranks: Mapping[int, int]

    def __add__(self, other: Cell) -> Cell:
        registers = self.ranks.keys() | other.ranks.keys()
        return Cell(
            self.counts + other.counts,
            {r: max(self.ranks.get(r, 0), other.ranks.get(r, 0)) for r in registers},
        )


EMPTY = Cell(CellCounts(0, 0, 0, 0, 0), {})


def merged(parts: Iterable[tuple[K, Cell]]) -> dict[K, Cell]:
    """Add up the parts of each cell; neither order nor how they are cut matters."""
    cells: dict[K, Cell] = {}
    for key, part in parts:
        cells[key] = cells.get(key, EMPTY) + part
    return cells
