"""What `rtexp experiments show` shows: one experiment with all that is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rtexp.commands.results import refuse_unknown
from rtexp.commands.text_table import iso_time, printable, text_table
from rtexp.core.buckets import HOUR_MS
from rtexp.core.periods import ramps_of
from rtexp.statistics.plans import Plan, decoded, look_offsets_ms
from rtexp.store.views import find_view

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from rtexp.settings import Settings
    from rtexp.store.plans import StoredPlan
    from rtexp.store.views import PeriodView, View


def read_view(connection: Connection, name: str, settings: Settings) -> View:
    """Return what SQL knows of an experiment; UsageError if there is none of this name."""
    found = find_view(connection, name, period_ms=settings.pipeline.period_hours * HOUR_MS)
    if found is None:
        refuse_unknown(connection, name)
        raise AssertionError("an experiment that is known is read")
    return found


def as_text(view: View, now_ms: int) -> str:
    """Return what people read."""
    found = view.experiment
    groups = ", ".join(printable(group) for group in found.groups if group != found.control)
    ramps = set(ramps_of([(a.group, a.percent, a.at_ms) for a in found.allocations]))
    history = [
        [
            iso_time(a.at_ms),
            printable(a.group),
            f"{a.percent:g} %",
            "ramp" if (a.group, a.at_ms) in ramps else "",
        ]
        for a in found.allocations
    ]
    parts = [
        f"{printable(found.name)}: {groups or 'nothing'} compared with {printable(found.control)}",
        f"own plan: {found.plan or 'none, so [statistics] holds'}",
        text_table(["at", "group", "allocated", ""], history) if history else "no allocations yet",
        *(_period(period, now_ms) for period in view.periods),
    ]
    return "\n\n".join(parts)


def _period(period: PeriodView, now_ms: int) -> str:
    when = "ended" if now_ms >= period.end_ms else "running" if now_ms >= period.start_ms else "to come"
    lines = [f"period {iso_time(period.start_ms)} to {iso_time(period.end_ms)}, {when}"]
    lines += _plan(period.plan) if period.plan else ["plan: not frozen yet"]
    if not period.looks:
        return "\n".join([*lines, _before_looks(period)])
    newest = max(period.looks, key=lambda row: row.look)
    lines.append(f"look {newest.look}, as of {iso_time(newest.scheduled_ms)}")
    return "\n".join([*lines, text_table(["group", "event", "metric", "role", "state", ""], _states(period))])


def _before_looks(period: PeriodView) -> str:
    try:
        plan = decoded(period.plan.plan.encode()) if period.plan else None
    except msgspec.DecodeError:
        plan = None
    offsets = look_offsets_ms(plan) if plan else []
    return "no looks yet" + (
        f": the first is as of {iso_time(period.start_ms + offsets[0])}" if offsets else ""
    )


def _states(period: PeriodView) -> Iterable[list[str]]:
    for row in period.looks:
        names = [printable(row.group_name), printable(row.event)]
        yield [*names, row.metric, row.role, row.state, row.reason or row.note or ""]


def _plan(stored: StoredPlan) -> list[str]:
    try:
        plan = decoded(stored.plan.encode())
    except msgspec.DecodeError:
        return [f"plan {stored.plan_hash}: of a version that this one can't read"]
    decision = ", ".join(f"{printable(m.event)} {m.metric}" for m in plan.decision)
    guardrails = ", ".join(f"{printable(g.event)} {g.metric} {g.harm}" for g in plan.guardrails)
    weights = ", ".join(f"{printable(group)} {100 * share:.4g} %" for group, share in plan.weights.items())
    return [
        f"plan {stored.plan_hash}: {_method(plan)}",
        f"decides: {decision or 'nothing'}; guardrails: {guardrails or 'none'}; planned shares: {weights}",
        *([f"this plan can decide nothing: {plan.problem}"] if plan.problem else []),
    ]


def _method(plan: Plan) -> str:
    looks = f"{plan.method}, alpha {plan.alpha:g}, {len(look_offsets_ms(plan))} looks"
    match plan.method:
        case "alpha-spending":
            return f"{looks}, {plan.spending} spending"
        case "gamblers-ruin":
            return f"{looks}, {plan.ruin_conversions} conversions, a lead of {plan.ruin_lead}"
        case "confidence-sequence":
            return f"{looks}, {plan.expected_users:,} users expected"
        case _:
            return looks
