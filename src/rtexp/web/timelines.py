"""A period as one line from ramp to end, with what happened on it; places are percentages of its length."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.web import figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.store.looks import LookRow
    from rtexp.web.activity import Ramp

_ROOM = 8.0
"""Percent of the length that a text needs; where there is less, its mark stands alone."""


class Mark(NamedTuple):
    """Something on the line."""

    at: float
    icon: str
    tone: str
    text: str
    """Empty where there is no room for it."""


class Timeline(NamedTuple):
    """The whole period."""

    now: float
    marks: Sequence[Mark]
    now_text: str
    end_text: str


def timeline(
    period: tuple[int, int], ramps: Sequence[Ramp], crossing: LookRow | None, *, tone: str, now_ms: int
) -> Timeline:
    """Return where ramps, the first crossing and now lie; a text is left out where it would hide another."""
    start_ms, end_ms = period

    def at(ms: int) -> float:
        return round(100 * min(max((ms - start_ms) / (end_ms - start_ms), 0.0), 1.0), 2)

    now = at(now_ms)
    marks = []
    for ramp in ramps:
        percents = sorted({after for _, _, after in ramp.groups})
        shares = ", ".join(f"{percent:g}%" for percent in percents)
        first = ramp.at_ms == start_ms
        hour = (
            f"{figures.when(ramp.at_ms, now_ms)}" if first else f"hour {figures.hours(ramp.at_ms - start_ms)}"
        )
        # Its text is the longest, and begins at the edge; what it would hide says more.
        others = ([now] if now_ms < end_ms else []) + ([at(crossing.scheduled_ms)] if crossing else [])
        hides_more = first and any(other < 2 * _ROOM for other in others)
        marks.append(Mark(at(ramp.at_ms), "ramp", "", "" if hides_more else f"{hour} · {shares}"))
    if crossing is not None:
        gained = crossing.state == "significant_gain"
        text = f"look {crossing.look} · {'gain' if gained else 'drop'}"
        marks.append(Mark(at(crossing.scheduled_ms), "gain" if gained else "drop", tone, text))
    whole = figures.hours(end_ms - start_ms)
    over = now_ms >= end_ms
    now_text = "" if over or now_ms < start_ms else f"{(now_ms - start_ms) / 3_600_000:.1f} of {whole} h"
    return Timeline(
        now,
        _with_room(marks, now),
        now_text,
        f"{'ended' if over else 'ends'} {figures.when(end_ms, now_ms)} UTC",
    )


def _with_room(marks: Sequence[Mark], now: float) -> list[Mark]:
    """Keep the texts of the first mark, of crossings, and of ramps that have room before what follows."""
    kept: list[Mark] = []
    taken: list[float] = [now, 100.0]
    for mark in sorted(marks, key=lambda mark: (mark.icon == "ramp" and mark.at > 0, mark.at)):
        free = mark.at == 0 or all(abs(mark.at - other) >= _ROOM for other in taken)
        kept.append(mark if free else mark._replace(text=""))
        if free:
            taken.append(mark.at)
    return sorted(kept, key=lambda mark: mark.at)
