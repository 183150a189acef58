"""What the API's answers hold. Fields that a newer server has more are passed over; docs/web.md says what each means.

Times are ms since 1970; None is what wasn't computed, never 0.
"""

# Annotations are read by msgspec at runtime, so they must not be postponed here.
from typing import Any

import msgspec


class Period(msgspec.Struct, frozen=True):
    """A period, and the users of each group in it."""

    start_ms: int
    end_ms: int
    users: dict[str, int]


class Experiment(msgspec.Struct, frozen=True):
    """An experiment in the list."""

    name: str
    control: str
    groups: list[str]
    periods: list[Period]


class Cell(msgspec.Struct, frozen=True):
    """Counts of a group, event and bucket: increments, or sums since the start of the period."""

    experiment: str
    period_start_ms: int
    group_name: str
    event: str
    bucket_start_ms: int
    volume: int
    actors: int
    sum_squares: int
    exposures: int
    multiple_exposures: int


class Uniques(msgspec.Struct, frozen=True):
    """About how many distinct users: within ``estimate`` ± 2 ``standard_error`` 19 of 20 times."""

    group_name: str
    event: str
    estimate: float
    standard_error: float
    buckets: int


class Verdict(msgspec.Struct, frozen=True):
    """What the newest look of a comparison says, and whether that is good or bad."""

    experiment: str
    period_start_ms: int
    group_name: str
    event: str
    metric: str
    role: str
    method: str
    look: int
    scheduled_ms: int
    state: str
    verdict: str | None
    crossed: bool
    withheld: bool
    final: bool
    reason: str | None
    effect: float | None
    interval_low: float | None
    interval_high: float | None
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    p_always_valid: float | None
    n_control: int
    n_treatment: int
    plan_hash: str | None


class Standing(msgspec.Struct, frozen=True):
    """Where an experiment stands: its leading comparison, and why it needs a person."""

    experiment: str
    part: str
    period_start_ms: int | None
    period_end_ms: int | None
    users: int
    alarms: str
    state: str | None
    verdict: str | None
    group_name: str | None
    event: str | None
    metric: str | None
    look: int | None
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    p_always_valid: float | None


class Look(msgspec.Struct, frozen=True):
    """A look, with all columns of the table ``looks``."""

    experiment: str
    period_start_ms: int
    group_name: str
    event: str
    metric: str
    role: str
    method: str
    look: int
    scheduled_ms: int
    evaluated_ms: int
    n_control: int
    n_treatment: int
    s1_control: int
    s1_treatment: int
    s2_control: int
    s2_treatment: int
    a_control: int
    a_treatment: int
    effect: float | None
    std_error: float | None
    interval_low: float | None
    interval_high: float | None
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    lift_method: str | None
    lift_reason: str | None
    p_value: float | None
    z: float | None
    information: float | None
    level: float | None
    alpha_spent: float | None
    boundary: float | None
    p_always_valid: float | None
    srm_log_e: float | None
    srm_p: float | None
    srm_first_log_e: float | None
    srm_first_p: float | None
    crossed: bool
    withheld: bool
    state: str
    final: bool
    reason: str | None
    note: str | None
    plan_hash: str | None
    version: str
    sequence: int


class Plan(msgspec.Struct, frozen=True):
    """How a period is judged, as it was frozen."""

    experiment: str
    period_start_ms: int
    plan_hash: str
    plan: dict[str, Any]


class Allocation(msgspec.Struct, frozen=True):
    """From ``at_ms`` on, a group's share in percent."""

    group: str
    percent: float
    at_ms: int


class JudgedPeriod(msgspec.Struct, frozen=True):
    """A period with its plan, None until it is frozen, and the newest look of each comparison."""

    start_ms: int
    end_ms: int
    plan_hash: str | None
    plan: dict[str, Any] | None
    looks: list[Look]


class ExperimentDetails(msgspec.Struct, frozen=True):
    """An experiment's definition, and its periods."""

    name: str
    control: str
    groups: list[str]
    allocations: list[Allocation]
    plan: dict[str, Any]
    periods: list[JudgedPeriod]
