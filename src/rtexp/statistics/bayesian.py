"""Bayesian comparison, for display beside the method that decides: it is **not sequentially valid**.

Whoever stops when it says 95 % is wrong in far more than 5 % of sound experiments; `PEEKING_ERRORS` says in how many.
Losses are what a choice costs on average: zero where it is surely right, in the metric's own unit.
Sources: Miller, Formulas for Bayesian A/B testing (2014); Stucchi, Bayesian A/B testing at VWO (2015), for the losses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaln, ndtr

from rtexp.statistics.counts import violation
from rtexp.statistics.levels import critical_z
from rtexp.statistics.stirling import remainder
from rtexp.statistics.undefined import Reason, Undefined

if TYPE_CHECKING:
    from rtexp.statistics.counts import Counts

CAUTION = "not sequentially valid"
"""Stands beside every figure of this module."""

PEEKING_ERRORS = MappingProxyType({
    0.95: MappingProxyType({1: 0.100, 12: 0.363, 24: 0.444, 72: 0.560, 288: 0.680}),
    0.99: MappingProxyType({1: 0.020, 12: 0.095, 24: 0.124, 72: 0.173, 288: 0.234}),
})  # fmt: skip
"""By threshold and looks: how often, without any effect, either group's probability to be better ever exceeds it."""

# Beyond this many conversions the posteriors are as good as normal (error < 1e-5), and the sums long.
_EXACT_UP_TO = 100_000
# Variance over mean of Poisson counts is 1; the model is offered within these.
_POISSON = (0.8, 1.25)


@dataclass(frozen=True, slots=True)
class BetaPrior:
    """Belief on a share before any data, as if so many users had acted and not acted; (1, 1) is flat."""

    acted: int = 1
    not_acted: float = 1.0

    def __post_init__(self) -> None:
        if not (self.acted >= 1 and self.acted == int(self.acted) and self.not_acted > 0):
            raise ValueError(f"{self}: acted is a whole number of 1 or more, not_acted is above 0")


@dataclass(frozen=True, slots=True)
class GammaPrior:
    """Belief on actions per user before any data, as if so many users had done so many actions."""

    actions: int
    users: float

    def __post_init__(self) -> None:
        if not (self.actions >= 1 and self.actions == int(self.actions) and self.users > 0):
            raise ValueError(f"{self}: actions is a whole number of 1 or more, users is above 0")


@dataclass(frozen=True, slots=True)
class NormalPrior:
    """Belief on an effect before any data."""

    mean: float
    variance: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 0 < self.variance < math.inf):
            raise ValueError(f"{self}: the variance is above 0; for a flat prior give None instead")


SKEPTICAL = NormalPrior(0.0, 0.05**2)
"""The default for lifts: most changes move a metric by less than 5 %."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What to believe of treatment against control."""

    treatment_higher: float
    """Probability that the treatment's mean is the higher one."""
    loss_keep_control: float
    """Expected loss of keeping the control although the treatment may be higher."""
    loss_ship_treatment: float
    """Expected loss of shipping the treatment although it may be lower."""


@dataclass(frozen=True, slots=True)
class NormalBelief:
    """A `Belief` on an effect, with where the effect lies."""

    mean: float
    std: float
    low: float
    high: float
    belief: Belief


def propensity(control: Counts, treatment: Counts, prior: BetaPrior = BetaPrior()) -> Belief | Undefined:
    """Compare shares of users who acted; losses are shares too. `Reason.INCONSISTENT_COUNTS`, else always defined.

    Beyond 100,000 actors by the normal form, which differs by less than 1e-5.
    """
    if violation(control) or violation(treatment):
        return Undefined(Reason.INCONSISTENT_COUNTS)
    (a_c, b_c), (a_t, b_t) = ((prior.acted + c.a, prior.not_acted + c.n - c.a) for c in (control, treatment))
    n_c, n_t = a_c + b_c, a_t + b_t
    difference = a_t / n_t - a_c / n_c
    if control.a + treatment.a > _EXACT_UP_TO:
        variance = a_c * b_c / n_c / n_c / (n_c + 1) + a_t * b_t / n_t / n_t / (n_t + 1)
        return _normal_belief(difference, math.sqrt(variance))
    higher = beta_higher(a_c, b_c, a_t, b_t)
    # E[(p_T - p_C)+] is made of P at a_T + 1 and at a_C + 1, each of which differs from P by one term of its sum.
    # Taken together their difference keeps its digits; two expectations subtracted would lose them.
    overlap = math.exp(_log_overlap(a_c, b_c, a_t, b_t)) * (1 / n_c + 1 / n_t)
    return Belief(higher, overlap + difference * higher, overlap - difference * (1 - higher))


