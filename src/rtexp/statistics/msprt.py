"""Mixture sequential probability ratio test: the confidence sequence in its older form.

Its one parameter is the variance of the effects that one expects, frozen at the ramp. With that equal to
``users * variance * rho_squared`` both methods coincide. Source: Johari et al., Always valid inference (2015).
"""

from __future__ import annotations

import math

from rtexp.statistics.levels import LEAST_P, checked_level


def log_likelihood_ratio(difference: float, variance: float, mixing_variance: float) -> float:
    """Return the logarithm of the evidence for an effect drawn from N(0, mixing variance), against none.

    ``variance`` is the unpooled one of the difference. 0.0, no evidence, where it is 0: there is no noise to measure
    the difference by.
    """
    _check(variance, mixing_variance)
    if variance == 0:
        return 0.0
    total = variance + mixing_variance
    return math.log(variance / total) / 2 + mixing_variance / total * difference**2 / (2 * variance)


def p_look(difference: float, variance: float, mixing_variance: float) -> float:
    """Return the p-value of one look; the running minimum over looks is valid at any of them."""
    log_ratio = log_likelihood_ratio(difference, variance, mixing_variance)
    return max(math.exp(-max(log_ratio, 0.0)), LEAST_P)


def half_width(variance: float, mixing_variance: float, alpha: float) -> float:
    """Return how far the interval reaches from the difference to both sides."""
    _check(variance, mixing_variance)
    checked_level(alpha)
    if variance == 0:
        return 0.0
    total = variance + mixing_variance
    return math.sqrt(variance * total / mixing_variance * (math.log(total / variance) - 2 * math.log(alpha)))


def _check(variance: float, mixing_variance: float) -> None:
    if not (variance >= 0 and mixing_variance > 0):
        raise ValueError(
            f"variance {variance}, mixing_variance {mixing_variance}: the first is 0 or more, the second above 0"
        )
