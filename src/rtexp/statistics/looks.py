"""What goes into a look, and what comes out of it.

`FrozenSums` is what was counted by the look's time; `LookInput` is that part of it on which the look rests, with
the planned weights: the audit's immutable record. `LookRecord` is what one comparison got.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["decision", "guardrail", "exploratory"]


class FrozenSums(msgspec.Struct, array_like=True, frozen=True):
    """The counts of one period, as they stood when the watermark made ``at_ms`` due."""

    experiment: str
    period_start_ms: int
    at_ms: int
    """Epoch ms: buckets that end by then are counted; at the period's end all of them."""
    groups: list[str]
    """Of each series, as are the events; the event "" is that of the exposures."""
    events: list[str]
    totals: bytes
    """int64, shape (series, 5): volume, actors, sum of squares, exposures, multiple exposures."""
    exposure_buckets: list[int]
    """Of each (bucket, group) with exposures, as are the following; in order of bucket."""
    exposure_groups: list[str]
    exposures: list[int]
    multiple: list[int]


class EventSums(msgspec.Struct, array_like=True, frozen=True):
    """Of one group and event: volume, sum of squares over users, users who acted."""

    s1: int
    s2: int
    a: int


class GroupSums(msgspec.Struct, frozen=True):
    """Of one group: exposed users, those who had been exposed to another group before, and sums by event."""

    users: int
    multiple: int
    events: dict[str, EventSums]


class Stretch(msgspec.Struct, frozen=True):
    """Whole buckets from ``start_ms`` to ``end_ms`` in which the planned weights stood still."""

    start_ms: int
    end_ms: int
    weights: dict[str, float]
    """Shares by group, adding up to 1; groups without one are left out."""
    exposures: dict[str, int]
    """Of each group with a weight: users exposed in these buckets."""
    multiple: dict[str, int]
    """Of these, users who had been exposed to another group before."""


class LookInput(msgspec.Struct, frozen=True):
    """All that one look is computed from, apart from the plan and the looks before it."""

    look: int
    """Counts from 1."""
    scheduled_ms: int
    groups: dict[str, GroupSums]
    stretches: list[Stretch]


class LookRecord(msgspec.Struct, frozen=True):
    """What one look says of one comparison; fields are the columns of ``looks``, None is "not computed"."""

    experiment: str
    period_start_ms: int
    group_name: str
    event: str
    metric: str
    role: Role
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
    """Of this look alone."""
    z: float | None
    information: float | None
    level: float
    alpha_spent: float | None
    boundary: float | None
    p_always_valid: float | None
    srm_log_e: float | None
    """None, as is that of first triggers, if the exposures are inconsistent; the p are the running ones."""
    srm_p: float
    srm_first_log_e: float | None
    srm_first_p: float
    crossed: bool
    withheld: bool
    state: str
    final: bool
    reason: str | None
    note: str | None
    plan_hash: str
    version: str
