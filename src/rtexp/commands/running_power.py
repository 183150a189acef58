"""What a running experiment can still show: from its newest looks, and the plan by which it is judged."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from rtexp.commands.results import refuse_unknown
from rtexp.errors import UsageError
from rtexp.statistics.plans import decoded, look_offsets_ms
from rtexp.statistics.power import Aim, Baseline, least_lift
from rtexp.store.engine import opened, reading
from rtexp.store.looks import read_newest_looks
from rtexp.store.migrate import check_revision
from rtexp.store.plans import stored_plans

if TYPE_CHECKING:
    from rtexp.settings import StoreSettings
    from rtexp.statistics.plans import Plan
    from rtexp.statistics.power import PowerMethod
    from rtexp.store.looks import LookRow


class _Seen(NamedTuple):
    """The plan of an experiment's newest period, and its newest look at what decides."""

    plan: Plan
    rows: list[LookRow]


def running_rows(store: StoreSettings, experiment: str, power: float) -> list[dict[str, Any]]:
    """Return, for each decision metric of each treatment, the least lift that the period's end can show.

    Users are taken to go on coming as they have, and the control to go on acting as it has. UsageError for an unknown
    experiment, and for one without looks at metrics that decide.
    """
    seen = _read(store, experiment)
    return [_row(seen.plan, row, power) for row in seen.rows]


def _read(store: StoreSettings, experiment: str) -> _Seen:
    with opened(store) as engine:
        check_revision(engine)
        with reading(engine) as connection:
            refuse_unknown(connection, experiment)
            rows = [
                row for row in read_newest_looks(connection, experiment=experiment) if row.role == "decision"
            ]
            if not rows:
                raise UsageError(
                    f"`{experiment}` has no look at a metric that decides yet: give --rate or --mean, and --per-hour"
                )
            key = (experiment, rows[0].period_start_ms)
            [stored] = stored_plans(connection, [key])
    return _Seen(decoded(stored.plan.encode()), rows)


def _row(plan: Plan, row: LookRow, power: float) -> dict[str, Any]:
    offsets = look_offsets_ms(plan)
    passed = (row.scheduled_ms - row.period_start_ms) / offsets[-1]
    users = round(min(row.n_control, row.n_treatment) / passed)
    baseline = _baseline(row)
    lift = None
    if baseline is not None and users > 0:
        found = least_lift(_method(plan), Aim(row.level or plan.alpha, power, len(offsets)), baseline, users)
        lift = None if found == inf else found
    return {
        "group": row.group_name,
        "event": row.event,
        "metric": row.metric,
        "state": row.state,
        "users_per_group": users,
        "power": power,
        "least_lift": lift,
    }


def _method(plan: Plan) -> PowerMethod:
    return plan.spending if plan.method == "alpha-spending" else plan.method


def _baseline(row: LookRow) -> Baseline | None:
    """Return what a user of the control has done by now; None where that is nothing, or everybody did."""
    n = row.n_control
    if row.metric == "propensity":
        return Baseline(row.a_control / n) if 0 < row.a_control < n else None
    spread = n * row.s2_control - row.s1_control**2
    return Baseline(row.s1_control / n, spread / (n * (n - 1))) if n > 1 and spread > 0 else None
