"""From cells to what is asked of them: running sums, and distinct users of a range."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from rtexp.core import sketches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rtexp.store.cells import CellRow

COUNTS = ("volume", "actors", "sum_squares", "exposures", "multiple_exposures")
_CONSTANT = 1.04
"""Of HyperLogLog: the standard error is this over the root of the number of registers."""


class SeriesRow(NamedTuple):
    """What the API says of a group, event and bucket."""

    experiment: str
    period_start_ms: int
    group_name: str
    event: str
    bucket_start_ms: int
    volume: int
    actors: int
    sum_squares: int
    exposures: int
    multiple_exposures: int


class Uniques(NamedTuple):
    """About how many distinct users there are in a range: within ``estimate`` ± 2 ``standard_error`` 19 of 20 times."""

    group_name: str
    event: str
    estimate: float
    standard_error: float
    buckets: int


def per_bucket(rows: Iterable[CellRow]) -> Iterator[SeriesRow]:
    """Yield the cells' increments as they are."""
    for row in rows:
        yield SeriesRow(*row[:5], *(getattr(row, name) for name in COUNTS))


def running(rows: Iterable[CellRow]) -> Iterator[SeriesRow]:
    """Yield the sums up to and with each bucket, of rows that stand in order of group, event and bucket.

    A bucket in which nothing changed has no row; there the one before holds.
    """
    for _, series in groupby(rows, key=lambda row: row[:4]):
        sums = (0,) * len(COUNTS)
        for row in series:
            sums = tuple(total + getattr(row, name) for total, name in zip(sums, COUNTS, strict=True))
            yield SeriesRow(*row[:5], *sums)


def uniques(stored: Iterable[tuple[str, str, bytes]], lg_k: int) -> Iterator[Uniques]:
    """Yield an estimate for each group and event of (group, event, sketch), in the order in which they come.

    StateError if a sketch is damaged or has another size.
    """
    error = _CONSTANT / (1 << lg_k) ** 0.5
    for (group, event), part in groupby(stored, key=lambda row: row[:2]):
        registers = sketches.dense(sketches.no_entries(), lg_k)
        united = 0
        for _, _, sketch in part:
            sketches.unite(registers, sketch, lg_k)
            united += 1
        estimate = sketches.estimate_dense(registers)
        yield Uniques(group, event, estimate, error * estimate, united)
