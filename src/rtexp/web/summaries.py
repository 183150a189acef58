"""One experiment in one line: where its newest period stands, and whether it needs a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from rtexp.statistics.plans import look_offsets_ms
from rtexp.store.looks import read_newest_looks
from rtexp.store.metadata import periods, read_experiments
from rtexp.store.newest import Comparison, read_newest_of, read_steps, read_users_of
from rtexp.store.plans import planned_periods
from rtexp.store.verdicts import plans_at, verdict
from rtexp.web import figures, marks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from rtexp.statistics.plans import Plan
    from rtexp.store.definitions import Experiment
    from rtexp.store.looks import LookRow
    from rtexp.store.newest import Step

Part = Literal["urgent", "decided", "measuring", "over"]
SIGNIFICANT = frozenset({"significant_gain", "significant_drop"})
_ORDER: dict[Part, int] = {"urgent": 0, "decided": 1, "measuring": 2, "over": 3}
Key = tuple[str, int]
"""Experiment, and start of the period in ms."""


class Summary(NamedTuple):
    """An experiment's newest period that anything is known of; else the next that is to begin."""

    experiment: Experiment
    period: tuple[int, int] | None
    """Start and end in ms; None before the first ramp."""
    plan: Plan | None
    row: LookRow | None
    """The newest look that says most; None before the first."""
    verdict: Literal["good", "bad"] | None
    alarms: tuple[str, ...]
    """Why it needs a person, in words."""
    alarm_rows: tuple[LookRow, ...]
    """The guardrails that fired."""
    users: Mapping[str, int]
    part: Part
    steps: Sequence[Step] = ()
    """All looks of the comparison in ``row``."""
    alarm_steps: Sequence[Step] = ()
    """The look at which each of ``alarm_rows`` crossed first."""

    @property
    def crossing(self) -> Step | None:
        """The first look that crossed."""
        return next((step for step in self.steps if step.crossed), None)

    @property
    def changed_ms(self) -> int:
        """When its state changed last; without looks, when the period began."""
        return max(
            (
                new.evaluated_ms
                for old, new in zip(self.steps, self.steps[1:], strict=False)
                if old.state != new.state
            ),
            default=self.period[0] if self.period else 0,
        )

    @property
    def spark(self) -> marks.Spark | None:
        """Evidence of its looks in units of their boundary."""
        if self.period is None:
            return None
        start_ms, end_ms = self.period
        return marks.spark(
            ((step.scheduled_ms - start_ms) / (end_ms - start_ms), step.z / step.boundary, step.crossed)
            for step in self.steps
            if step.z is not None and step.boundary
        )

    @property
    def looks_planned(self) -> int | None:
        """How many looks the plan has; None without a plan."""
        return None if self.plan is None else len(look_offsets_ms(self.plan))

    def elapsed(self, now_ms: int) -> float:
        """Return which share of the period is over at a time, 0 to 1."""
        if self.period is None:
            return 0.0
        start_ms, end_ms = self.period
        return min(max((now_ms - start_ms) / (end_ms - start_ms), 0.0), 1.0)

    def hour(self, now_ms: int) -> str:
        """Return how far the period is, in words."""
        if self.period is None:
            return "not ramped yet"
        start_ms, end_ms = self.period
        whole = figures.hours(end_ms - start_ms)
        if now_ms < start_ms:
            return f"from {figures.time(start_ms)}"
        if now_ms >= end_ms:
            return f"{whole} h, over"
        return f"{(now_ms - start_ms) / 3_600_000:.1f} of {whole} h"


def read_summaries(connection: Connection, *, period_ms: int, now_ms: int) -> list[Summary]:
    """Return all experiments in order of creation, each in its newest period that has begun by ``now_ms``.

    Of their looks those alone are read that decide or guard, by the index: exploratory ones are most of the table.
    """
    experiments = read_experiments(connection)
    spans = {each.name: periods(each, period_ms) for each in experiments}
    # With clock = "records" plans of all periods are frozen at once.
    begun = {
        name: [start for start in starts if start <= now_ms]
        for name, starts in planned_periods(connection).items()
    }
    current = {name: _newest(found, begun.get(name, ())) for name, found in spans.items()}
    plans = plans_at(connection, [(name, span[0]) for name, span in current.items() if span])
    rows = _rows(connection, plans)
    summaries = []
    for each in experiments:
        span = current[each.name]
        key = (each.name, span[0]) if span else None
        if key is None or key not in plans:
            found, span = _unplanned(connection, each, spans[each.name])
            summaries.append(summarise(each, span, found, None, _users_at(each.control, found)))
        else:
            found = rows.get(key, [])
            summaries.append(summarise(each, span, found, plans[key], _users_at(each.control, found)))
    return _with_users(connection, _with_steps(connection, summaries))


def by_urgency(summaries: Iterable[Summary]) -> list[Summary]:
    """Return them by part, and within a part those first that changed last."""
    return sorted(summaries, key=lambda summary: (_ORDER[summary.part], -summary.changed_ms))


