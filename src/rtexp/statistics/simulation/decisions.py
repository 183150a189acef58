"""What the rules decide on the counts of two groups, look by look, as an evaluation would."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from rtexp.statistics import bonferroni, confidence_sequence, gamblers_ruin, levels
from rtexp.statistics.boundaries import GroupSequentialTest
from rtexp.statistics.counts import Counts
from rtexp.statistics.effects import Effect, Metric, effect, information
from rtexp.statistics.operating import bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.statistics.gamblers_ruin import RuinDesign
    from rtexp.statistics.simulation.gaussian import Ints

Method = Literal["obf", "pocock", "bonferroni", "confidence-sequence", "gamblers-ruin", "unadjusted"]
MIN_USERS = 100
MIN_ACTORS = 40


class Look(NamedTuple):
    """What is known of one comparison at one look; ``effect`` is None below the gates, or where nothing varies."""

    t: float
    control: Counts
    treatment: Counts
    information: float
    effect: Effect | None


@dataclass(frozen=True, slots=True)
class Decider:
    """A method with all that a plan would freeze."""

    method: Method
    looks: int
    """Equally spaced; a divisor of the number of buckets."""
    alpha: float = 0.05
    elapsed: bool = False
    """Spending only: take time for information. Not to be used; here to show why."""
    ruin: RuinDesign | None = None
    """Gambler's ruin only."""

    def first_crossing(self, path: Sequence[Look]) -> float | None:
        """Return the time of the first of its looks that crosses, None if none does.

        Args:
            path: A look at the end of each bucket. The confidence sequence takes their last number of users for its
                expected one.
        """
        if len(path) % self.looks:
            raise ValueError(f"{self.looks} looks don't divide {len(path)} buckets")
        every = len(path) // self.looks
        mine = path[every - 1 :: every]
        if self.method == "gamblers-ruin":
            return self._first_ruin(mine)
        return self._first(mine, users=path[-1].control.n + path[-1].treatment.n)

    def _first(self, looks: Sequence[Look], users: int) -> float | None:
        known = [(look, look.effect) for look in looks if look.effect is not None]
        match self.method:
            case "obf" | "pocock" if self.elapsed:
                shared = _elapsed_bounds(self.method, tuple(look.t for look, _ in known), self.alpha)
                crossed = (abs(found.z) >= bound for (_, found), bound in zip(known, shared, strict=True))
            case "obf" | "pocock":
                test = GroupSequentialTest(alpha=self.alpha, spending=self.method)
                crossed = (test.add(look.t, look.information, found.z).crossed for look, found in known)
            case "confidence-sequence":
                rho = confidence_sequence.rho_squared(self.alpha, users)
                crossed = (
                    confidence_sequence.p_look(
                        found.difference, found.variance, look.control.n + look.treatment.n, rho
                    )
                    <= self.alpha
                    for look, found in known
                )
            case _:
                critical = (
                    bonferroni.critical_z(self.alpha, self.looks)
                    if self.method == "bonferroni"
                    else levels.critical_z(self.alpha)
                )
                crossed = (abs(found.z) > critical for _, found in known)
        return next((look.t for (look, _), has in zip(known, crossed, strict=True) if has), None)

    def _first_ruin(self, looks: Sequence[Look]) -> float | None:
        if self.ruin is None:
            raise ValueError("gambler's ruin needs its conversions and lead")
        ends = {gamblers_ruin.RuinDecision.TREATMENT_HIGHER, gamblers_ruin.RuinDecision.TREATMENT_LOWER}
        for look in looks:
            if gamblers_ruin.decide(look.control.a, look.treatment.a, self.ruin) in ends:
                return look.t
        return None


def looks_of(
    metric: Metric, control: Ints, treatment: Ints, min_users: int = MIN_USERS, min_actors: int = MIN_ACTORS
) -> list[Look]:
    """Return a look at the end of each bucket, from `cumulative_counts` of both groups; gates as in a plan."""
    found = []
    buckets = len(control)
    for bucket, both in enumerate(zip(control.tolist(), treatment.tolist(), strict=True), 1):
        one, other = Counts(*both[0]), Counts(*both[1])
        has_enough = min(one.n, other.n) >= min_users and min(one.a, other.a) >= min_actors
        tested = effect(metric, one, other) if has_enough else None
        found.append(
            Look(
                bucket / buckets,
                one,
                other,
                information(metric, one, other) if has_enough else 0.0,
                tested if isinstance(tested, Effect) else None,
            )
        )
    return found


@lru_cache(maxsize=4096)
def _elapsed_bounds(
    method: Literal["obf", "pocock"], t: tuple[float, ...], alpha: float
) -> tuple[float, ...]:
    return tuple(bounds(method, t, alpha))
