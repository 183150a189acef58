"""Freshness of the last hour as SVG: how long actions took until they were surely in SQL, by minute."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.web import figures
from rtexp.web.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Tick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.store.operations import FreshnessRow

MINUTE_MS = 60_000
MINUTES = 60


class FreshnessChart(NamedTuple):
    """What a template draws, and the sentence that says the same."""

    half: str
    """The d of a path: the delay that half of a minute's arrivals stay below."""
    nearly_all: str
    """Likewise 99 of 100."""
    on_purpose: float
    """Where the delay lies that is waited for by design."""
    label: str
    minutes: Sequence[Tick]
    levels: Sequence[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def freshness_chart(
    rows: Sequence[FreshnessRow], *, now_ms: int, on_purpose_ms: int
) -> FreshnessChart | None:
    """Return the chart of the last hour, from rows in order of time; None without any. Missing minutes are gaps."""
    first_ms = now_ms // MINUTE_MS * MINUTE_MS - (MINUTES - 1) * MINUTE_MS
    rows = [row for row in rows if row.minute_ms >= first_ms]
    if not rows:
        return None
    most_ms = 1.15 * max(on_purpose_ms, *(row.p99_ms for row in rows), 1)

    def x(at_ms: int) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (at_ms - first_ms) / ((MINUTES - 1) * MINUTE_MS), 1)

    def y(delay_ms: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * delay_ms / most_ms, 1)

    def path(points: Sequence[tuple[int, int]]) -> str:
        parts, before_ms = [], None
        for at_ms, delay_ms in points:
            parts.append(f"{'L' if before_ms == at_ms - MINUTE_MS else 'M'}{x(at_ms):g} {y(delay_ms):g}")
            before_ms = at_ms
        # A minute between two gaps would be a line of no length, which nothing draws: h0 and round ends do.
        return "h0".join(parts) + "h0" if parts else ""

    highest = max(row.p99_ms for row in rows)
    return FreshnessChart(
        path([(row.minute_ms, row.p50_ms) for row in rows]),
        path([(row.minute_ms, row.p99_ms) for row in rows]),
        y(on_purpose_ms),
        f"Of the last hour's arrivals 99 of 100 were in SQL within {figures.duration(highest)} in the slowest minute, "
        f"and within {figures.duration(rows[-1].p99_ms)} in the newest.",
        [
            Tick(
                x(first_ms + n * MINUTE_MS), f"{figures.MINUS}{MINUTES - 1 - n}" if n < MINUTES - 1 else "now"
            )
            for n in (0, 29, 59)
        ],
        [Tick(y(level), f"{level / 1000:g} s") for level in _levels(most_ms)],
    )


def _levels(most_ms: float) -> Sequence[int]:
    """Return up to four round delays below ``most_ms``, at steps of 1, 2 or 5.

    >>> _levels(16_100), _levels(2_300), _levels(900)
    ([5000, 10000, 15000], [500, 1000, 1500, 2000], [200, 400, 600, 800])
    """
    steps = (step * 10**power for power in range(2, 9) for step in (1, 2, 5))
    step = next(step for step in steps if step * 5 > most_ms)
    return list(range(step, int(most_ms) + 1, step))
