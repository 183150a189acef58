"""The effect of a treatment: its difference to the control, how sure it is, and the statistic that looks test.

Every method but the confidence sequence decides by the `Effect.z` of a look. Sources: the two-sample z-test with
pooled variance, Welch (1947) for volume, Fieller (1954) for intervals of the lift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rtexp.statistics.counts import exact, violation
from rtexp.statistics.levels import critical_value, signed_score, two_sided_p
from rtexp.statistics.undefined import Reason, Undefined

if TYPE_CHECKING:
    from rtexp.statistics.counts import Counts

# Of g, which says how far the control's mean is from 0: below the first the plain delta interval is good, from the
# second on no finite interval exists.
_DELTA_BELOW = 0.05
_UNBOUNDED_FROM = 1.0
_USERS_FOR_VARIANCE = 2


class Metric(StrEnum):
    """What is compared between groups."""

    PROPENSITY = "propensity"
    """The share of users who acted at least once."""
    VOLUME = "volume"
    """Actions per user. The total is never tested: it moves with the number of users."""


class LiftMethod(StrEnum):
    """How the interval of a lift was made."""

    DELTA = "delta"
    FIELLER = "fieller"


@dataclass(frozen=True, slots=True)
class Effect:
    """Treatment against control at one look. Swapping both changes signs only."""

    difference: float
    """Treatment's mean less control's: a share for propensity, actions per user for volume."""
    variance: float
    """Of the difference, from each group by itself (unpooled): for intervals and the confidence sequence."""
    p_value: float
    """Two-sided, of this look alone: not valid when people look more than once."""
    z: float
    """The normal score of ``p_value`` with the sign of the difference, for the bounds of sequential methods."""
    dof: float | None
    """Degrees of freedom of Welch's t; None for propensity, which is taken as normal."""
    mean_control: float
    mean_treatment: float
    variance_control: float
    """Of the control's mean; both add up to ``variance``."""
    variance_treatment: float
    variance_pooled: float | None = None
    """Propensity: of the difference if both groups were alike, by which the test decides. None for volume."""

    @property
    def std_error(self) -> float:
        """Of the difference, as intervals use it."""
        return math.sqrt(self.variance)


@dataclass(frozen=True, slots=True)
class Lift:
    """The difference as a share of the control's mean: 0.08 is 8 % more. For display; tests use the difference."""

    value: float
    std_error: float
    low: float | None
    high: float | None
    method: LiftMethod | None
    reason: Reason | None
    """Why there is no interval; None if there is one."""


def effect(metric: Metric, control: Counts, treatment: Counts) -> Effect | Undefined:
    """Compare a treatment's counts with its control's.

    Undefined, first reason that holds: `Reason.INCONSISTENT_COUNTS`, `Reason.EMPTY_GROUP`, `Reason.GROUP_TOO_SMALL`
    (volume of a single user has no variance), `Reason.ZERO_VARIANCE` (nothing varies, so nothing can be tested).
    """
    reason = violation(control) or violation(treatment)
    if reason is None and (control.n == 0 or treatment.n == 0):
        reason = Reason.EMPTY_GROUP
    if reason is not None:
        return Undefined(reason)
    compare = _propensity if metric is Metric.PROPENSITY else _volume
    return compare(exact(control), exact(treatment))


def _propensity(control: Counts, treatment: Counts) -> Effect | Undefined:
    users, actors = control.n + treatment.n, control.a + treatment.a
    if actors in (0, users):
        return Undefined(Reason.ZERO_VARIANCE)
    mean_control, mean_treatment = control.a / control.n, treatment.a / treatment.n
    difference = mean_treatment - mean_control
    # p (1 - p) (1/n_C + 1/n_T) in whole numbers up to the one division: also right for one actor in a billion.
    pooled = actors * (users - actors) / (users * control.n * treatment.n)
    p_value = two_sided_p(difference / math.sqrt(pooled))
    variance_control, variance_treatment = (c.a * (c.n - c.a) / c.n**3 for c in (control, treatment))
    return Effect(
        difference=difference,
        variance=variance_control + variance_treatment,
        p_value=p_value,
        z=signed_score(p_value, difference),
        dof=None,
        mean_control=mean_control,
        mean_treatment=mean_treatment,
        variance_control=variance_control,
        variance_treatment=variance_treatment,
        variance_pooled=pooled,
    )


