"""The decision rules of one comparison, behind one interface: what it has seen, and what that means at a level.

A level is the share of error that a comparison may spend; Holm's procedure asks for a greater one as others are
decided. So a rule keeps the path that it has seen, and answers for any level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
from scipy.special import ndtri

from rtexp.statistics import confidence_sequence
from rtexp.statistics.boundaries import GroupSequentialTest
from rtexp.statistics.sequential_p import SequentialP
from rtexp.statistics.undefined import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtexp.statistics.spending import Sides, Spending

P_CEILING = 0.2
"""Above it, an always-valid p may be given as 1: nobody decides on it, and to find it costs most."""


class Seen(msgspec.Struct, array_like=True, frozen=True):
    """What a look showed of one comparison that passed its gates."""

    t: float
    """Share of the period that has passed, as scheduled."""
    information: float
    z: float
    """Signed normal score; of a guardrail towards harm."""
    p: float
    """Of this look alone; a confidence sequence's is its own."""
    control: int
    """Actors, as are those of the treatment."""
    treatment: int


class Path(msgspec.Struct):
    """The memory of one comparison: all looks that it could be judged by, and the smallest p so far."""

    seen: list[Seen] = []
    p: float = 1.0


class Answer(NamedTuple):
    """What a path means at a level, as of its newest look."""

    deferred: Reason | None
    """Why nothing was spent at the newest look."""
    alpha_spent: float | None
    boundary: float | None
    critical_z: float | None
    """Half the width of the interval in standard errors."""
    direction: int
    """Sign of the effect at the first crossing, 0 if there was none."""
    evaluated: bool
    """Whether any look so far has been tested."""


class Rule(Protocol):
    """A decision rule with its path."""

    path: Path

    def see(self, seen: Seen) -> None:
        """Take in a look; what it means is asked afterwards."""

    def answer(self, level: float) -> Answer:
        """Say what the path means at a level."""

    def forget_levels(self, keep: float) -> None:
        """Drop what is carried for other levels than this one."""


NOTHING_SEEN = Answer(None, None, None, None, 0, evaluated=False)


class AlphaSpending:
    """Error is spent by the clock, looks are correlated by information (statistics of group-sequential tests)."""

    def __init__(
        self,
        path: Path,
        *,
        spending: Spending,
        sides: Sides,
        min_growth: float,
        min_spend: float,
        with_p: bool,
        ceiling: float = P_CEILING,
    ) -> None:
        """Begin, or go on from a path. ``ceiling``: a p above it is given as 1; at least the greatest level asked."""
        self.path = path
        self._spending: Spending = spending
        self._sides: Sides = sides
        self._gates = {"min_growth": min_growth, "min_spend": min_spend}
        self._levels: dict[float, _Level] = {}
        self._p: SequentialP | None = None
        if with_p:
            self._p = SequentialP(spending=spending, sides=sides, ceiling=ceiling, **self._gates)
            self._p.resume(((seen.t, seen.information, seen.z) for seen in path.seen), path.p)

    def see(self, seen: Seen) -> None:
        """Take in a look."""
        self.path.seen.append(seen)
        if self._p is not None:
            self.path.p = self._p.add(seen.t, seen.information, seen.z)

    def answer(self, level: float) -> Answer:
        """Say what the path means at a level; what is new since the last call costs, at a new level all of it."""
        if (kept := self._levels.get(level)) is None:
            test = GroupSequentialTest(alpha=level, spending=self._spending, sides=self._sides, **self._gates)
            kept = self._levels[level] = _Level(test)
        return kept.answer(self.path)

    def forget_levels(self, keep: float) -> None:
        """Drop what is carried for other levels."""
        self._levels = {level: kept for level, kept in self._levels.items() if level == keep}


