"""What newest looks mean to people: with the plans that they were judged by, a change is good or bad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from rtexp.statistics.plans import decoded
from rtexp.store.plans import stored_plans

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from rtexp.statistics.plans import Plan
    from rtexp.store.looks import LookRow


def plans_of(connection: Connection, rows: Iterable[LookRow]) -> dict[tuple[str, int], Plan]:
    """Return the plans of the looks' periods by (experiment, period_start_ms), those that can be read."""
    return plans_at(connection, sorted({(row.experiment, row.period_start_ms) for row in rows}))


def plans_at(connection: Connection, keys: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Plan]:
    """Return the plans of these (experiment, period_start_ms), those that there are and that can be read."""
    plans = {}
    for stored in stored_plans(connection, keys):
        try:
            plans[stored.experiment, stored.period_start_ms] = decoded(stored.plan.encode())
        except msgspec.DecodeError:
            continue  # that of a newer version; it only names here what is good
    return plans


def verdict(row: LookRow, plan: Plan | None) -> Literal["good", "bad"] | None:
    """Return whether a significant change is good or bad, None where nobody has said or there is none."""
    direction = {"significant_gain": "up", "significant_drop": "down"}.get(row.state)
    welcome = plan.good.get(row.event) if plan else None
    if direction is None or welcome is None:
        return None
    return "good" if direction == welcome else "bad"