def _volume(control: Counts, treatment: Counts) -> Effect | Undefined:
    if min(control.n, treatment.n) < _USERS_FOR_VARIANCE:
        return Undefined(Reason.GROUP_TOO_SMALL)
    variance_control, variance_treatment = variance_of_mean(control), variance_of_mean(treatment)
    variance = variance_control + variance_treatment
    if variance == 0:
        return Undefined(Reason.ZERO_VARIANCE)
    mean_control, mean_treatment = control.s1 / control.n, treatment.s1 / treatment.n
    difference = mean_treatment - mean_control
    # Welch and Satterthwaite's degrees of freedom, by the groups' shares of the variance: squares of tiny variances
    # would vanish.
    share_control, share_treatment = variance_control / variance, variance_treatment / variance
    dof = 1 / (share_control**2 / (control.n - 1) + share_treatment**2 / (treatment.n - 1))
    p_value = two_sided_p(difference / math.sqrt(variance), dof)
    return Effect(
        difference=difference,
        variance=variance,
        p_value=p_value,
        z=signed_score(p_value, difference),
        dof=dof,
        mean_control=mean_control,
        mean_treatment=mean_treatment,
        variance_control=variance_control,
        variance_treatment=variance_treatment,
    )


def variance_of_mean(counts: Counts) -> float:
    """Return the variance of actions per user over n, in (actions per user) squared; n >= 2."""
    n = counts.n
    # Subtracted in whole numbers: as floats both terms could agree in every digit.
    return (n * counts.s2 - counts.s1**2) / (n * n * (n - 1))


def interval(effect: Effect, critical_z: float) -> tuple[float, float]:
    """Return the interval of the difference that goes with a test at ``critical_z``, such as a look's bound.

    For volume the Student quantile takes its place. The test decides: it may differ from this by a hair, because
    propensity is tested with the pooled variance. ValueError if ``critical_z`` is negative or infinite.
    """
    half = critical_value(critical_z, effect.dof) * effect.std_error
    return effect.difference - half, effect.difference + half


def lift(effect: Effect, critical_z: float) -> Lift | Undefined:
    """Return the relative difference with its interval, `Reason.CONTROL_MEAN_ZERO` if the control's mean is 0.

    g is the squared relative half-width of the control's mean. The smaller it is, the nearer is the quotient of both
    means to normal: below 0.05 the delta method's interval is used, from there Fieller's, and from 1 on
    there is none (`Reason.CONTROL_MEAN_NEAR_ZERO`), as every quotient is possible.
    """
    if effect.mean_control == 0:
        return Undefined(Reason.CONTROL_MEAN_ZERO)
    control, treatment = effect.mean_control, effect.mean_treatment
    critical = critical_value(critical_z, effect.dof)
    quotient = treatment / control
    std_error = math.sqrt(effect.variance_treatment + effect.variance_control * quotient**2) / abs(control)
    value = effect.difference / control
    # Multiplied, as a power of a float raises an error where this is infinite: the bound of a test of two users may be.
    root_g = critical * math.sqrt(effect.variance_control) / control
    g = root_g * root_g
    if g >= _UNBOUNDED_FROM:
        return Lift(value, std_error, None, None, None, Reason.CONTROL_MEAN_NEAR_ZERO)
    if g < _DELTA_BELOW:
        half = critical * std_error
        return Lift(value, std_error, value - half, value + half, LiftMethod.DELTA, None)
    # Fieller: the quotients q for which treatment - q * control isn't significant, all divided by control squared.
    root = math.sqrt(std_error**2 - g * effect.variance_treatment / control**2)
    low, high = ((quotient + side * critical * root) / (1 - g) - 1 for side in (-1, 1))
    return Lift(value, std_error, low, high, LiftMethod.FIELLER, None)


def information(metric: Metric, control: Counts, treatment: Counts) -> float:
    """Return how much has been learnt by now, over both groups; only quotients between looks mean something.

    Two looks of a metric correlate by the root of their quotient, if each user acts once (propensity) or
    actions come independently (volume: S2). For propensity that is n times the odds of having acted, so users
    who haven't acted yet add little. 0.0 where nobody acted; where everybody did, as if one user had not.
    """
    if metric is Metric.VOLUME:
        return float(control.s2 + treatment.s2)
    users, actors = control.n + treatment.n, control.a + treatment.a
    return int(users) * int(actors) / max(int(users - actors), 1)
