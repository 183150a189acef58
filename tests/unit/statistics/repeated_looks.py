"""How often a test that is repeated at equal steps of information errs: exact, by numerical integration."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr


def chance_to_cross(bound: float, looks: int) -> float:
    """Probability that |Z| reaches the bound at any of the looks, without an effect.

    Z at look k is a sum of k independent standard normal steps over the root of k. The density of the sums of those
    that haven't crossed is carried from look to look on a Gauss-Legendre grid.
    """
    widest = bound * math.sqrt(looks)
    points, weights = np.polynomial.legendre.leggauss(
        32 + int(5 * widest)
    )  # two nodes a step's standard deviation
    crossed = float(2 * ndtr(-bound))
    sums, mass = np.zeros(1), np.ones(1)
    for look in range(1, looks):
        half = bound * math.sqrt(look)
        grid, steps = half * points, half * weights
        mass = (np.exp(-((grid[:, None] - sums) ** 2) / 2) / math.sqrt(2 * math.pi)) @ mass * steps
        sums, edge = grid, bound * math.sqrt(look + 1)
        crossed += float(mass @ (ndtr(-edge - sums) + ndtr(sums - edge)))
    return crossed
