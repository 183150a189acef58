"""One experiment in one line: where its newest period stands, and whether it needs a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from rtexp.store.looks import read_newest_looks
from rtexp.store.metadata import periods, read_experiments
from rtexp.store.ranges import read_exposures
from rtexp.store.verdicts import plans_of, verdict
from rtexp.web import figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from rtexp.statistics.plans import Plan
    from rtexp.store.definitions import Experiment
    from rtexp.store.looks import LookRow

Part = Literal["urgent", "decided", "measuring", "over"]
SIGNIFICANT = frozenset({"significant_gain", "significant_drop"})


class Summary(NamedTuple):
    """An experiment's newest period that anything is known of; else the next that is to begin."""

    experiment: Experiment
    period: tuple[int, int] | None
    """Start and end in ms; None before the first ramp."""
    row: LookRow | None
    """The newest look that says most; None before the first."""
    verdict: Literal["good", "bad"] | None
    alarms: tuple[str, ...]
    """Why it needs a person, in words."""
    users: Mapping[str, int]
    part: Part

    @property
    def hour(self) -> str:
        """How far the newest look is, in words."""
        if self.period is None:
            return "not ramped yet"
        start_ms, end_ms = self.period
        whole = figures.hours(end_ms - start_ms)
        if self.row is None:
            return f"of {whole} h" if not self.users else f"before the first look of {whole} h"
        return f"{figures.hours(self.row.scheduled_ms - start_ms)} of {whole} h"


def read_summaries(connection: Connection, *, period_ms: int) -> list[Summary]:
    """Return all experiments in order of creation, by a fixed number of queries."""
    rows = list(read_newest_looks(connection))
    plans = plans_of(connection, rows)
    users = read_exposures(connection)
    by_period: dict[tuple[str, int], list[LookRow]] = {}
    for row in rows:
        by_period.setdefault((row.experiment, row.period_start_ms), []).append(row)
    summaries = []
    for experiment in read_experiments(connection):
        spans = periods(experiment, period_ms)
        key = (experiment.name, _current(spans, experiment.name, users.keys() | by_period.keys()))
        period = next((span for span in spans if span[0] == key[1]), None)
        summaries.append(
            summarise(experiment, period, by_period.get(key, []), plans.get(key), users.get(key, {}))
        )
    return summaries


def summarise(
    experiment: Experiment,
    period: tuple[int, int] | None,
    rows: Sequence[LookRow],
    plan: Plan | None,
    users: Mapping[str, int],
) -> Summary:
    """Return where one period stands, from the newest look of each of its comparisons."""
    row = leading(rows, plan)
    alarms = tuple(_alarms(rows, plan))
    meant = None if row is None else verdict(row, plan)
    return Summary(experiment, period, row, meant, alarms, users, _part(row, alarms))


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


def _current(spans: Sequence[tuple[int, int]], name: str, known: set[tuple[str, int]]) -> int:
    """Return the start of the newest period of which anything is known, else of the first one; -1: of none."""
    starts = [start for start, _ in spans]
    return max((start for start in starts if (name, start) in known), default=min(starts, default=-1))


def _alarms(rows: Sequence[LookRow], plan: Plan | None) -> list[str]:
    alarms = []
    if any(row.state == "blocked_srm" for row in rows):
        alarms.append("the groups are not split as planned")
    for row in rows:
        if row.role == "decision" and verdict(row, plan) == "bad":
            alarms.append(f"{row.event} {row.metric} is harmed under {row.group_name}")
        elif row.role == "guardrail" and row.crossed and not row.withheld:
            alarms.append(f"guardrail {row.event} {row.metric} fired under {row.group_name}")
    return alarms


def _part(row: LookRow | None, alarms: Sequence[str]) -> Part:
    final = row is not None and row.final
    if alarms and not final:
        return "urgent"
    if final:
        return "over"
    return "decided" if row is not None and row.state in SIGNIFICANT else "measuring"