def beta_higher(a_c: int, b_c: float, a_t: int, b_t: float) -> float:
    """Return the probability that Beta(a_t, b_t) is greater than Beta(a_c, b_c); a_t is a whole number.

    >>> round(beta_higher(1, 1, 2, 1), 6)
    0.666667
    """
    # Terms i = a_t - 1 down to 0 of Miller's sum: the first is known from the overlap, the rest by their quotients.
    i = np.arange(a_t - 2, -1, -1)
    quotients = np.log((i + 1) / (i + a_c)) + np.log((i + a_c + b_c + b_t) / (i + b_t))
    # Term a_t would be the overlap / a_t; it leads to term a_t - 1 by the same quotient.
    last = _log_overlap(a_c, b_c, a_t, b_t)
    last += math.log((a_t - 1 + a_c + b_c + b_t) / ((a_t - 1 + a_c) * (a_t - 1 + b_t)))
    return min(1.0, float(np.exp(last + np.concatenate(([0.0], np.cumsum(quotients)))).sum()))


def _log_overlap(a_c: float, b_c: float, a_t: float, b_t: float) -> float:
    """Return ln B(a_c + a_t, b_c + b_t) - ln B(a_c, b_c) - ln B(a_t, b_t), good to 1e-13 at millions of users.

    The integral of the product of both densities, but for a factor; by `stirling`, so that nothing great cancels.
    """
    n_c, n_t, a, b = a_c + b_c, a_t + b_t, a_c + a_t, b_c + b_t
    apart = a_c * n_t - a_t * n_c
    divergence = a_c * math.log1p(apart / (a * n_c)) + b_c * math.log1p(-apart / (b * n_c))
    divergence += a_t * math.log1p(-apart / (a * n_t)) + b_t * math.log1p(apart / (b * n_t))
    spread = (
        math.log(a_c / a * a_t)
        + math.log(b_c / b * b_t)
        - math.log(n_c / (n_c + n_t) * n_t)
        - math.log(2 * math.pi)
    )
    small = remainder([a, b, n_c, n_t]).sum() - remainder([n_c + n_t, a_c, b_c, a_t, b_t]).sum()
    return float(spread / 2 - divergence + small)


def normal(
    estimate: float, variance: float, prior: NormalPrior | None = SKEPTICAL, credibility: float = 0.95
) -> NormalBelief | Undefined:
    """Turn an effect and its variance into a belief: a lift with `SKEPTICAL`, or a difference with a prior of its unit.

    ``prior`` None is flat; then the interval is the frequentist one. `Reason.ZERO_VARIANCE` if the variance is 0.
    """
    if not variance >= 0:
        raise ValueError(f"variance is {variance}: it is 0 or more")
    score = critical_z(1 - credibility)
    if variance == 0:
        return Undefined(Reason.ZERO_VARIANCE)
    if prior is None:
        mean, std = estimate, math.sqrt(variance)
    else:
        # Both weigh by their precision.
        std = math.sqrt(1 / (1 / variance + 1 / prior.variance))
        mean = std**2 * (estimate / variance + prior.mean / prior.variance)
    return NormalBelief(mean, std, mean - score * std, mean + score * std, _normal_belief(mean, std))


def _normal_belief(mean: float, std: float) -> Belief:
    score = mean / std
    density = std * math.exp(-(score**2) / 2) / math.sqrt(2 * math.pi)
    higher, lower = float(ndtr(score)), float(ndtr(-score))
    return Belief(higher, density + mean * higher, density - mean * lower)


def volume_rate_higher(control: Counts, treatment: Counts, prior: GammaPrior) -> float | Undefined:
    """Return the probability that the treatment's users act at a higher rate, if actions are a Poisson process.

    `Reason.NOT_POISSON` if in one group variance over mean isn't within 0.8 to 1.25; then use `normal` instead.
    """
    for counts in (control, treatment):
        reason = violation(counts) or (Reason.EMPTY_GROUP if counts.n == 0 else None)
        if (
            reason is None
            and not _POISSON[0] * counts.s1 <= counts.s2 - counts.s1**2 / counts.n <= _POISSON[1] * counts.s1
        ):
            reason = Reason.NOT_POISSON
        if reason is not None:
            return Undefined(reason)
    (a_c, b_c), (a_t, b_t) = ((prior.actions + c.s1, prior.users + c.n) for c in (control, treatment))
    if control.s1 + treatment.s1 > _EXACT_UP_TO:
        return float(ndtr((a_t / b_t - a_c / b_c) / math.hypot(math.sqrt(a_t) / b_t, math.sqrt(a_c) / b_c)))
    return gamma_higher(a_c, b_c, a_t, b_t)


def gamma_higher(a_c: float, b_c: float, a_t: int, b_t: float) -> float:
    """Return the probability that Gamma(shape a_t, rate b_t) is greater than Gamma(a_c, b_c); a_t is a whole number."""
    k = np.arange(a_t)
    terms = k * math.log(b_t) + a_c * math.log(b_c) - (k + a_c) * math.log(b_t + b_c)
    terms -= np.log(k + a_c) + betaln(k + 1, a_c)
    return min(1.0, float(np.exp(terms).sum()))
