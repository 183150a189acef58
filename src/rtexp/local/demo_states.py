"""The verdicts that a demo must end with, and those that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from rtexp.local.story import EXPERIMENTS, RE_RAMPED
from rtexp.statistics.plans import DecisionMetric
from rtexp.store.schema import looks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from rtexp.local.story import Story

DECIDING = DecisionMetric("search", "volume")
"""The one metric of a demo's experiments that decides."""
FRESH = ("collecting", "no_difference_yet")
"""How a period looks some hours after its start: what an earlier one has found means nothing to it."""


class ExpectedState(NamedTuple):
    """Of one period."""

    experiment: str
    period_start_ms: int
    planted: str
    states: tuple[str, ...]
    """Any of these is right."""


class FoundState(NamedTuple):
    """Of one period: what must be, and what the newest look says."""

    expected: ExpectedState
    look: int
    """0: there is none."""
    state: str

    @property
    def is_right(self) -> bool:
        """Whether the truth demands what was found."""
        return self.state in self.expected.states


def expected_states(story: Story, cycles: int) -> list[ExpectedState]:
    """Return what the truth demands of the periods that began in the first of so many whole cycles, if any."""
    if cycles == 0:
        return []
    expected = [
        ExpectedState(e.name, story.first_period(e, 0).start_ms, e.shows, (e.ends_as,))
        for e in EXPERIMENTS
        if e.ends_as is not None
    ]
    # Of later cycles only what has ended counts: after one alone, the re-ramped experiment has just begun again.
    if cycles == 1:
        expected.append(ExpectedState(RE_RAMPED.name, story.re_ramp_ms(0), "a fresh start", FRESH))
    return expected


def read_states(connection: Connection, expected: Iterable[ExpectedState]) -> list[FoundState]:
    """Return the state of the deciding metric at the newest look of each period."""
    found = []
    for period in expected:
        newest = connection.execute(
            select(looks.c.look, looks.c.state)
            .where(
                looks.c.experiment == period.experiment,
                looks.c.period_start_ms == period.period_start_ms,
                looks.c.event == DECIDING.event,
                looks.c.metric == DECIDING.metric,
                looks.c.role == "decision",
            )
            .order_by(looks.c.look.desc())
            .limit(1)
        ).first()
        found.append(FoundState(period, *(newest or (0, "no look"))))
    return found
