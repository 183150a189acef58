"""Plans: how one period of an experiment is judged, written down before anyone has seen a number of it."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

import msgspec

VERSION = 1
MAX_DEFAULT_EVENTS = 20
"""With more tracked events than this nothing decides until someone declares what does."""

Metric = Literal["propensity", "volume"]
Method = Literal["alpha-spending", "bonferroni", "gamblers-ruin", "confidence-sequence"]
Spending = Literal["obf", "pocock"]
Harm = Literal["drop", "rise"]
Direction = Literal["up", "down"]

MAX_BONFERRONI_LOOKS = 288
MAX_LOOKS = 1_000
"""Of one period. With every look alpha spending takes longer, and what it can still show gets less."""

_HASH_BYTES = 8
_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000


class DecisionMetric(msgspec.Struct, frozen=True):
    """What a verdict is about; the error level holds for all of them together."""

    event: str
    metric: Metric


class Guardrail(msgspec.Struct, frozen=True):
    """A metric that must not get worse: tested to one side, towards ``harm``."""

    event: str
    metric: Metric
    harm: Harm


class Plan(msgspec.Struct, frozen=True):
    """All that the looks of one period depend on, but for the counts; nothing in it changes after the freeze."""

    version: int
    control: str
    treatments: list[str]
    """All groups but the control, in the experiment's order."""
    weights: dict[str, float]
    """By group its planned share of the users at the period's start; the shares add up to 1."""
    events: list[str]
    """Tracked at the freeze."""
    decision: list[DecisionMetric]
    guardrails: list[Guardrail]
    good: dict[str, Direction]
    """By event the direction that is welcome; it names a verdict and changes none."""
    period_hours: int
    bucket_minutes: int
    method: Method
    alpha: float
    spending: Spending
    look_every_hours: float
    bonferroni_looks: int
    settle_seconds: float
    expected_users: int
    minimum_lift: float
    power: float
    srm_alpha: float
    srm_prior: float
    min_users: int
    min_actors: int
    guardrail_alpha: float
    min_growth: float
    min_spend: float
    multiple_exposure_warning: float
    ruin_conversions: int | None
    """Gambler's ruin: how many actors of both groups end it; None for other methods."""
    ruin_lead: int | None
    """Gambler's ruin: by how many actors one group must lead to have won; None for other methods."""
    problem: str
    """Why this plan can decide nothing, a reason of looks; empty if it can."""


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Plan).decode


def canonical(plan: Plan) -> bytes:
    """Return the plan as JSON, keys sorted: equal plans give equal bytes, in every process and release."""
    return _encode(plan)


def decoded(plan: bytes) -> Plan:
    """Return the plan that `canonical` wrote; msgspec.DecodeError if it is none."""
    return _decode(plan)


def plan_hash(plan: Plan) -> str:
    """Return 16 hexadecimal digits that name the plan: BLAKE2b of `canonical`."""
    return blake2b(canonical(plan), digest_size=_HASH_BYTES).hexdigest()


def default_decision(method: Method, events: list[str]) -> list[DecisionMetric]:
    """Return what decides where nobody has declared it: all that the method can judge, if events are few.

    Gambler's ruin flips one coin a user, so it can't judge a volume.

    >>> default_decision("gamblers-ruin", ["click"])
    [DecisionMetric(event='click', metric='propensity')]
    """
    if len(events) > MAX_DEFAULT_EVENTS:
        return []
    metrics: tuple[Metric, ...] = ("propensity",) if method == "gamblers-ruin" else ("propensity", "volume")
    return [DecisionMetric(event, metric) for event in events for metric in metrics]


def look_offsets_ms(plan: Plan) -> list[int]:
    """Return when the looks are due, in ms since the period's start: increasing, the last at the period's end."""
    return look_schedule_ms(
        plan.method,
        period_hours=plan.period_hours,
        bucket_minutes=plan.bucket_minutes,
        look_every_hours=plan.look_every_hours,
        bonferroni_looks=plan.bonferroni_looks,
    )


def look_schedule_ms(
    method: Method, *, period_hours: int, bucket_minutes: int, look_every_hours: float, bonferroni_looks: int
) -> list[int]:
    """Return the schedule of a method, in ms since the period's start; see `look_offsets_ms`.

    Bonferroni's looks come every period / K, each put off to the end of a bucket counted from the start: a look
    counts whole buckets only, and two looks at the same buckets would spend error on one.

    >>> [at // 3_600_000 for at in look_schedule_ms(
    ...     "bonferroni", period_hours=72, bucket_minutes=60, look_every_hours=1, bonferroni_looks=5)]
    [15, 29, 44, 58, 72]
    """
    period_ms = period_hours * _HOUR_MS
    if method == "bonferroni":
        bucket_ms = bucket_minutes * _MINUTE_MS
        # In whole numbers: the quotient of two floats may end just above the bucket that it should be.
        return [
            -(-period_ms * k // (bonferroni_looks * bucket_ms)) * bucket_ms
            for k in range(1, bonferroni_looks + 1)
        ]
    every_ms = round(look_every_hours * _HOUR_MS)
    return [*range(every_ms, period_ms, every_ms), period_ms]


def schedule_fault(
    method: Method, *, period_hours: int, bucket_minutes: int, look_every_hours: float, bonferroni_looks: int
) -> tuple[str, str] | None:
    """Return the key that makes a schedule impossible and what was expected of it; None if there is no fault.

    >>> schedule_fault("alpha-spending", period_hours=72, bucket_minutes=15, look_every_hours=0.3, bonferroni_looks=12)
    ('look_every_hours', 'a multiple of a bucket of 15 minutes, such as 0.25')
    """
    bucket_ms, period_ms = bucket_minutes * _MINUTE_MS, period_hours * _HOUR_MS
    if method == "bonferroni":
        most = min(MAX_BONFERRONI_LOOKS, period_ms // bucket_ms)
        if bonferroni_looks <= most:
            return None
        return "bonferroni_looks", f"at most {most}, one a bucket and {MAX_BONFERRONI_LOOKS} in all"
    every_ms = round(look_every_hours * _HOUR_MS)
    if not every_ms or every_ms % bucket_ms:
        a_bucket = f"{bucket_minutes / 60:.6g}"
        return "look_every_hours", f"a multiple of a bucket of {bucket_minutes} minutes, such as {a_bucket}"
    if every_ms > period_ms:
        return "look_every_hours", f"at most a period of {period_hours} hours"
    if period_ms > MAX_LOOKS * every_ms:
        return "look_every_hours", f"at most {MAX_LOOKS} looks in a period of {period_hours} hours"
    return None
