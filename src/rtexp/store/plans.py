"""Plans in SQL: that of a period is written once, by whoever comes first, and never again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select, tuple_

from rtexp.statistics.plans import canonical, plan_hash
from rtexp.store.schema import plans
from rtexp.store.upserts import BATCH_ROWS, insert_if_absent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from rtexp.statistics.plans import Plan


class StoredPlan(NamedTuple):
    """One row of ``plans``, in the order of its columns."""

    experiment: str
    period_start_ms: int
    plan_hash: str
    plan: str
    """`plans.canonical` of the plan, byte for byte: the hash is of this."""


def freeze_plans(connection: Connection, wanted: Iterable[tuple[str, int, Plan]]) -> list[StoredPlan]:
    """Store the plans of (experiment, period) that have none, and return what is stored for all of them.

    ``connection`` must be in a transaction of `writing`. Of two leaders at once the first one's plan holds, and
    both get that one back. In order of the key; no key twice.
    """
    in_order = sorted(wanted, key=lambda item: item[:2])
    stored: list[StoredPlan] = []
    for start in range(0, len(in_order), BATCH_ROWS):
        batch = in_order[start : start + BATCH_ROWS]
        rows = [
            StoredPlan(name, at_ms, plan_hash(plan), canonical(plan).decode())._asdict()
            for name, at_ms, plan in batch
        ]
        insert_if_absent(connection, plans, *rows)
        stored += stored_plans(connection, [(name, at_ms) for name, at_ms, _ in batch])
    return stored


def stored_plans(connection: Connection, keys: Iterable[tuple[str, int]]) -> list[StoredPlan]:
    """Return the plans of those (experiment, period_start_ms) that have one, in order of the key."""
    key = tuple_(plans.c.experiment, plans.c.period_start_ms)
    statement = select(plans).where(key.in_(list(keys))).order_by(*plans.primary_key)
    return [StoredPlan(*row) for row in connection.execute(statement)]


def planned_periods(connection: Connection) -> dict[str, list[int]]:
    """Return the starts in ms of the periods that have a plan, by experiment."""
    starts: dict[str, list[int]] = {}
    for name, start_ms in connection.execute(select(plans.c.experiment, plans.c.period_start_ms)):
        starts.setdefault(name, []).append(start_ms)
    return starts


def read_plans(connection: Connection, *, experiment: str) -> list[StoredPlan]:
    """Return the plans of all periods of one experiment, in order of time."""
    statement = select(plans).where(plans.c.experiment == experiment).order_by(plans.c.period_start_ms)
    return [StoredPlan(*row) for row in connection.execute(statement)]
