"""Confidence bands: for one group's mean an interval at every bucket, all of which hold together.

The same asymptotic confidence sequence as `rtexp.statistics.confidence_sequence`, of a mean in place of a difference:
so nothing that is seen in a chart needs a correction for how often one has looked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.statistics.confidence_sequence import half_width
from rtexp.statistics.effects import Metric, variance_of_mean
from rtexp.statistics.undefined import Reason, Undefined

if TYPE_CHECKING:
    from rtexp.statistics.counts import Counts

_USERS_FOR_VARIANCE = 2


def band(metric: Metric, counts: Counts, rho_squared: float, alpha: float) -> float | Undefined:
    """Return how far the band reaches to both sides of the mean, in the metric's unit.

    Undefined: `Reason.EMPTY_GROUP`, `Reason.GROUP_TOO_SMALL` for a variance, or `Reason.ZERO_VARIANCE`: all users
    so far did the same, which doesn't make their mean certain.
    """
    users = counts.n
    if users == 0:
        return Undefined(Reason.EMPTY_GROUP)
    if users < _USERS_FOR_VARIANCE:
        return Undefined(Reason.GROUP_TOO_SMALL)
    variance = (
        counts.a * (users - counts.a) / users**3 if metric is Metric.PROPENSITY else variance_of_mean(counts)
    )
    if variance <= 0:
        return Undefined(Reason.ZERO_VARIANCE)
    return half_width(variance, users, rho_squared, alpha)
