"""What the page of one experiment shows: a period, its comparisons, and one of them through time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from rtexp.statistics.plans import Plan, decoded, look_offsets_ms
from rtexp.store.newest import read_users_of
from rtexp.store.ranges import CellRange, LookRange, read_counts, read_look_page
from rtexp.store.verdicts import verdict
from rtexp.web.activity import Entry, activity, ramps_in
from rtexp.web.beliefs import Opinion, opinions
from rtexp.web.charts import Chart, evidence
from rtexp.web.problems import Problem
from rtexp.web.splits import Split, split_of
from rtexp.web.summaries import Summary, summarise
from rtexp.web.timelines import Timeline, timeline
from rtexp.web.trust import Check, checks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from rtexp.settings import Settings
    from rtexp.store.looks import LookRow
    from rtexp.store.views import PeriodView, View
    from rtexp.web.clocks import PageClock

ROLES = ("decision", "guardrail", "exploratory")
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
    """By role; what decides stands in the plan's order."""
    chosen: LookRow | None
    looks: Sequence[LookRow]
    """In order of time."""
    crossing: LookRow | None
    chart: Chart | None
    split: Split
    checks: Sequence[Check]
    activity: Sequence[Entry]
    timeline: Timeline | None
    opinions: Sequence[Opinion]


def read_details(
    connection: Connection, view: View, choice: Choice, settings: Settings, *, clock: PageClock, now_ms: int
) -> Details:
    """Return what the page shows; Problem if the address asks for what there isn't.

    ``now_ms`` is the wall clock, which counters of refused input go by.
    """
    experiment = view.experiment
    period = _period(connection, view, choice.period_start_ms, clock)
    rows = () if period is None else period.looks
    plan = None if period is None else _plan(period)
    span = None if period is None else (period.start_ms, period.end_ms)
    cells = (
        [] if span is None else list(read_counts(connection, CellRange(experiment.name, span[0], event="")))
    )
    # Allocations may be known before they hold.
    until_ms = min(span[1], clock.now_ms + 1) if span else clock.now_ms
    split = split_of(experiment, plan, cells, end_ms=until_ms)
    users = {share.group: share.users for share in split.shares} if split.users else {}
    summary = summarise(experiment, span, rows, plan, users)
    chosen = _chosen(rows, choice, summary.row)
    looks = [] if chosen is None else _looks(connection, chosen)
    crossing = next((row for row in looks if row.crossed), None)
    ramps = [] if span is None else ramps_in(experiment, start_ms=span[0], end_ms=span[1])
    tone = (verdict(chosen, plan) if chosen is not None else None) or ""
    return Details(
        period=period,
        plan=plan,
        looks_planned=None if plan is None else len(look_offsets_ms(plan)),
        summary=summary,
        metrics=[(role, _of_role(rows, role, plan)) for role in ROLES],
        chosen=chosen,
        looks=looks,
        crossing=crossing,
        chart=evidence(looks, period=span, ramps=[ramp.at_ms for ramp in ramps]) if span else None,
        split=split,
        checks=checks(connection, settings, split, looks, plan, now_ms=now_ms),
        activity=activity(looks, ramps, clock, tone=tone, start_ms=span[0]) if span else [],
        timeline=timeline(span, ramps, crossing, tone=tone, now_ms=clock.now_ms) if span else None,
        opinions=opinions(rows),
    )


def _looks(connection: Connection, chosen: LookRow) -> list[LookRow]:
    wanted = LookRange(chosen.experiment, chosen.period_start_ms, *chosen[2:6])
    found = read_look_page(connection, wanted, after=(), limit=_MOST_LOOKS)
    return sorted((row for row in found if row.method == chosen.method), key=lambda row: row.look)


def _of_role(rows: Sequence[LookRow], role: str, plan: Plan | None) -> list[Metric]:
    order: dict[tuple[str, str], int] = {}
    if plan is not None and role == "decision":
        order = {(m.event, m.metric): i for i, m in enumerate(plan.decision)}
    found = [row for row in rows if row.role == role]
    found.sort(key=lambda row: (order.get((row.event, row.metric), len(order)), row.event, row.metric))
    return [Metric(row, verdict(row, plan)) for row in found]


def _period(connection: Connection, view: View, start_ms: int | None, clock: PageClock) -> PeriodView | None:
    """Return the chosen period; else the newest that has begun and of which a plan, looks or users are known."""
    if start_ms is not None:
        found = next((period for period in view.periods if period.start_ms == start_ms), None)
        if found is None:
            raise Problem(404, "unknown-period", f"no period of this experiment begins at {start_ms} ms")
        return found
    known = [p for p in view.periods if p.looks or (p.plan and p.start_ms <= clock.now_ms)]
    if not known:
        name, groups = view.experiment.name, view.experiment.groups
        users = read_users_of(
            connection, [(name, p.start_ms, group) for p in view.periods for group in groups]
        )
        known = [period for period in view.periods if (name, period.start_ms) in users]
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
