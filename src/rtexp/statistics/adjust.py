"""Adjusted p-values: many metrics are tested, and each p is raised so that it may be compared with alpha itself.

Results are in the order of the input. ValueError for what is no p-value. Sources: Holm (1979), Benjamini and
Hochberg (1995).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def bonferroni(p_values: Sequence[float]) -> list[float]:
    """Bound the chance of any false rejection, by dividing alpha equally.

    >>> bonferroni([0.25, 0.5])
    [0.5, 1.0]
    """
    _ascending(p_values)
    return [min(1.0, len(p_values) * p) for p in p_values]


def holm(p_values: Sequence[float]) -> list[float]:
    """Bound the chance of any false rejection, and reject all that `bonferroni` does and more.

    The least p is compared with all q of them, the next with the q - 1 that are left, until one fails.

    >>> holm([0.04, 0.04, 0.001])
    [0.08, 0.08, 0.003]
    """
    adjusted = [0.0] * len(p_values)
    before = 0.0
    for rank, i in enumerate(_ascending(p_values)):
        before = max(before, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = before
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Bound the expected share of false ones among the rejections: for metrics that are explored.

    >>> benjamini_hochberg([0.9, 0.02, 0.04])
    [0.9, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    after = 1.0
    ascending = _ascending(p_values)
    for rank, i in reversed(list(enumerate(ascending, start=1))):
        after = min(after, len(p_values) * p_values[i] / rank)
        adjusted[i] = after
    return adjusted


def _ascending(p_values: Sequence[float]) -> list[int]:
    """Return the indices of the p-values from least to greatest."""
    for p in p_values:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"{p} is no p-value: it lies between 0 and 1")
    return sorted(range(len(p_values)), key=p_values.__getitem__)
