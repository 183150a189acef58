"""Rows of cells and looks as columns, one entry a bucket or look: short to send, and what charts are drawn from."""

from __future__ import annotations

from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from rtexp.statistics.bands import band
from rtexp.statistics.counts import Counts
from rtexp.statistics.undefined import Undefined

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rtexp.statistics.effects import Metric
    from rtexp.store.cells import CellRow
    from rtexp.store.looks import LookRow

BAND_ALPHA = 0.05


class Grid(NamedTuple):
    """Where a period's buckets are."""

    origin_ms: int
    bucket_ms: int
    most: int
    """So many lie in it."""


class Columns(NamedTuple):
    """Increments of one group and event, one entry a bucket."""

    exposures: list[int]
    actors: list[int]
    volume: list[int]
    sum_squares: list[int]

    def half_widths(self, metric: Metric, rho_squared: float) -> list[float | None]:
        """Return how far the band around the mean since the start reaches at the end of each bucket, to 4 digits."""
        sums = zip(
            *map(accumulate, (self.exposures, self.volume, self.sum_squares, self.actors)), strict=True
        )
        return [_shown(band(metric, Counts(*each), rho_squared, BAND_ALPHA)) for each in sums]


def columns_of(rows: Iterable[CellRow], groups: Sequence[str], grid: Grid) -> dict[str, Columns]:
    """Return the columns of groups, all as long as the newest bucket of any says; cells outside the grid are left out.

    Exposures stand in rows whose event is empty, all else in those of the one event that there may be.
    """
    found = []
    for row in rows:
        index = (row.bucket_start_ms - grid.origin_ms) // grid.bucket_ms
        if 0 <= index < grid.most and row.group_name in groups:
            found.append((index, row))
    length = max((index for index, _ in found), default=-1) + 1
    columns = {group: Columns(*([0] * length for _ in Columns._fields)) for group in groups}
    for index, row in found:
        group = columns[row.group_name]
        if row.event:
            group.actors[index] = row.actors
            group.volume[index] = row.volume
            group.sum_squares[index] = row.sum_squares
        else:
            group.exposures[index] = row.exposures
    return columns


def look_columns(rows: Iterable[LookRow], start_ms: int) -> list[dict[str, Any]]:
    """Return of each comparison when its looks were due, in ms since ``start_ms``, with z and boundary, to 4 digits."""
    return [
        {
            "group_name": looks[0].group_name,
            "role": looks[0].role,
            "method": looks[0].method,
            "look": [row.look for row in looks],
            "offset_ms": [row.scheduled_ms - start_ms for row in looks],
            "z": [_shown(row.z) for row in looks],
            "boundary": [_shown(row.boundary) for row in looks],
            "level": next((row.level for row in reversed(looks) if row.level is not None), None),
            "first_crossed": next((row.look for row in looks if row.crossed), None),
        }
        for looks in (
            list(part) for _, part in groupby(rows, lambda row: (row.group_name, row.role, row.method))
        )
    ]


def _shown(value: float | Undefined | None) -> float | None:
    return None if value is None or isinstance(value, Undefined) else float(f"{value:.4g}")
