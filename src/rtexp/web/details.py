"""What the page of one experiment shows: a period, its comparisons, and one of them through time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from rtexp.core.periods import ramps_of
from rtexp.statistics.plans import Plan, decoded, look_offsets_ms
from rtexp.store.ranges import LookRange, read_exposures, read_look_page
from rtexp.store.verdicts import verdict
from rtexp.web.charts import Chart, evidence
from rtexp.web.problems import Problem
from rtexp.web.summaries import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from rtexp.store.looks import LookRow
    from rtexp.store.views import PeriodView, View

ROLES = {
    "decision": "Decision metrics",
    "guardrail": "Guardrails",
    "exploratory": "Exploratory, no verdict",
}
_MOST_LOOKS = 1_001
"""Of one comparison: no plan has more."""


class Choice(NamedTuple):
    """What the address asks to see; None: what says most."""

    period_start_ms: int | None
    group: str | None
    event: str | None
    metric: str | None
    role: str | None


class Metric(NamedTuple):
    """A comparison's newest look, and whether what it found is good or bad."""

    row: LookRow
    verdict: str | None


class Details(NamedTuple):
    """Of one period; ``chosen`` and what follows of one comparison, if there is any yet."""

    period: PeriodView | None
    """None before the first ramp."""
    plan: Plan | None
    looks_planned: int | None
    summary: Summary
    metrics: Sequence[tuple[str, Sequence[Metric]]]
    """By role, in words."""
    chosen: LookRow | None
    looks: Sequence[LookRow]
    """In order of time."""
    crossing: LookRow | None
    chart: Chart | None
    ramps: frozenset[tuple[str, int]]
    users: Mapping[str, int]


def read_details(connection: Connection, view: View, choice: Choice) -> Details:
    """Return what the page shows; Problem if the address asks for what there isn't."""
    experiment = view.experiment
    users_of = read_exposures(connection, experiment=experiment.name)
    period = _period(view, choice.period_start_ms, users_of)
    rows = () if period is None else period.looks
    plan = None if period is None else _plan(period)
    users = {} if period is None else users_of.get((experiment.name, period.start_ms), {})
    span = None if period is None else (period.start_ms, period.end_ms)
    summary = summarise(experiment, span, rows, plan, users)
    chosen = _chosen(rows, choice, summary.row)
    looks: list[LookRow] = []
    if chosen is not None:
        wanted = LookRange(experiment.name, chosen.period_start_ms, *chosen[2:6])
        found = read_look_page(connection, wanted, after=(), limit=_MOST_LOOKS)
        looks = sorted((row for row in found if row.method == chosen.method), key=lambda row: row.look)
    return Details(
        period=period,
        plan=plan,
        looks_planned=None if plan is None else len(look_offsets_ms(plan)),
        summary=summary,
        metrics=[
            (title, [Metric(row, verdict(row, plan)) for row in rows if row.role == role])
            for role, title in ROLES.items()
        ],
        chosen=chosen,
        looks=looks,
        crossing=next((row for row in looks if row.crossed), None),
        chart=evidence(looks, period=span) if span else None,
        ramps=frozenset(ramps_of([(a.group, a.percent, a.at_ms) for a in experiment.allocations])),
        users=users,
    )


def _period(
    view: View, start_ms: int | None, users: Mapping[tuple[str, int], Mapping[str, int]]
) -> PeriodView | None:
    if start_ms is not None:
        found = next((period for period in view.periods if period.start_ms == start_ms), None)
        if found is None:
            raise Problem(404, "unknown-period", f"no period of this experiment begins at {start_ms} ms")
        return found
    name = view.experiment.name
    known = [period for period in view.periods if period.looks or (name, period.start_ms) in users]
    return known[-1] if known else next(iter(view.periods), None)


def _plan(period: PeriodView) -> Plan | None:
    if period.plan is None:
        return None
    try:
        return decoded(period.plan.plan.encode())
    except msgspec.DecodeError:
        return None  # that of a newer version; the page shows its hash


def _chosen(rows: Sequence[LookRow], choice: Choice, leading: LookRow | None) -> LookRow | None:
    """Return the comparison that the address names, as far as it does; without names the leading one."""
    if all(name is None for name in choice[1:]):
        return leading or next(iter(rows), None)
    for row in rows:
        wanted = zip(choice[1:], (row.group_name, row.event, row.metric, row.role), strict=True)
        if all(name in {None, found} for name, found in wanted):
            return row
    raise Problem(404, "unknown-comparison", "this period has no look at such a group, event and metric")
