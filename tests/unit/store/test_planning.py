"""From a definition, the settings and the allocations to the plan of one period."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rtexp.errors import UsageError
from rtexp.records.snapshot import Allocation
from rtexp.settings import ActionSettings, PipelineSettings, Settings, StatisticsSettings
from rtexp.statistics.plans import DecisionMetric, Guardrail, canonical, decoded
from rtexp.store.definitions import Experiment
from rtexp.store.own_plans import OwnPlan, encoded
from rtexp.store.planning import planned_weights, refuse_unequal_allocation, resolved_plan

START = 1_700_000_000_000
LATER = START + 100
SETTINGS = Settings(actions=ActionSettings(tracked=("search", "click")))
FEED = Experiment(
    "feed",
    "control",
    ("bold", "control", "calm"),
    (
        Allocation("control", 10, START),
        Allocation("bold", 10, START),
        Allocation("calm", 10, START),
        Allocation("bold", 20, LATER),
    ),
)
RUIN = OwnPlan(statistics={"method": "gamblers-ruin"})


def with_plan(plan: OwnPlan) -> Experiment:
    return replace(FEED, plan=encoded(plan))


def test_what_nobody_declares_comes_from_the_settings() -> None:
    settings = Settings(
        actions=SETTINGS.actions,
        statistics=StatisticsSettings(alpha=0.01, look_every_hours=2),
        pipeline=PipelineSettings(period_hours=24),
    )
    plan = resolved_plan(FEED, START, settings)
    assert (plan.version, plan.control, plan.treatments) == (1, "control", ["bold", "calm"])
    assert (plan.events, plan.guardrails, plan.good) == (["search", "click"], [], {})
    assert (plan.alpha, plan.look_every_hours, plan.period_hours, plan.bucket_minutes) == (0.01, 2.0, 24, 15)
    assert [(m.event, m.metric) for m in plan.decision] == [
        ("search", "propensity"),
        ("search", "volume"),
        ("click", "propensity"),
        ("click", "volume"),
    ]
    assert (plan.ruin_conversions, plan.ruin_lead, plan.problem) == (None, None, "")


def test_what_the_experiment_declares_goes_before_the_settings() -> None:
    own = OwnPlan(
        (DecisionMetric("click", "volume"),),
        (Guardrail("search", "volume", "drop"),),
        {"click": "up"},
        {"alpha": 0.02, "method": "bonferroni"},
    )
    plan = resolved_plan(with_plan(own), START, SETTINGS)
    assert (plan.alpha, plan.method) == (0.02, "bonferroni")
    assert (plan.decision, plan.guardrails, plan.good) == (
        [DecisionMetric("click", "volume")],
        [Guardrail("search", "volume", "drop")],
        {"click": "up"},
    )


def test_a_plan_survives_its_own_bytes() -> None:
    plan = resolved_plan(with_plan(RUIN), LATER, SETTINGS)
    assert decoded(canonical(plan)) == plan


def test_weights_are_the_allocations_at_a_time_over_their_sum() -> None:
    assert planned_weights(FEED, START) == {"bold": 1 / 3, "control": 1 / 3, "calm": 1 / 3}
    assert planned_weights(FEED, LATER - 1) == planned_weights(FEED, START)
    assert planned_weights(FEED, LATER) == {"bold": 0.5, "control": 0.25, "calm": 0.25}


def test_a_group_without_allocation_has_no_weight_and_before_any_none_has() -> None:
    late = replace(FEED, groups=(*FEED.groups, "late"))
    assert planned_weights(late, START)["late"] == 0
    assert set(planned_weights(late, START - 1).values()) == {0.0}


def test_gamblers_ruin_is_designed_at_the_share_of_error_that_each_test_gets() -> None:
    # One treatment and one metric: the published 1,003 conversions and a lead of 71.
    pair = Experiment("feed", "c", ("c", "t"), (Allocation("c", 5, START), Allocation("t", 5, START)))
    one = replace(
        pair, plan=encoded(OwnPlan((DecisionMetric("click", "propensity"),), statistics=RUIN.statistics))
    )
    plan = resolved_plan(one, START, SETTINGS)
    assert (plan.ruin_conversions, plan.ruin_lead, plan.problem) == (1003, 71, "")
    # Two treatments and two metrics: a quarter of alpha each, so more conversions and a longer lead.
    both = resolved_plan(with_plan(RUIN), START, SETTINGS)
    assert [m.metric for m in both.decision] == ["propensity", "propensity"]
    assert both.ruin_conversions is not None
    assert both.ruin_lead is not None
    assert both.ruin_conversions > 1003
    assert both.ruin_lead > 71
    assert both.problem == ""


def test_gamblers_ruin_without_any_decision_still_has_a_design() -> None:
    nothing = OwnPlan((), statistics=RUIN.statistics)
    plan = resolved_plan(with_plan(nothing), START, SETTINGS)
    assert plan.decision == []
    assert plan.ruin_conversions


@pytest.mark.parametrize(
    ("experiment", "start_ms", "problem"),
    [
        pytest.param(replace(FEED, control="gone"), START, "no_control", id="control is no group"),
        pytest.param(replace(FEED, groups=("control",)), START, "no_treatment", id="one group"),
        pytest.param(with_plan(RUIN), LATER, "unequal_allocation", id="gambler's ruin on unequal groups"),
        pytest.param(with_plan(RUIN), START, "", id="gambler's ruin on equal groups"),
        pytest.param(FEED, LATER, "", id="other methods don't need equal groups"),
        pytest.param(replace(FEED, plan="{"), START, "plan_missing", id="unreadable"),
        pytest.param(
            with_plan(OwnPlan((DecisionMetric("gone", "volume"),))),
            START,
            "plan_missing",
            id="not tracked here",
        ),
        pytest.param(
            with_plan(OwnPlan(statistics={"look_every_hours": 0.1})),
            START,
            "plan_missing",
            id="other buckets here",
        ),
    ],
)
def test_a_plan_that_can_decide_nothing_says_why(experiment: Experiment, start_ms: int, problem: str) -> None:
    groups = set(experiment.groups)
    known = tuple(a for a in experiment.allocations if a.group in groups)
    plan = resolved_plan(replace(experiment, allocations=known), start_ms, SETTINGS)
    assert plan.problem == problem
    assert decoded(canonical(plan)) == plan


def test_unequal_groups_are_refused_for_gamblers_ruin_alone() -> None:
    refuse_unequal_allocation(with_plan(RUIN), [START], SETTINGS)
    refuse_unequal_allocation(FEED, [LATER], SETTINGS)
    with pytest.raises(UsageError) as caught:
        refuse_unequal_allocation(with_plan(RUIN), [START, LATER], SETTINGS)
    assert str(caught.value).startswith(
        "experiment `feed`: gamblers-ruin needs groups of the same size, but the allocations at 1700000000100 ms, "
        "when a period begins, give `bold` 50 %, `control` 25 %, `calm` 25 % of its users: allocate all"
    )
