"""Plans and inputs of looks for tests, and the worked sequence of the specification (section 3a)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from tests.unit.statistics import plan_samples

from rtexp.statistics.looks import EventSums, GroupSums, LookInput, Stretch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtexp.statistics.plans import Plan

HOUR = 3_600_000
START = 1_699_999_200_000

PLAN = plan_samples.plan(
    control="C",
    treatments=["T"],
    weights={"C": 0.5, "T": 0.5},
    events=["search"],
    guardrails=[],
    good={},
    look_every_hours=18.0,
    bonferroni_looks=4,
)

Events = dict[str, tuple[int, int, int]]
"""By event (S1, S2, A)."""


def plan(**changes: Any) -> Plan:
    """Return the plan of a propensity at four looks, changed."""
    return msgspec.structs.replace(PLAN, **changes)


def given(
    look: int,
    groups: Mapping[str, tuple[int, Events]],
    *,
    hour: float | None = None,
    weights: Mapping[str, float] | None = None,
    multiple: Mapping[str, int] | None = None,
) -> LookInput:
    """Return the input of a look at ``hour``, by default every 18, from users and sums of each group.

    Weights are equal by default, and all users belong to one stretch.
    """
    at_ms = START + round((18 * look if hour is None else hour) * HOUR)
    shares = dict(weights or {group: 1 / len(groups) for group in groups})
    again = {group: (multiple or {}).get(group, 0) for group in groups}
    users = {group: n for group, (n, _) in groups.items()}
    stretch = Stretch(
        START,
        at_ms,
        shares,
        {group: users[group] for group in shares},
        {group: again[group] for group in shares},
    )
    sums = {
        group: GroupSums(n, again[group], {event: EventSums(*counts) for event, counts in events.items()})
        for group, (n, events) in groups.items()
    }
    return LookInput(look, at_ms, sums, [stretch])


def actors(n: int, a: int) -> tuple[int, Events]:
    """Return a group in which each actor acted once."""
    return n, {"search": (a, a, a)}


WORKED = [
    given(1, {"C": actors(5000, 120), "T": actors(5000, 130)}),
    given(2, {"C": actors(9000, 320), "T": actors(9100, 380)}),
    given(3, {"C": actors(12000, 560), "T": actors(12100, 680)}),
    given(4, {"C": actors(14000, 800), "T": actors(14100, 930)}),
]
