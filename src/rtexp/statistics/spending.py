"""Alpha spending functions: how much of the total error may have been used up by a share of the window.

`obf` is of O'Brien and Fleming's type: next to nothing early, nearly all of it at the end. `pocock` spends about
evenly, so that it stops earlier where effects are large and needs larger effects at the end.
Source: Lan and DeMets (1983), Biometrika 70, 659-663.
"""

from __future__ import annotations

from math import e, log1p, sqrt
from typing import Literal

from scipy.special import ndtr, ndtri

Spending = Literal["obf", "pocock"]
Sides = Literal[1, 2]


def spent(spending: Spending, t: float, alpha: float, sides: Sides = 2) -> float:
    """Return how much of ``alpha`` may have been spent by ``t``, the share of the window that is over, in [0, 1].

    Args:
        spending: The spending function's name.
        t: In [0, 1]. At 1 all is spent.
        alpha: The total of both sides if there are two; in (0, 1].
        sides: The two-sided `obf` is twice the one-sided one at alpha / 2, not the one-sided one at alpha.

    >>> spent("obf", 0.5, 0.05)
    0.0030506...
    """
    if t >= 1:
        return alpha
    if t <= 0:
        return 0.0
    if spending == "pocock":
        return alpha * log1p((e - 1) * t)
    # The lower tail: 1 - Φ(x) has lost all digits where little is spent.
    return float(2 * sides * ndtr(ndtri(alpha / (2 * sides)) / sqrt(t)))


def total_for(spending: Spending, t: float, share: float, sides: Sides = 2) -> float:
    """Return the total alpha of which ``share`` may have been spent by ``t``: the inverse of `spent`; at most 1.

    Args:
        spending: The spending function's name.
        t: In (0, 1].
        share: More than 0, at most 1.
        sides: As in `spent`.
    """
    if spending == "pocock":
        return min(1.0, share / log1p((e - 1) * min(t, 1.0)))
    return float(min(1.0, 2 * sides * ndtr(ndtri(share / (2 * sides)) * sqrt(min(t, 1.0)))))
