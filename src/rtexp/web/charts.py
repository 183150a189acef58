"""Charts as SVG, made here so that pages need no scripts: evidence of each look against its boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.web import figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rtexp.store.looks import LookRow

WIDTH, HEIGHT = 880, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 28
_LEAST_TOP_Z = 4.0
_MOST_TOP_BOUND = 8.0
"""Early boundaries lie far out; they are cut off rather than pressing all else flat."""
_MOST_TOP_Z = 40.0


class Tick(NamedTuple):
    """A mark on an axis, and its text."""

    at: float
    text: str


class Chart(NamedTuple):
    """What a template draws: SVG paths, and the looks that crossed."""

    evidence: str
    upper: str
    lower: str
    beyond: Sequence[str]
    """Areas in which z would have crossed."""
    newest: tuple[float, float, str]
    """The last z drawn: where, and its number."""
    ramps: Sequence[float]
    crossings: Sequence[tuple[float, float]]
    hours: Sequence[Tick]
    levels: Sequence[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def evidence(rows: Sequence[LookRow], *, period: tuple[int, int], ramps: Sequence[int] = ()) -> Chart | None:
    """Return z and boundary of a comparison's looks in order of time; None where none has a z.

    ``ramps`` are times in ms, drawn as lines.

    A look without z or boundary leaves a gap, as nothing is known there.
    """
    if not any(row.z is not None for row in rows):
        return None
    start_ms, end_ms = period
    most = max(
        _LEAST_TOP_Z,
        min(_highest(row.z for row in rows), _MOST_TOP_Z),
        min(_highest(row.boundary for row in rows), _MOST_TOP_BOUND),
    )

    def x(at_ms: int) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (at_ms - start_ms) / (end_ms - start_ms), 1)

    def y(value: float) -> float:
        shown = min(max(value, -most), most)
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - shown / most) / 2, 1)

    bounds = [(x(row.scheduled_ms), row.boundary) for row in rows]
    one_sided = rows[0].role == "guardrail"  # its z points towards harm, and only there is a boundary
    sides = [1] if one_sided else [1, -1]
    newest = [row for row in rows if row.z is not None][-1]
    step_h = max((end_ms - start_ms) // 3_600_000 // 6, 1)
    return Chart(
        _path((x(row.scheduled_ms), None if row.z is None else y(row.z)) for row in rows),
        _path((at, None if bound is None else y(bound)) for at, bound in bounds),
        "" if one_sided else _path((at, None if bound is None else y(-bound)) for at, bound in bounds),
        [
            _area([(at, y(side * bound)) for at, bound in bounds if bound is not None], y(side * most))
            for side in sides
        ],
        (x(newest.scheduled_ms), y(newest.z or 0.0), figures.z(newest.z)),
        [x(at_ms) for at_ms in ramps if start_ms <= at_ms < end_ms],
        [(x(row.scheduled_ms), y(row.z)) for row in rows if row.crossed and row.z is not None][:1],
        [
            Tick(x(start_ms + hour * 3_600_000), str(hour))
            for hour in range(0, (end_ms - start_ms) // 3_600_000 + 1, step_h)
        ],
        [
            Tick(y(level), f"{level:+d}".replace("-", figures.MINUS) if level else "0")
            for level in (-4, -2, 0, 2, 4)
            if abs(level) < most
        ],
    )


def _highest(values: Iterable[float | None]) -> float:
    return 1.1 * max((abs(value) for value in values if value is not None), default=0.0)


def _area(points: Sequence[tuple[float, float]], edge: float) -> str:
    """Return the d of what lies between a line and an edge of the chart; empty without points."""
    if not points:
        return ""
    (first, _), (last, _) = points[0], points[-1]
    return (
        f"M{first:g} {edge:g}"
        + "".join(f"L{at:g} {value:g}" for at, value in points)
        + f"L{last:g} {edge:g}z"
    )


def _path(points: Iterable[tuple[float, float | None]]) -> str:
    """Return the d of an SVG path, with gaps where there is no value."""
    parts, drawing = [], False
    for at, value in points:
        if value is not None:
            parts.append(f"{'L' if drawing else 'M'}{at:g} {value:g}")
        drawing = value is not None
    return "".join(parts)
