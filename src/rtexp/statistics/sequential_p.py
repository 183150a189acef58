"""The sequential p-value: the smallest total alpha at which the looks so far would have crossed their bounds.

It may be read at every look, and compared with any level: at most alpha where the test at that alpha has crossed. It
never rises.
"""

from __future__ import annotations

from math import exp, inf, log
from typing import TYPE_CHECKING, NamedTuple

from scipy.special import log_ndtr, ndtr

from rtexp.statistics.boundaries import MIN_GROWTH, MIN_SPEND, GroupSequentialTest
from rtexp.statistics.spending import spent, total_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.statistics.spending import Sides, Spending

TOLERANCE = 1e-9
"""Relative, of p."""
_NUDGE = 1 + 1e-12
_MOST_STEPS = 60


class _Trial(NamedTuple):
    """The looks so far, tested at one level."""

    log_alpha: float
    score: float
    """Log of the last bound's upper tail, which is nearly parallel to log alpha; -inf if that look was deferred."""
    test: GroupSequentialTest


class SequentialP:
    """The running sequential p of one comparison; the same looks give the same bits again.

    What it costs: one test carried at the running p, or at the ceiling before any crossing, so one bound a look. Only
    a look that crosses it lowers p, and then the level is searched: 3 or 4 tests from scratch, each 3 to 5 ms of CPU
    for 72 looks (2 shared cores, CPython 3.11; `rtexp bench looks`).
    """

    def __init__(
        self,
        *,
        spending: Spending,
        sides: Sides = 2,
        min_growth: float = MIN_GROWTH,
        min_spend: float = MIN_SPEND,
        ceiling: float = 1.0,
    ) -> None:
        """Start without looks: p is 1.

        Args:
            spending: As of the test.
            sides: As of the test.
            min_growth: As of the test.
            min_spend: As of the test; p is never below it.
            ceiling: A p above it is given as 1. Nothing is searched before this level is crossed.
        """
        self.value = 1.0
        self._spending: Spending = spending
        self._sides: Sides = sides
        self._min_growth = min_growth
        self._min_spend = min_spend
        self._looks: list[tuple[float, float, float]] = []
        self._carried = self._test_at(ceiling)

    def resume(self, looks: Iterable[tuple[float, float, float]], value: float) -> None:
        """Take over looks that another one has had, and the p that it came to: as if they had been added, bit by bit.

        One test from scratch instead of all searches. The options must be those of the other one.
        """
        self._looks = list(looks)
        self.value = value
        if self._looks:
            self._carried = self._trial(value if value < 1 else self._carried.alpha).test

    def add(self, t: float, information: float, z: float) -> float:
        """Add a look that the plan has evaluated, as to `GroupSequentialTest.add`, and return p after it."""
        self._looks.append((t, information, z))
        found = self._carried.add(t, information, z)
        if found.bound is not None and found.crossed:
            height = abs(z) if self._sides == 2 else z  # noqa: PLR2004
            now = _Trial(log(self._carried.alpha), float(log_ndtr(-found.bound)), self._carried)
            self._carried = self._smallest(now, t, height)
            self.value = self._carried.alpha
        return self.value

    def _smallest(self, highest: _Trial, t: float, height: float) -> GroupSequentialTest:
        """Return the test at the smallest level whose bound at the last look is at most ``height``."""
        # No bound lies below what it would be if the look were the first to spend: a lower end of p, and p itself
        # if at that level no earlier look has anything to spend.
        share = max(self._sides * float(ndtr(-height)), self._min_spend) * _NUDGE
        least = total_for(self._spending, t, min(share, 1.0), self._sides)
        if least >= highest.test.alpha:
            return highest.test
        if not self._spends_before_last(least):
            return self._trial(least).test
        return self._root(log(least), highest, float(log_ndtr(-height)))

    def _root(self, low: float, highest: _Trial, wanted: float) -> GroupSequentialTest:
        known = [highest]
        lowest_crossing = highest
        guess = highest.log_alpha + wanted - highest.score
        for _ in range(_MOST_STEPS):
            high = lowest_crossing.log_alpha
            if high - low <= TOLERANCE:
                break
            if not low < guess < high:
                guess = (low + high) / 2
            trial = self._trial(exp(guess))
            if abs(trial.score - wanted) <= TOLERANCE:
                return trial.test
            if trial.score < wanted:
                low = trial.log_alpha
            else:
                lowest_crossing = trial
            known = [*(one for one in known if one.score > -inf), trial][-3:]
            guess = _interpolated(known, wanted)
        return lowest_crossing.test

    def _spends_before_last(self, alpha: float) -> bool:
        times = (t for t, *_ in self._looks[:-1])
        return any(spent(self._spending, t, alpha, self._sides) >= self._min_spend for t in times)

    def _trial(self, alpha: float) -> _Trial:
        test = self._test_at(alpha)
        for look in self._looks:
            found = test.add(*look)
        return _Trial(log(alpha), -inf if found.bound is None else float(log_ndtr(-found.bound)), test)

    def _test_at(self, alpha: float) -> GroupSequentialTest:
        return GroupSequentialTest(
            alpha=alpha,
            spending=self._spending,
            sides=self._sides,
            min_growth=self._min_growth,
            min_spend=self._min_spend,
        )


def sequential_p(
    looks: Iterable[tuple[float, float, float]],
    *,
    spending: Spending,
    sides: Sides = 2,
    min_growth: float = MIN_GROWTH,
    min_spend: float = MIN_SPEND,
    ceiling: float = 1.0,
) -> float:
    """Return the sequential p after looks (t, information, z): the value that `SequentialP` has carried, bit by bit."""
    running = SequentialP(
        spending=spending, sides=sides, min_growth=min_growth, min_spend=min_spend, ceiling=ceiling
    )
    for look in looks:
        running.add(*look)
    return running.value


def _interpolated(known: list[_Trial], wanted: float) -> float:
    """Return log alpha at ``wanted`` on the polynomial through all that is known; nan if it has no value there."""
    total = 0.0
    for one in known:
        weight = 1.0
        for other in known:
            if other is not one:
                apart = one.score - other.score
                weight *= (wanted - other.score) / apart if apart else inf
        total += weight * one.log_alpha
    return total
