"""Ramps and periods: when an experiment is measured, from the history of its allocations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def ramps_of(allocations: Iterable[tuple[str, float, int]]) -> list[tuple[str, int]]:
    """Return (group, at_ms) of every allocation that raised its group's share, in order of time.

    ``allocations`` are (group, percent, at_ms) in order of id, or of time and then id: of those at the same
    time the earlier one given counts as the earlier one. A group starts at 0 percent, so its first allocation
    above 0 is a ramp too.

    >>> ramps_of([("treatment", 0, 10), ("treatment", 5, 20), ("treatment", 5, 30), ("treatment", 9, 40)])
    [('treatment', 20), ('treatment', 40)]
    """
    percents: dict[str, float] = {}
    ramps = []
    for group, percent, at_ms in sorted(allocations, key=lambda allocation: allocation[2]):
        if percent > percents.get(group, 0):
            ramps.append((group, at_ms))
        percents[group] = percent
    return ramps


def periods_of(ramp_times_ms: Iterable[int], period_ms: int) -> list[tuple[int, int]]:
    """Return the half-open periods (start_ms, end_ms) that one experiment's ramps open, in order of time.

    A ramp that lies in no period opens one; inside a period it changes nothing; exactly at the end of one it
    opens the next.

    >>> periods_of([0, 50, 100, 250], period_ms=100)
    [(0, 100), (100, 200), (250, 350)]
    """
    periods: list[tuple[int, int]] = []
    for at_ms in sorted(ramp_times_ms):
        if not periods or at_ms >= periods[-1][1]:
            periods.append((at_ms, at_ms + period_ms))
    return periods
