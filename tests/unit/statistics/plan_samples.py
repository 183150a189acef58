"""A plan for tests, as `rtexp` would freeze it from its defaults."""

from __future__ import annotations

from typing import Any

import msgspec

from rtexp.statistics.plans import DecisionMetric, Guardrail, Plan

PLAN = Plan(
    version=1,
    control="control",
    treatments=["treatment"],
    weights={"control": 0.5, "treatment": 0.5},
    events=["search", "click"],
    decision=[DecisionMetric("search", "propensity")],
    guardrails=[Guardrail("click", "volume", "drop")],
    good={"search": "up"},
    period_hours=72,
    bucket_minutes=15,
    method="alpha-spending",
    alpha=0.05,
    spending="obf",
    look_every_hours=1.0,
    bonferroni_looks=12,
    settle_seconds=60.0,
    expected_users=10_000,
    minimum_lift=0.2,
    power=0.8,
    srm_alpha=0.001,
    srm_prior=1000.0,
    min_users=100,
    min_actors=40,
    guardrail_alpha=0.025,
    min_growth=0.002,
    min_spend=1e-15,
    multiple_exposure_warning=0.01,
    ruin_conversions=None,
    ruin_lead=None,
    problem="",
)


def plan(**changes: Any) -> Plan:
    return msgspec.structs.replace(PLAN, **changes)
