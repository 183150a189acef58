"""How many users a lift needs to be found, and what lift so many users can still show, by method.

Computed exactly for information that grows evenly over the window and outcomes final at exposure; normal scores, so
small groups need somewhat more. The confidence sequence's expected users are taken to be right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf, isfinite, sqrt
from typing import Literal, NamedTuple, get_args

from scipy.optimize import brentq

from rtexp.statistics import gamblers_ruin
from rtexp.statistics.operating import Operating, bounds, equal_looks, operating, passages

PowerMethod = Literal["obf", "pocock", "bonferroni", "confidence-sequence", "gamblers-ruin", "fixed"]
"""`fixed` is one look at the end, the least of all: what the looks cost is the distance to it."""

METHODS: tuple[PowerMethod, ...] = get_args(PowerMethod)
_LARGEST_DRIFT = 60.0
_LARGEST_LIFT = 1e6


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a user of the control does, of one metric."""

    mean: float
    """Share of users who act, or actions per user; above 0."""
    variance: float | None = None
    """Of actions per user, taken as the treatment's too; None for a share of users, which has its own."""

    def __post_init__(self) -> None:
        """Refuse what no users do: ValueError."""
        if self.variance is None and not 0 < self.mean < 1:
            raise ValueError(f"the rate is {self.mean}: it is a share of users, between 0 and 1")
        if self.variance is not None and not (0 < self.mean < inf and 0 < self.variance < inf):
            raise ValueError(f"mean {self.mean} and variance {self.variance} of actions per user are above 0")

    def variances(self, lift: float) -> float:
        """Return the sum of both groups' variances of one user; ValueError if the treatment's rate leaves (0, 1)."""
        if self.variance is not None:
            return 2 * self.variance
        treatment = self.mean * (1 + lift)
        if not 0 < treatment < 1:
            raise ValueError(f"a lift of {lift} makes a rate of {treatment:.4g}: it is between 0 and 1")
        return self.mean * (1 - self.mean) + treatment * (1 - treatment)


@dataclass(frozen=True, slots=True)
class Aim:
    """What a test shall reach."""

    alpha: float = 0.05
    """Of one comparison: the plan's, divided by treatments and decision metrics."""
    power: float = 0.8
    looks: int = 72

    def __post_init__(self) -> None:
        """Refuse what can't be reached: ValueError."""
        if not 0 < self.alpha < self.power < 1:
            raise ValueError(f"alpha {self.alpha} and power {self.power}: 0 < alpha < power < 1")


class Requirement(NamedTuple):
    """What one method needs to find a lift."""

    method: PowerMethod
    looks: int
    users_per_group: int
    mean_share: float | None
    """Of those users, on average, by when the lift is found; None for gambler's ruin."""


@lru_cache(maxsize=64)
def required_drift(method: PowerMethod, aim: Aim) -> tuple[float, Operating]:
    """Return the mean of Z at the end of the window that is found with the aim's power, and what happens then.

    ValueError for gambler's ruin, which knows no Z.

    >>> round(required_drift("fixed", Aim())[0], 4)
    2.8016
    """
    if method == "gamblers-ruin":
        raise ValueError("gambler's ruin needs conversions, not a drift: see `gamblers_ruin.design`")
    t = [1.0] if method == "fixed" else equal_looks(aim.looks)
    looks = passages(bounds("unadjusted" if method == "fixed" else method, t, aim.alpha), t)

    def missing(drift: float) -> float:
        return operating(looks, drift).crossing - aim.power

    drift = float(brentq(missing, 0.0, _LARGEST_DRIFT, xtol=1e-9))
    return drift, operating(looks, drift)


def requirement(method: PowerMethod, aim: Aim, baseline: Baseline, lift: float) -> Requirement:
    """Return how many users each group needs for a lift (0.05: 5 % more than the control) to be found.

    ValueError for a lift of 0, one that no rate can have, and for gambler's ruin below `gamblers_ruin.LEAST_LIFT` or
    with a volume.
    """
    if not (isfinite(lift) and lift != 0 and lift > -1):
        raise ValueError(f"the lift is {lift}: give the change worth finding, such as 0.05 for 5 % more")
    variances = baseline.variances(lift)
    if method == "gamblers-ruin":
        if baseline.variance is not None:
            raise ValueError("gambler's ruin counts users who acted: give a rate, not a mean and a variance")
        design = gamblers_ruin.design(lift, aim.alpha, aim.power)
        # Conversions end the test, whenever they come; users are how many bring them on average.
        return Requirement(
            method, design.conversions, ceil(design.conversions / (baseline.mean * (2 + lift))), None
        )
    drift, found = required_drift(method, aim)
    users = ceil(variances * (drift / (baseline.mean * lift)) ** 2)
    return Requirement(method, 1 if method == "fixed" else aim.looks, users, found.mean_t)


def least_lift(method: PowerMethod, aim: Aim, baseline: Baseline, users_per_group: int) -> float:
    """Return the smallest lift above 0 that so many users in each group will show with the aim's power.

    inf if no lift is large enough for so few users, or so high a rate. ValueError without users, and as `requirement`.
    """
    if users_per_group < 1:
        raise ValueError(f"{users_per_group} users per group: there is at least one")
    # A rate can't be lifted beyond 1, nor quite to it.
    most = _LARGEST_LIFT if baseline.variance is not None else (1 / baseline.mean - 1) * (1 - 1e-9)
    if method == "gamblers-ruin":
        return _least_lift_of_ruin(aim, baseline, users_per_group, most)
    drift, _ = required_drift(method, aim)

    def excess(lift: float) -> float:
        return baseline.mean * lift * sqrt(users_per_group / baseline.variances(lift)) - drift

    if excess(most) < 0:
        return inf
    return float(brentq(excess, 0.0, most, xtol=1e-12, rtol=1e-10))


def _least_lift_of_ruin(aim: Aim, baseline: Baseline, users_per_group: int, most: float) -> float:
    low, high = gamblers_ruin.LEAST_LIFT, most
    if low > high or requirement("gamblers-ruin", aim, baseline, high).users_per_group > users_per_group:
        return inf
    # Bisection, as users are whole numbers and a step of the lead may make them jump.
    while high - low > 1e-4 * high:
        middle = sqrt(low * high)
        if requirement("gamblers-ruin", aim, baseline, middle).users_per_group <= users_per_group:
            high = middle
        else:
            low = middle
    return high
