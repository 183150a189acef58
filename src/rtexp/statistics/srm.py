"""Sample-ratio mismatch: are users split over the groups as planned?

If not, something loses users of one group and not of the other, and no comparison means anything: an alarm blocks all
verdicts. The test is exact at every moment (a test martingale) if users are assigned independently. Source:
Lindon and Malek, Anytime-valid inference for multinomial count data (2022).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc, xlog1py

from rtexp.statistics.levels import LEAST_P
from rtexp.statistics.stirling import remainder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PRIOR_STRENGTH = 1000.0
"""Alarms soonest for mismatches of one to five per cent; 100 is better for gross ones, 10,000 for the finest."""

_GROUPS_TO_SPLIT = 2


def log_e(counts: Sequence[int], weights: Sequence[float], prior_strength: float = PRIOR_STRENGTH) -> float:
    """Return the logarithm of the evidence against the planned weights: 0 for no users, below 0 if the split fits.

    ``counts`` are users exposed per group, ``weights`` the planned shares on any scale; groups of weight 0 are left
    out. Both must be all groups', in one order. Where weights change in a period, call this for the new users of
    each stretch of constant weights and add the results. ValueError for negative counts or weights.
    """
    if not 0.0 < prior_strength < math.inf:
        raise ValueError(f"prior_strength is {prior_strength}: it is above 0, such as {PRIOR_STRENGTH:.0f}")
    users, shares = _planned(counts, weights)
    if len(shares) < _GROUPS_TO_SPLIT:
        return 0.0
    prior = prior_strength * shares
    posterior, total = prior + users, prior_strength + users.sum()
    # Dirichlet-multinomial against multinomial likelihood:
    #   lnG(k) - lnG(k + n) + sum(lnG(k w + n_g) - lnG(k w) - n_g ln w),  written so that no digits are lost.
    # The main part is how far the posterior shares are off (a Kullback-Leibler divergence), total times.
    off = (users - users.sum() * shares) / (total * shares)
    divergence = xlog1py(1 + off, off) @ shares  # 0 where a group lacks all of countless users
    spread = math.log(total / prior_strength) - np.log(posterior / prior).sum()
    small = remainder(posterior).sum() - remainder(prior).sum() + remainder(prior_strength) - remainder(total)
    return float(total * divergence + spread / 2 + small)


def p_value(log_e: float) -> float:
    """Return the p-value of one look from its evidence; the running minimum over looks is valid at any of them.

    >>> p_value(0.0)
    1.0
    """
    return max(math.exp(-max(log_e, 0.0)), LEAST_P)


def chi_square_p(counts: Sequence[int], weights: Sequence[float]) -> float:
    """Return Pearson's chi-squared p-value, valid if looked at once only: for display, never for an alarm.

    1.0 where there is nothing to compare: no users, or a single group.
    """
    users, shares = _planned(counts, weights)
    expected = users.sum() * shares
    if len(shares) < _GROUPS_TO_SPLIT or not users.any():
        return 1.0
    return float(chdtrc(len(users) - 1, ((users - expected) ** 2 / expected).sum()))


def _planned(counts: Sequence[int], weights: Sequence[float]) -> tuple[Floats, Floats]:
    """Return users and planned shares (which sum to 1) of the groups that have a weight."""
    if len(counts) != len(weights):
        raise ValueError(
            f"{len(counts)} counts but {len(weights)} weights: give one of each per group, in one order"
        )
    users, shares = np.asarray(counts, np.float64), np.asarray(weights, np.float64)
    if not (np.all(users >= 0) and np.all(shares >= 0) and np.all(np.isfinite(shares))):
        raise ValueError(f"counts {list(counts)}, weights {list(weights)}: none of them may be negative")
    planned = shares > 0
    users, shares = users[planned], shares[planned]
    return users, shares / shares.sum()
