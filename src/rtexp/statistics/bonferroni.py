"""Bonferroni over a number of tests that is fixed at the ramp: valid however the looks depend on each other.

K looks at each of m treatments share alpha equally. A refresh between looks is no test; a missed look loses its share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.statistics import levels
from rtexp.statistics.undefined import Reason, Undefined

if TYPE_CHECKING:
    from collections.abc import Sequence


def level_of_one(alpha: float, looks: int, treatments: int = 1) -> float:
    """Return the level of each test; a look rejects if its p is below that. ValueError for no looks or treatments."""
    if min(looks, treatments) < 1:
        raise ValueError(f"{looks} looks at {treatments} treatments: the plan needs at least one of each")
    return levels.checked_level(alpha) / (looks * treatments)


def critical_z(alpha: float, looks: int, treatments: int = 1) -> float:
    """Return the normal score that one test must exceed; intervals with it hold jointly, at all looks.

    >>> round(critical_z(0.05, looks=12), 6)
    2.86526
    """
    return levels.critical_z(level_of_one(alpha, looks, treatments))


def adjusted_p(p_values: Sequence[float], looks: int, treatments: int = 1) -> float | Undefined:
    """Return the p-value over all tests, from the p-values of the evaluated looks so far; 1.0 before the first.

    It never rises from look to look. `Reason.PLAN_EXHAUSTED` if there are more p-values than planned looks.
    """
    if min(looks, treatments) < 1:
        raise ValueError(f"{looks} looks at {treatments} treatments: the plan needs at least one of each")
    if len(p_values) > looks:
        return Undefined(Reason.PLAN_EXHAUSTED)
    return min(1.0, looks * treatments * min(p_values, default=1.0))
