"""What repeated looks do, computed exactly: how often a rule errs, how often it finds an effect, and when.

Everything here is for scores with correlations √(t_i / t_k): information that grows in step with time, outcomes final
at exposure. What becomes of it with real counters is for the simulations to say.
"""

from __future__ import annotations

from math import inf, log, sqrt
from typing import TYPE_CHECKING, Literal, NamedTuple

from rtexp.statistics import bonferroni, levels
from rtexp.statistics.boundaries import GroupSequentialTest
from rtexp.statistics.confidence_sequence import rho_squared
from rtexp.statistics.surviving import SurvivingDensity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.statistics.surviving import Passage

Rule = Literal["obf", "pocock", "bonferroni", "confidence-sequence", "unadjusted", "bayesian"]
"""How a look decides. The last two are what people do who peek: they err far more often than alpha."""


class Operating(NamedTuple):
    """What a rule does with one true effect."""

    crossing: float
    """Probability of crossing a bound at any look: the error without an effect, the power with one."""
    mean_t: float
    """Mean share of the window until the first crossing, or its end."""


def equal_looks(count: int) -> list[float]:
    """Return the times of so many equally spaced looks as shares of the window; ValueError below one.

    >>> equal_looks(4)
    [0.25, 0.5, 0.75, 1.0]
    """
    if count < 1:
        raise ValueError(f"{count} looks: there is at least one, at the end")
    return [k / count for k in range(1, count + 1)]


def bounds(rule: Rule, t: Sequence[float], alpha: float) -> list[float]:
    """Return what |Z| must reach at each look; inf where a look has nothing to spend.

    Args:
        rule: `bayesian` stands for a posterior probability of 1 - alpha for either group, with a flat prior. The
            expected users of `confidence-sequence` are those at t = 1.
        t: Times of the looks, as shares of the window and of the information at its end; rising.
        alpha: In (0, 1), of both sides.
    """
    match rule:
        case "obf" | "pocock":
            test = GroupSequentialTest(alpha=alpha, spending=rule)
            found = (test.add(at, at, 0.0).bound for at in t)
            return [inf if bound is None else bound for bound in found]
        case "bonferroni":
            return [bonferroni.critical_z(alpha, len(t))] * len(t)
        case "confidence-sequence":
            kappas = [at * rho_squared(alpha, 1.0) for at in t]
            return [sqrt(2 * (k + 1) / k * log(sqrt(k + 1) / alpha)) for k in kappas]
        case "unadjusted":
            return [levels.critical_z(alpha)] * len(t)
        case "bayesian":
            return [levels.critical_z(2 * alpha)] * len(t)


def passages(found: Sequence[float], t: Sequence[float]) -> list[tuple[float, Passage]]:
    """Return the time of each look that has a bound, and what happens there, for any drift.

    Args:
        found: Bounds on |Z| at each look, as `bounds` returns them.
        t: Times of the looks.
    """
    density = SurvivingDensity()
    return [(at, density.pass_by(at, bound)) for at, bound in zip(t, found, strict=True) if bound < inf]


def operating(looks: Sequence[tuple[float, Passage]], drift: float = 0.0) -> Operating:
    """Return how often, and when, bounds are crossed.

    Args:
        looks: As `passages` returns them; the last look is at the end of the window.
        drift: Mean of Z at the end, such as 2.8 for an effect that one look at the end finds in 80 of 100 cases.
    """
    probabilities = [passage.probability(drift) for _, passage in looks]
    crossing = sum(probabilities)
    mean_t = sum(at * found for (at, _), found in zip(looks, probabilities, strict=True))
    return Operating(crossing, mean_t + 1 - crossing)