class _Level:
    """A test at one level, and how much of the path it has been told."""

    def __init__(self, test: GroupSequentialTest) -> None:
        self._test = test
        self._told = 0
        self._direction = 0
        self._answer = NOTHING_SEEN

    def answer(self, path: Path) -> Answer:
        for seen in path.seen[self._told :]:
            bound = self._test.add(seen.t, seen.information, seen.z)
            if bound.crossed and not self._direction:
                self._direction = 1 if seen.z > 0 else -1
            self._answer = Answer(
                bound.deferred,
                bound.alpha_spent,
                bound.bound,
                bound.bound,
                self._direction,
                evaluated=self._answer.evaluated or bound.deferred is None,
            )
        self._told = len(path.seen)
        return self._answer


class Bonferroni:
    """A fixed number of tests, each at its share of the level: valid under any dependence."""

    def __init__(self, path: Path, *, looks: int) -> None:
        self.path = path
        self._looks = looks

    def see(self, seen: Seen) -> None:
        """Take in a look."""
        self.path.seen.append(seen)
        self.path.p = min(1.0, self.path.p, self._looks * seen.p)

    def answer(self, level: float) -> Answer:
        """Say what the path means at a level."""
        if not self.path.seen:
            return NOTHING_SEEN
        share = level / self._looks
        bound = float(-ndtri(share / 2))
        direction = _first_direction(self.path, lambda seen: seen.p < share)
        return Answer(None, share * len(self.path.seen), bound, bound, direction, evaluated=True)

    def forget_levels(self, keep: float) -> None:
        """Do nothing: nothing is carried."""


class ConfidenceSequence:
    """An interval that holds at all times together; ``rho_squared`` was fixed at the ramp."""

    def __init__(self, path: Path, *, rho_squared: float) -> None:
        self.path = path
        self.rho_squared = rho_squared

    def see(self, seen: Seen) -> None:
        """Take in a look; its ``p`` is that of the sequence."""
        self.path.seen.append(seen)
        self.path.p = min(self.path.p, seen.p)

    def answer(self, level: float) -> Answer:
        """Say what the path means at a level."""
        if not self.path.seen:
            return NOTHING_SEEN
        newest = self.path.seen[-1]
        # Information is the number of users here: half a width in standard errors depends on it alone.
        width = confidence_sequence.half_width(1.0, int(newest.information), self.rho_squared, level)
        direction = _first_direction(self.path, lambda seen: seen.p <= level)
        return Answer(None, None, width, width, direction, evaluated=True)

    def forget_levels(self, keep: float) -> None:
        """Do nothing: nothing is carried."""


class GamblersRuin:
    """First to lead by ``lead`` of at most ``conversions`` actors; its level was fixed with the plan."""

    def __init__(self, path: Path, *, conversions: int, lead: int) -> None:
        self.path = path
        self._conversions = conversions
        self._lead = lead

    @property
    def exhausted(self) -> bool:
        """Whether all conversions of the plan are used up."""
        return any(seen.control + seen.treatment >= self._conversions for seen in self.path.seen)

    def see(self, seen: Seen) -> None:
        """Take in a look."""
        self.path.seen.append(seen)

    def answer(self, level: float) -> Answer:  # noqa: ARG002 - N and d* stand for it
        """Say what the path means."""
        if not self.path.seen:
            return NOTHING_SEEN
        newest = self.path.seen[-1]
        over = newest.control + newest.treatment > self._conversions
        return Answer(
            Reason.PLAN_EXHAUSTED if over else None,
            None,
            float(self._lead),
            None,
            _first_direction(self.path, self._crosses),
            evaluated=any(seen.control + seen.treatment <= self._conversions for seen in self.path.seen),
        )

    def _crosses(self, seen: Seen) -> bool:
        lead = abs(seen.treatment - seen.control)
        return seen.control + seen.treatment <= self._conversions and lead >= self._lead

    def forget_levels(self, keep: float) -> None:
        """Do nothing: nothing is carried."""


def _first_direction(path: Path, crosses: Callable[[Seen], bool]) -> int:
    """Return the sign of the first look that crosses, 0 if none does."""
    return next((1 if seen.z > 0 else -1 for seen in path.seen if crosses(seen)), 0)
