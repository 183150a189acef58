"""Group sequential bounds by alpha spending: of one comparison, look by look.

Alpha is spent by calendar time, looks are correlated by information (users who acted): two clocks, because a schedule
is known beforehand and information isn't. A bound depends on the times and information of the looks up to its own, and
on nothing that was observed, so bounds never change afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.statistics.spending import spent
from rtexp.statistics.surviving import SurvivingDensity
from rtexp.statistics.undefined import Reason

if TYPE_CHECKING:
    from rtexp.statistics.spending import Sides, Spending

MIN_GROWTH = 0.002
"""Least growth of information since the last evaluated look, as a share of it."""
MIN_SPEND = 1e-15
"""Least alpha that a look must have to spend."""


class LookBound(NamedTuple):
    """What one look of one comparison got."""

    deferred: Reason | None
    """Why the look wasn't evaluated; its alpha goes to the next one."""
    alpha_spent: float
    """After this look, in all."""
    bound: float | None
    """What |Z| must reach, one-sided Z; None if the look was deferred."""
    crossed: bool


class GroupSequentialTest:
    """One comparison tested at one level; looks are added in order, and the same looks give the same bits again.

    Valid for Gaussian scores with correlations √(τ_i / τ_k). Where users keep acting after later ones have come, that
    is an approximation: docs/simulations.md says how good it is.
    """

    __slots__ = ("_density", "_min_growth", "_min_spend", "_sides", "_spending", "alpha", "alpha_spent")

    def __init__(
        self,
        *,
        alpha: float,
        spending: Spending,
        sides: Sides = 2,
        min_growth: float = MIN_GROWTH,
        min_spend: float = MIN_SPEND,
    ) -> None:
        """Start a test; ValueError unless 0 < alpha <= 1, min_growth > 0 and min_spend > 0."""
        if not (0 < alpha <= 1 and min_growth > 0 and min_spend > 0):
            raise ValueError(
                f"alpha {alpha} must be in (0, 1], min_growth {min_growth}, min_spend {min_spend} above 0"
            )
        self.alpha = alpha
        self.alpha_spent = 0.0
        self._spending = spending
        self._sides: Sides = sides
        self._min_growth = min_growth
        self._min_spend = min_spend
        self._density = SurvivingDensity(sides)

    def add(self, t: float, information: float, z: float) -> LookBound:
        """Evaluate one look, or defer it: then it leaves no trace.

        Args:
            t: Its scheduled time as a share of the window, (0, 1], however late it runs; looks in order of it.
            information: Of both groups together so far; only ratios matter. It may fall: the look is deferred.
            z: The look's normal score; one-sided, with harm as its positive direction.
        """
        if not information > (1 + self._min_growth) * self._density.information:
            return LookBound(Reason.NO_INFORMATION_GROWTH, self.alpha_spent, None, crossed=False)
        by_now = spent(self._spending, t, self.alpha, self._sides)
        if by_now - self.alpha_spent < self._min_spend:
            return LookBound(Reason.NOTHING_TO_SPEND, self.alpha_spent, None, crossed=False)
        bound = self._density.solve(information, by_now - self.alpha_spent)
        self.alpha_spent = by_now
        return LookBound(None, by_now, bound, crossed=(abs(z) if self._sides == 2 else z) >= bound)  # noqa: PLR2004
