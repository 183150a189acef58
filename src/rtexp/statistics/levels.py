"""Levels, p-values and critical values: the tails of the normal and Student distributions, without lost digits."""

from __future__ import annotations

import math

from scipy.special import ndtr, ndtri, stdtr, stdtrit

LEAST_P = 1e-300
"""Smaller p-values are given as this one, so that their scores and logarithms stay finite (a score of 37.05)."""

# Below this the quantiles of a few degrees of freedom overflow in scipy. No bound comes near: it is 30 standard errors.
_LEAST_TAIL = 1e-200


def checked_level(alpha: float) -> float:
    """Return a significance level, the share of false alarms that is accepted; ValueError outside (0, 0.5)."""
    if not 0.0 < alpha < 0.5:  # noqa: PLR2004 - with half of all alarms false, no test is needed
        raise ValueError(f"alpha is {alpha}: choose a level above 0 and below 0.5, such as 0.05")
    return alpha


def checked_sides(sides: int) -> int:
    """Return 1 (one direction counts) or 2 (both do); ValueError for anything else."""
    if sides not in (1, 2):
        raise ValueError(f"sides is {sides}: it is 1 for a one-sided test and 2 for a two-sided one")
    return sides


def critical_z(alpha: float) -> float:
    """Return the normal score beyond which a share ``alpha`` lies, both tails together.

    >>> round(critical_z(0.05), 6)
    1.959964
    """
    return -float(ndtri(checked_level(alpha) / 2))


def two_sided_p(score: float, dof: float | None = None) -> float:
    """Return how often chance alone gives such a score or a further one: normal, or Student with ``dof``.

    Taken from the lower tail: ``1 - cdf`` has no digits left beyond 8 standard errors.
    """
    tail = ndtr(-abs(score)) if dof is None else stdtr(dof, -abs(score))
    return max(2 * float(tail), LEAST_P)


def signed_score(p_value: float, sign_of: float) -> float:
    """Return the normal score with this two-sided p and the sign of ``sign_of``; 0.0 if that is 0.

    It puts tests of all kinds on one scale, that of the bounds of sequential methods.
    """
    if sign_of == 0:
        return 0.0
    return math.copysign(float(ndtri(max(p_value, LEAST_P) / 2)), sign_of)


def critical_value(score: float, dof: float | None) -> float:
    """Return what the statistic must exceed where a normal one must exceed ``score``, such as the bound of a look.

    Normal (``dof`` None): the score itself. Student: the quantile with the same tail, which is a little greater.
    ValueError if the score is negative or infinite.
    """
    if not 0.0 <= score < math.inf:
        raise ValueError(
            f"the critical value is {score}: it is a finite number of standard errors, 0 or more"
        )
    if dof is None:
        return score
    return -float(stdtrit(dof, max(float(ndtr(-score)), _LEAST_TAIL)))