def summarise(
    experiment: Experiment,
    period: tuple[int, int] | None,
    rows: Sequence[LookRow],
    plan: Plan | None,
    users: Mapping[str, int],
) -> Summary:
    """Return where one period stands, from the newest look of each of its comparisons."""
    row = leading(rows, plan)
    fired = tuple(row for row in rows if row.role == "guardrail" and row.crossed and not row.withheld)
    alarms = tuple(_alarms(rows, fired, plan))
    meant = None if row is None else verdict(row, plan)
    return Summary(experiment, period, plan, row, meant, alarms, fired, users, _part(row, alarms))


def leading(rows: Sequence[LookRow], plan: Plan | None) -> LookRow | None:
    """Return the look that says most: blocked, then harm, then any verdict, then the plan's first metric."""
    deciding = [row for row in rows if row.role == "decision"]
    order: dict[tuple[str, str], int] = {}
    if plan is not None:
        order = {(m.event, m.metric): i for i, m in enumerate(plan.decision)}

    def urgency(row: LookRow) -> tuple[bool, bool, bool, int]:
        return (
            row.state != "blocked_srm",
            verdict(row, plan) != "bad",
            row.state not in SIGNIFICANT,
            order.get((row.event, row.metric), len(order)),
        )

    return min(deciding, key=urgency, default=None)


def comparison_of(row: LookRow) -> Comparison:
    """Return what a look is of."""
    return Comparison(*row[:7])


def _newest(spans: Sequence[tuple[int, int]], known: Iterable[int]) -> tuple[int, int] | None:
    """Return the newest period that begins at one of the known times, else the first one; None if there is none."""
    starts = set(known)
    return max((span for span in spans if span[0] in starts), default=min(spans, default=None))


def _rows(connection: Connection, plans: Mapping[Key, Plan]) -> dict[Key, list[LookRow]]:
    rows: dict[Key, list[LookRow]] = {}
    wanted = [comparison for key, plan in plans.items() for comparison in _comparisons(*key, plan)]
    for row in sorted(read_newest_of(connection, wanted), key=lambda row: row[:7]):
        rows.setdefault((row.experiment, row.period_start_ms), []).append(row)
    return rows


def _unplanned(
    connection: Connection, experiment: Experiment, spans: Sequence[tuple[int, int]]
) -> tuple[list[LookRow], tuple[int, int] | None]:
    """Return newest looks and period of what has no plan that can be read: which comparisons it has isn't known."""
    rows = list(read_newest_looks(connection, experiment=experiment.name))
    known = {row.period_start_ms for row in rows}
    if not known:
        every = [(experiment.name, start, group) for start, _ in spans for group in experiment.groups]
        known = {start for _, start in read_users_of(connection, every)}
    return rows, _newest(spans, known)


def _with_steps(connection: Connection, summaries: Sequence[Summary]) -> list[Summary]:
    rows = [row for s in summaries for row in (s.row, *s.alarm_rows) if row is not None]
    steps = read_steps(connection, dict.fromkeys(comparison_of(row) for row in rows))
    return [
        s._replace(
            steps=steps.get(comparison_of(s.row), ()) if s.row else (),
            alarm_steps=[
                next(step for step in steps[comparison_of(row)] if step.crossed) for row in s.alarm_rows
            ],
        )
        for s in summaries
    ]


def _with_users(connection: Connection, summaries: Sequence[Summary]) -> list[Summary]:
    """Count the users of periods that no look has counted; they are young, so there is little to add up."""
    wanted = [
        (s.experiment.name, s.period[0], group)
        for s in summaries
        if s.period and not s.users
        for group in s.experiment.groups
    ]
    users = read_users_of(connection, wanted)
    return [
        s if s.users or not s.period else s._replace(users=users.get((s.experiment.name, s.period[0]), {}))
        for s in summaries
    ]


def _comparisons(name: str, start_ms: int, plan: Plan) -> Iterable[Comparison]:
    """Return what of a plan a line speaks of; where nothing decides, one that is only explored, for its users."""
    metrics = [(m.event, m.metric, "decision") for m in plan.decision]
    metrics += [(m.event, m.metric, "guardrail") for m in plan.guardrails]
    if not plan.decision and plan.events:
        metrics.append((plan.events[0], "propensity", "exploratory"))
    keys = [Comparison(name, start_ms, group, *m, plan.method) for group in plan.treatments for m in metrics]
    return dict.fromkeys(keys)


def _users_at(control: str, rows: Iterable[LookRow]) -> dict[str, int]:
    """Return the users of each group at the newest looks."""
    users: dict[str, int] = {}
    for row in rows:
        for group, counted in ((control, row.n_control), (row.group_name, row.n_treatment)):
            users[group] = max(users.get(group, 0), counted)
    return users


def _alarms(rows: Sequence[LookRow], fired: Sequence[LookRow], plan: Plan | None) -> Iterable[str]:
    if any(row.state == "blocked_srm" for row in rows):
        yield "the groups are not split as planned"
    for row in rows:
        if row.role == "decision" and verdict(row, plan) == "bad":
            yield f"{row.event} {row.metric} is harmed under {row.group_name}"
    for row in fired:
        yield f"guardrail {row.event} {row.metric} fired under {row.group_name}"


def _part(row: LookRow | None, alarms: Sequence[str]) -> Part:
    final = row is not None and row.final
    if alarms and not final:
        return "urgent"
    if final:
        return "over"
    return "decided" if row is not None and row.state in SIGNIFICANT else "measuring"
