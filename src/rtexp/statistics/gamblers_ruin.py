"""Gambler's ruin: decide from users who acted alone, no variance and no number of users needed.

With equally large groups and no effect, each further actor is the treatment's with probability 1/2, so the lead of one
group over the other is a random walk. The plan says how far ahead (the lead, d*) within how many actors (conversions,
N) is too far for chance. Exact for a split of 1:1 up to N; void afterwards, for volume (one user's actions are
no independent flips), for other splits and under a sample-ratio mismatch.
Sources: Feller, An Introduction to Probability Theory, III.7; Miller, Simple sequential A/B testing (2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr, bdtrc

from rtexp.statistics.levels import checked_level, checked_sides
from rtexp.statistics.undefined import Reason, Undefined

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

LEAST_LIFT = 0.001
"""A plan for less would need more than 30 million conversions."""


@dataclass(frozen=True, slots=True)
class RuinDesign:
    """What is frozen at the ramp."""

    conversions: int
    """N: actors of both groups after which the test ends."""
    lead: int
    """d*: actors that one group must be ahead of the other."""


class RuinDecision(StrEnum):
    """What the actors of both groups say at a look."""

    TREATMENT_HIGHER = "treatment_higher"
    TREATMENT_LOWER = "treatment_lower"
    UNDECIDED = "undecided"
    NO_DIFFERENCE = "no_difference"
    """The last conversion came, and nobody was ever far enough ahead at a look."""


def reach(conversions: int, lead: int, share: float = 0.5) -> float:
    """Return the probability that the treatment is ever ``lead`` actors ahead within ``conversions`` of both groups.

    ``share`` is the probability that an actor is the treatment's: 1/2 without an effect, (1 + lift) / (2 + lift) with.
    ValueError if ``lead`` < 1, ``conversions`` < 0, or ``share`` is outside (0, 1).

    >>> reach(3, 1)
    0.625
    """
    if lead < 1 or conversions < 0 or not 0.0 < share < 1.0:
        raise ValueError(f"lead {lead} within {conversions} conversions at share {share}: leads begin at 1")
    return float(_reach(conversions, lead, share))


def _reach(conversions: ArrayLike, lead: ArrayLike, share: float) -> Floats:
    """Return `reach` for arrays, by reflection: 2 us instead of a sum over all first passages.

    A walk that reaches the lead and falls back has a mirror image that ends beyond it; both differ by their last steps,
    hence by a power of the odds.
    """
    conversions, lead = np.asarray(conversions, np.int64), np.asarray(lead, np.int64)
    # S = 2 * wins - N.  S >= d: wins > (N + d - 1) // 2.  S < -d: wins <= (N - d - 1) // 2, and bdtr refuses -1.
    ahead = np.where(
        lead > conversions,
        0.0,
        bdtrc(np.minimum((conversions + lead - 1) // 2, conversions), conversions, share),
    )
    behind_most = (conversions - lead - 1) // 2
    behind = np.where(behind_most < 0, 0.0, bdtr(np.maximum(behind_most, 0), conversions, share))
    # A huge power of the odds meets a tiny probability: by logarithms neither overflows.
    with np.errstate(divide="ignore"):
        mirrored = np.exp(np.minimum(lead * np.log(share / (1 - share)) + np.log(behind), 0.0))
    return np.asarray(ahead + mirrored, np.float64)


def least_lead(conversions: int, alpha: float = 0.05, sides: int = 2) -> int:
    """Return the smallest lead that chance reaches within ``conversions`` with at most ``alpha``.

    That is about 2.25 times the root of ``conversions``, one-sided 2 times. If not even a lead of all of them is rare
    enough it is one more, which nobody can reach.
    """
    level = checked_level(alpha) / checked_sides(sides)
    leads = np.arange(1, conversions + 2)
    return int(leads[np.argmax(_reach(conversions, leads, 0.5) <= level)])


def design(lift: float, alpha: float = 0.05, power: float = 0.8, sides: int = 2) -> RuinDesign:
    """Return the smallest N, with its d*, that errs with at most ``alpha`` and sees ``lift`` with ``power``.

    With several treatments or decision metrics give the share of alpha of each. ValueError if ``lift`` is below
    `LEAST_LIFT`, or ``power`` or ``alpha`` is no probability that makes sense.

    >>> design(0.2, sides=1)
    RuinDesign(conversions=808, lead=56)
    """
    if not lift >= LEAST_LIFT:
        raise ValueError(
            f"lift is {lift}: give the least rise worth finding, {LEAST_LIFT} or more (0.05 is 5 %)"
        )
    if not 0.0 < power < 1.0:
        raise ValueError(f"power is {power}: it is the wanted chance of finding the lift, such as 0.8")
    level = checked_level(alpha) / checked_sides(sides)
    share = (1 + lift) / (2 + lift)
    first, size = 1, 64
    while True:
        # A lead serves as many conversions as keep its error; the first lead whose most give the power has the least N.
        leads = np.arange(first, first + size)
        most = _most_conversions(leads, level)
        strong = _reach(most, leads, share) >= power
        if strong.any():
            lead, most_of_lead = (int(found[strong.argmax()]) for found in (leads, most))
            return RuinDesign(_fewest_conversions(lead, most_of_lead, share, power), lead)
        first, size = first + size, 2 * size


def _most_conversions(leads: Ints, level: float) -> Ints:
    """Return, per lead, the most conversions within which chance reaches it with at most ``level``."""
    enough, too_many = (
        leads - 1,
        4 * leads**2 + 4,
    )  # chance reaches twice the root of N with 5 %, half of it with 60 %
    while np.any(too_many - enough > 1):
        middle = (enough + too_many) // 2
        rare = _reach(middle, leads, 0.5) <= level
        enough, too_many = np.where(rare, middle, enough), np.where(rare, too_many, middle)
    return enough


def _fewest_conversions(lead: int, most: int, share: float, power: float) -> int:
    """Return the fewest conversions within which ``lead`` is reached with ``power``; ``most`` are enough."""
    too_few, enough = lead - 1, most
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _reach(middle, lead, share) >= power:
            enough = middle
        else:
            too_few = middle
    return enough


def decide(
    control_actors: int, treatment_actors: int, design: RuinDesign, sides: int = 2
) -> RuinDecision | Undefined:
    """Return what one look says; a decision at an earlier look stands, whatever this one says.

    `Reason.PLAN_EXHAUSTED` beyond the plan's conversions: a lead that is reached there doesn't count. One-sided,
    a treatment that falls behind is never decided against.
    """
    checked_sides(sides)
    conversions, ahead = control_actors + treatment_actors, treatment_actors - control_actors
    if conversions > design.conversions:
        return Undefined(Reason.PLAN_EXHAUSTED)
    if ahead >= design.lead:
        return RuinDecision.TREATMENT_HIGHER
    if sides == 2 and -ahead >= design.lead:  # noqa: PLR2004 - both sides
        return RuinDecision.TREATMENT_LOWER
    return RuinDecision.NO_DIFFERENCE if conversions == design.conversions else RuinDecision.UNDECIDED
