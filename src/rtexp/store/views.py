"""One experiment with all that SQL knows of it: definition, periods, plans, newest looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from rtexp.store.looks import LookRow, read_newest_looks
from rtexp.store.metadata import periods, read_experiments
from rtexp.store.plans import StoredPlan, read_plans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from rtexp.store.definitions import Experiment


class PeriodView(NamedTuple):
    """One period, and where it stands."""

    start_ms: int
    end_ms: int
    plan: StoredPlan | None
    """None: not frozen, as it hasn't begun or no worker has seen it."""
    looks: Sequence[LookRow]
    """The newest of each comparison."""


class View(NamedTuple):
    """An experiment, its allocations, and its periods in order of time."""

    experiment: Experiment
    periods: Sequence[PeriodView]


def find_view(connection: Connection, name: str, *, period_ms: int) -> View | None:
    """Return what SQL knows of an experiment, None if there is none of this name."""
    found = next((e for e in read_experiments(connection) if e.name == name), None)
    if found is None:
        return None
    looks: dict[int, list[LookRow]] = {}
    for row in read_newest_looks(connection, experiment=name, every_period=True):
        looks.setdefault(row.period_start_ms, []).append(row)
    plans = {plan.period_start_ms: plan for plan in read_plans(connection, experiment=name)}
    return View(
        found,
        [
            PeriodView(start, end, plans.get(start), looks.get(start, []))
            for start, end in periods(found, period_ms)
        ],
    )


def as_object(view: View) -> dict[str, Any]:
    """Return what JSON shows: the definition as YAML has it, and the periods with plan and newest looks."""
    found = view.experiment
    return {
        "name": found.name,
        "control": found.control,
        "groups": list(found.groups),
        "allocations": [
            {"group": a.group, "percent": a.percent, "at_ms": a.at_ms} for a in found.allocations
        ],
        "plan": msgspec.json.decode(found.plan) if found.plan else {},
        "periods": [
            {
                "start_ms": period.start_ms,
                "end_ms": period.end_ms,
                "plan_hash": period.plan.plan_hash if period.plan else None,
                "plan": msgspec.json.decode(period.plan.plan) if period.plan else None,
                "looks": [row._asdict() for row in period.looks],
            }
            for period in view.periods
        ],
    }
