"""Asymptotic confidence sequence: look whenever you like, without a schedule.

All intervals of a comparison hold together, with probability 1 - alpha, as users become many and if their outcomes are
final at exposure. Source: Waudby-Smith et al., Time-uniform central limit theory and asymptotic confidence
sequences (2021). The price: intervals are at least 1.55 times as wide as those of a single test.

A comparison has crossed once ``min`` of the p-values of its looks is alpha or less. The same formulas serve the
lift, with its value and its squared standard error.
"""

from __future__ import annotations

import math

from rtexp.statistics.levels import LEAST_P, checked_level, checked_sides


def rho_squared(alpha: float, expected_users: float, sides: int = 2) -> float:
    """Return the tuning that makes intervals narrowest at that many users of both groups; frozen at the ramp.

    ``expected_users``, n*, is a guess of how many there will be at the end of the period: a bad one costs width, never
    validity. ValueError if it isn't above 0.
    """
    if not 0.0 < expected_users < math.inf:
        raise ValueError(
            f"expected_users is {expected_users}: give about how many users the period will have"
        )
    level = checked_level(alpha) * 2 / checked_sides(sides)
    log_level = -2 * math.log(level)
    return (log_level + math.log(log_level + 1)) / expected_users


def half_width(variance: float, users: int, rho_squared: float, alpha: float, sides: int = 2) -> float:
    """Return how far the interval reaches from the difference: to both sides, or (one-sided) to the one that counts.

    ``variance`` is the unpooled one of the difference, ``users`` those of both groups.
    """
    checked_level(alpha)
    kappa = _kappa(variance, users, rho_squared)
    root = math.sqrt(kappa + 1)
    log_odds = math.log(root / alpha) if checked_sides(sides) == 2 else math.log1p(root / (2 * alpha))  # noqa: PLR2004
    return math.sqrt(variance * 2 * (kappa + 1) / kappa * log_odds)


def p_look(difference: float, variance: float, users: int, rho_squared: float, sides: int = 2) -> float:
    """Return the p-value of one look: the least alpha whose interval leaves 0 out, with ``rho_squared`` held fixed.

    One-sided, only a difference above 0 speaks against chance: turn the sign for the other direction. The running
    minimum over looks is valid at any of them. 1.0 where the variance is 0, which happens to a handful of
    users only: there is no noise to measure the difference by.
    """
    kappa = _kappa(variance, users, rho_squared)
    one_sided = checked_sides(sides) == 1
    if variance == 0 or difference == 0 or (one_sided and difference < 0):
        return 1.0
    exponent = kappa * difference**2 / (2 * variance * (kappa + 1))
    p_value = math.sqrt(kappa + 1) * math.exp(-exponent)
    if one_sided:
        below_certain = -2 * math.expm1(-exponent)
        p_value = p_value / below_certain if p_value < below_certain else 1.0
    return max(min(1.0, p_value), LEAST_P)


def _kappa(variance: float, users: int, rho_squared: float) -> float:
    """Return how many times as many users there are as the tuning's unit, after a check of the arguments."""
    if not (variance >= 0 and users >= 1 and rho_squared > 0):
        raise ValueError(
            f"variance {variance}, users {users}, rho_squared {rho_squared}: a confidence sequence needs a variance, "
            "at least one user, and the rho_squared of its plan"
        )
    return users * rho_squared
