"""What a plan tests, and by which rule it decides each of these comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from rtexp.statistics import confidence_sequence
from rtexp.statistics.effects import Metric
from rtexp.statistics.histories import ComparisonKey
from rtexp.statistics.methods import (
    P_CEILING,
    AlphaSpending,
    Bonferroni,
    ConfidenceSequence,
    GamblersRuin,
)
from rtexp.statistics.plans import look_offsets_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rtexp.statistics.looks import Role
    from rtexp.statistics.methods import Path, Rule
    from rtexp.statistics.plans import Plan


def comparisons_of(plan: Plan, treatment: str) -> Iterator[ComparisonKey]:
    """Yield what is tested of one treatment: every metric of every event, guardrails besides."""
    declared = {(metric.event, metric.metric) for metric in plan.decision}
    for event in plan.events:
        for metric in Metric:
            role: Role = "decision" if (event, metric.value) in declared else "exploratory"
            yield ComparisonKey(treatment, event, metric.value, role)
    for guardrail in plan.guardrails:
        if guardrail.event not in plan.events:
            continue  # nothing is counted of it
        yield ComparisonKey(treatment, guardrail.event, guardrail.metric, "guardrail")


def rule_of(plan: Plan, key: ComparisonKey, path: Path, *, with_p: bool) -> Rule:
    """Return what decides one comparison, with the path that it has gone so far.

    ``with_p`` says whether exploratory comparisons have an always-valid p.
    """
    if key.role == "guardrail":
        return AlphaSpending(
            path,
            spending="pocock",
            sides=1,
            min_growth=plan.min_growth,
            min_spend=plan.min_spend,
            with_p=True,
            ceiling=max(P_CEILING, plan.guardrail_alpha),
        )
    match plan.method:
        case "alpha-spending":
            return AlphaSpending(
                path,
                spending=plan.spending,
                sides=2,
                min_growth=plan.min_growth,
                min_spend=plan.min_spend,
                with_p=key.role == "decision" or with_p,
                ceiling=max(P_CEILING, plan.alpha),
            )
        case "bonferroni":
            return Bonferroni(path, looks=len(look_offsets_ms(plan)))
        case "confidence-sequence":
            return ConfidenceSequence(
                path, rho_squared=confidence_sequence.rho_squared(plan.alpha, plan.expected_users)
            )
        case "gamblers-ruin":
            return GamblersRuin(path, conversions=plan.ruin_conversions or 0, lead=plan.ruin_lead or 0)
        case method:
            assert_never(method)
