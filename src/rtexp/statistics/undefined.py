"""What has no value, and why: a statistic is a number or an `Undefined` with its reason, never NaN and never 0."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why there is no number. The text is stored with looks, shown to people, and never changes its meaning."""

    INCONSISTENT_COUNTS = "inconsistent_counts"
    """Counts that no set of users has, such as more actors than actions: a defect upstream."""
    SRM_ALARM = "srm_alarm"
    """Users are split otherwise than planned, so the groups aren't comparable."""

    PLAN_MISSING = "plan_missing"
    """The method needs something that wasn't frozen at the ramp: gambler's ruin N and d*, n*, or K."""
    PLAN_EXHAUSTED = "plan_exhausted"
    """The plan's last test, or its last conversion, is used up."""
    UNEQUAL_ALLOCATION = "unequal_allocation"
    """Gambler's ruin needs a split of 1:1."""
    NO_CONTROL = "no_control"
    """The experiment's control is none of its groups."""
    NO_TREATMENT = "no_treatment"
    """The experiment has a control only: nothing to compare with it."""

    EMPTY_GROUP = "empty_group"
    """Nobody was exposed in one of both groups."""
    GROUP_TOO_SMALL = "group_too_small"
    """Below two users there is no variance."""
    TOO_FEW_USERS = "too_few_users"
    """Below the plan's gate of users."""
    TOO_FEW_ACTORS = "too_few_actors"
    """Below the plan's gate of users who acted."""
    ZERO_VARIANCE = "zero_variance"
    """All users of both groups did the same."""

    LOOK_NOT_SCHEDULED = "look_not_scheduled"
    """Asked between looks: figures are shown, nothing is tested."""
    NO_INFORMATION_GROWTH = "no_information_growth"
    """Deferred: since the last evaluated look hardly anything has been learnt."""
    NOTHING_TO_SPEND = "nothing_to_spend"
    """Deferred: what the spending function gives by now is too small to compute with."""

    CONTROL_MEAN_ZERO = "control_mean_zero"
    """Lift only: the control's mean is 0, and nothing is a share of it."""
    CONTROL_MEAN_NEAR_ZERO = "control_mean_near_zero"
    """Interval of the lift only: the control's mean can't be told from 0, so the interval has no end."""
    NOT_POISSON = "not_poisson"
    """Bayesian rates only: actions vary more, or less, than the Poisson model says."""


@dataclass(frozen=True, slots=True)
class Undefined:
    """A statistic that has no value."""

    reason: Reason
