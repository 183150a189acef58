"""Verdicts as rows: what the newest look of each comparison says, and where each experiment stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rtexp.store.looks import read_newest_looks
from rtexp.store.verdicts import plans_of, verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from rtexp.store.looks import LookRow
    from rtexp.web.summaries import Summary


class VerdictRow(NamedTuple):
    """One comparison at its newest look; ``looks`` has all its columns."""

    experiment: str
    period_start_ms: int
    group_name: str
    event: str
    metric: str
    role: str
    method: str
    look: int
    scheduled_ms: int
    state: str
    verdict: str | None
    """``good`` or ``bad`` where a change is significant and the plan says which direction is good."""
    crossed: bool
    withheld: bool
    final: bool
    reason: str | None
    effect: float | None
    interval_low: float | None
    interval_high: float | None
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    p_always_valid: float | None
    n_control: int
    n_treatment: int
    plan_hash: str | None


class Standing(NamedTuple):
    """One experiment, in the period that the overview shows; what no look has said yet is None."""

    experiment: str
    part: str
    period_start_ms: int | None
    period_end_ms: int | None
    users: int
    """Triggered by now; its looks have counted those of their own times."""
    alarms: str
    """Why it needs a person, in words; empty if it doesn't."""
    state: str | None
    verdict: str | None
    group_name: str | None
    event: str | None
    metric: str | None
    look: int | None
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    p_always_valid: float | None


_SHARED = tuple(name for name in VerdictRow._fields if name != "verdict")


def read_verdicts(
    connection: Connection, experiment: str, *, period_start_ms: int | None
) -> list[VerdictRow]:
    """Return the comparisons of a period in order of their key, of the newest period that has looks by default."""
    found = read_newest_looks(connection, experiment=experiment, every_period=period_start_ms is not None)
    rows = [row for row in found if period_start_ms in {None, row.period_start_ms}]
    plans = plans_of(connection, rows)
    return [
        VerdictRow(
            verdict=verdict(row, plans.get((row.experiment, row.period_start_ms))),
            **{name: getattr(row, name) for name in _SHARED},
        )
        for row in rows
    ]


def standings(
    summaries: Iterable[Summary], users: Mapping[tuple[str, int], Mapping[str, int]]
) -> list[Standing]:
    """Return where experiments stand, as rows; ``users`` of each (experiment, period_start_ms) by group."""
    return [
        Standing(
            experiment=each.experiment.name,
            part=each.part,
            period_start_ms=each.period[0] if each.period else None,
            period_end_ms=each.period[1] if each.period else None,
            users=sum(users.get((each.experiment.name, each.period[0]), {}).values()) if each.period else 0,
            alarms="; ".join(each.alarms),
            verdict=each.verdict,
            **_leading(each.row),
        )
        for each in summaries
    ]


def _leading(row: LookRow | None) -> dict[str, Any]:
    names = (
        "state",
        "group_name",
        "event",
        "metric",
        "look",
        "lift",
        "lift_low",
        "lift_high",
        "p_always_valid",
    )
    return {name: None if row is None else getattr(row, name) for name in names}
