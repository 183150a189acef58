"""Small graphics of one row: an interval on a common scale, and evidence in units of its boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FOREST_WIDTH, FOREST_HEIGHT = 184, 28
_EDGE = 6
"""Room for the arrow of an interval that goes on."""
SPARK_WIDTH, SPARK_HEIGHT = 144, 28
_BAND = 7
"""Half of the height in which nothing has crossed."""
_MOST_BOUNDS = 1.8


class Forest(NamedTuple):
    """An interval of a lift; x in pixels."""

    line: tuple[float, float]
    at: float
    """Of the estimate, between the ends where it lies beyond the scale."""
    ends: tuple[bool, bool]
    """Whether each end is on the scale; else an arrow says that it goes on."""


def forest(low: float | None, at: float | None, high: float | None, *, most: float) -> Forest | None:
    """Return where an interval is drawn on a scale from -most to +most; None where there is none.

    An end that is None lies beyond all bounds.

    >>> forest(-0.05, 0.1, 0.9, most=0.1)
    Forest(line=(49.0, 178.0), at=178.0, ends=(True, False))
    """
    if at is None or (low is None and high is None):
        return None

    def x(value: float) -> float:
        half = FOREST_WIDTH / 2
        return round(half + max(-1.0, min(1.0, value / most)) * (half - _EDGE), 1)

    return Forest(
        (x(-most if low is None else low), x(most if high is None else high)),
        x(at),
        (low is not None and low >= -most, high is not None and high <= most),
    )


class Spark(NamedTuple):
    """Evidence by time: the middle half of the height is within the boundary."""

    path: str
    newest: tuple[float, float]
    crossing: tuple[float, float] | None
    """Where it crossed first."""


def spark(points: Iterable[tuple[float, float, bool]]) -> Spark | None:
    """Return the curve of (share of the period, z / boundary, crossed), in order of time; None without points.

    >>> spark([(0.0, 0.0, False), (0.5, 1.0, True), (1.0, 9.0, True)])
    Spark(path='M2 14L72 7 142 1.4', newest=(142, 1.4), crossing=(72, 7))
    """
    drawn = [(_x(share), _y(value), crossed) for share, value, crossed in points]
    if not drawn:
        return None
    first = next(((x, y) for x, y, crossed in drawn if crossed), None)
    return Spark(path_of([(x, y) for x, y, _ in drawn]), drawn[-1][:2], first)


def path_of(points: Sequence[tuple[float, float]]) -> str:
    """Return the d of an SVG path through points, as short as it can be said; empty without points."""
    if not points:
        return ""
    (x, y), *rest = points
    return f"M{x:g} {y:g}" + ("L" + " ".join(f"{x:g} {y:g}" for x, y in rest) if rest else "")


def _x(share: float) -> float:
    return round(2 + share * (SPARK_WIDTH - 4))


def _y(value: float) -> float:
    return round(SPARK_HEIGHT / 2 - max(-_MOST_BOUNDS, min(_MOST_BOUNDS, value)) * _BAND, 1)
