"""Charts as SVG, made here so that pages need no scripts: evidence of each look against its boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rtexp.store.looks import LookRow

WIDTH, HEIGHT = 880, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 28
_LEAST_TOP_Z = 4.0
_MOST_TOP_Z = 8.0
"""Early boundaries lie far out; they are cut off rather than pressing all else flat."""


class Tick(NamedTuple):
    """A mark on an axis, and its text."""

    at: float
    text: str


class Chart(NamedTuple):
    """What a template draws: SVG paths, and the looks that crossed."""

    evidence: str
    upper: str
    lower: str
    crossings: Sequence[tuple[float, float]]
    hours: Sequence[Tick]
    levels: Sequence[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def evidence(rows: Sequence[LookRow], *, period: tuple[int, int]) -> Chart | None:
    """Return z and boundary of a comparison's looks in order of time; None where none has a z.

    A look without z or boundary leaves a gap, as nothing is known there.
    """
    if not any(row.z is not None for row in rows):
        return None
    start_ms, end_ms = period
    highest = max(abs(value) for row in rows for value in (row.z, row.boundary, 0.0) if value is not None)
    most = min(max(highest * 1.1, _LEAST_TOP_Z), _MOST_TOP_Z)

    def x(at_ms: int) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (at_ms - start_ms) / (end_ms - start_ms), 1)

    def y(value: float) -> float:
        shown = min(max(value, -most), most)
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - shown / most) / 2, 1)

    bounds = [(x(row.scheduled_ms), row.boundary) for row in rows]
    step_h = max((end_ms - start_ms) // 3_600_000 // 6, 1)
    return Chart(
        _path((x(row.scheduled_ms), None if row.z is None else y(row.z)) for row in rows),
        _path((at, None if bound is None else y(bound)) for at, bound in bounds),
        # A guardrail's z points towards harm, and only there is a boundary.
        ""
        if rows[0].role == "guardrail"
        else _path((at, None if bound is None else y(-bound)) for at, bound in bounds),
        [(x(row.scheduled_ms), y(row.z)) for row in rows if row.crossed and row.z is not None][:1],
        [
            Tick(x(start_ms + hour * 3_600_000), str(hour))
            for hour in range(0, (end_ms - start_ms) // 3_600_000 + 1, step_h)
        ],
        [Tick(y(level), f"{level:+d}".replace("-", "\N{MINUS SIGN}")) for level in (-2, 2)]
        + [Tick(y(0), "0")],
    )


def _path(points: Iterable[tuple[float, float | None]]) -> str:
    """Return the d of an SVG path, with gaps where there is no value."""
    parts, drawing = [], False
    for at, value in points:
        if value is not None:
            parts.append(f"{'L' if drawing else 'M'}{at:g} {value:g}")
        drawing = value is not None
    return "".join(parts)
