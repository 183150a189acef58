"""From what an experiment declares, what is configured and how it is allocated, to the plan of one period."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from rtexp.errors import StateError, UsageError
from rtexp.statistics import gamblers_ruin
from rtexp.statistics.plans import VERSION, Plan, default_decision
from rtexp.statistics.undefined import Reason
from rtexp.store import own_plans
from rtexp.store.metadata import Contradicts
from rtexp.store.own_plans import OwnPlan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.settings import Settings
    from rtexp.statistics.gamblers_ruin import RuinDesign
    from rtexp.store.definitions import Experiment


def resolved_plan(experiment: Experiment, period_start_ms: int, settings: Settings) -> Plan:
    """Return the plan of the period that begins at ``period_start_ms``, as ``settings`` and allocations are.

    It never fails: a plan that can decide nothing says so in its ``problem``. One that contradicts ``settings``,
    as when a metric is no longer tracked, is replaced by the defaults and is a `Reason.PLAN_MISSING`.
    """
    fault = contradiction(experiment, settings)
    own = OwnPlan() if fault else own_plans.decoded(experiment.name, experiment.plan)
    statistics = own_plans.merged(experiment.name, own, settings)
    events = list(settings.actions.tracked)
    declared = own.decision
    decision = default_decision(statistics.method, events) if declared is None else list(declared)
    treatments = [group for group in experiment.groups if group != experiment.control]
    weights = planned_weights(experiment, period_start_ms)
    problem = Reason.PLAN_MISSING if fault else _problem(experiment, treatments, weights, statistics.method)
    ruin: RuinDesign | None = None
    if statistics.method == "gamblers-ruin":
        # All pairs and metrics share the error, equally and from the start: N and the lead can't change later.
        tests = max(1, len(treatments)) * max(1, len(decision))
        ruin = _ruin(statistics.minimum_lift, statistics.alpha / tests, statistics.power)
    return Plan(
        version=VERSION,
        control=experiment.control,
        treatments=treatments,
        weights=weights,
        events=events,
        decision=decision,
        guardrails=list(own.guardrails),
        good=own.good,
        period_hours=settings.pipeline.period_hours,
        bucket_minutes=settings.pipeline.bucket_minutes,
        **statistics.model_dump(),
        ruin_conversions=ruin.conversions if ruin else None,
        ruin_lead=ruin.lead if ruin else None,
        problem=problem,
    )


def contradiction(experiment: Experiment, settings: Settings) -> str:
    """Return what in the experiment's own plan isn't possible under ``settings``; empty if all is."""
    try:
        own_plans.check(
            f"experiment `{experiment.name}`",
            own_plans.decoded(experiment.name, experiment.plan),
            settings,
        )
    except (StateError, UsageError) as error:
        return str(error)
    return ""


def refuse_unequal_allocation(
    experiment: Experiment, period_starts_ms: Iterable[int], settings: Settings
) -> None:
    """Raise Contradicts if gambler's ruin would judge one of these periods although its groups aren't alike."""
    own = own_plans.decoded(experiment.name, experiment.plan)
    if own_plans.merged(f"experiment `{experiment.name}`", own, settings).method != "gamblers-ruin":
        return
    for start_ms in period_starts_ms:
        weights = planned_weights(experiment, start_ms)
        if len(set(weights.values())) > 1:
            shares = ", ".join(f"`{group}` {100 * share:.4g} %" for group, share in weights.items())
            raise Contradicts(
                experiment.name,
                "method",
                f"gamblers-ruin needs groups of the same size, but the allocations at {start_ms} ms, when a period "
                f"begins, give {shares} of its users: allocate all groups alike at that time, or choose another method",
            )


def planned_weights(experiment: Experiment, at_ms: int) -> dict[str, float]:
    """Return by group its share of all that is allocated at a time; all 0 where nothing is."""
    percents = dict.fromkeys(experiment.groups, 0.0)
    for allocation in experiment.allocations:  # in order of time
        if allocation.at_ms <= at_ms:
            percents[allocation.group] = allocation.percent
    total = sum(percents.values())
    return {group: percent / total if total else 0.0 for group, percent in percents.items()}


def _problem(experiment: Experiment, treatments: list[str], weights: dict[str, float], method: str) -> str:
    if experiment.control not in experiment.groups:
        return Reason.NO_CONTROL
    if not treatments:
        return Reason.NO_TREATMENT
    if method == "gamblers-ruin" and len(set(weights.values())) > 1:
        return Reason.UNEQUAL_ALLOCATION
    return ""


@cache
def _ruin(lift: float, alpha: float, power: float) -> RuinDesign:
    return gamblers_ruin.design(lift, alpha, power, sides=2)
