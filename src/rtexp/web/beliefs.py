"""What a Bayesian would say, for display only: it is not sequentially valid, and says how often it errs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.statistics.bayesian import PEEKING_ERRORS, Belief, propensity
from rtexp.statistics.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.store.looks import LookRow

THRESHOLD = 0.95


class Opinion(NamedTuple):
    """Of one comparison of shares at its newest look."""

    row: LookRow
    belief: Belief


def opinions(rows: Iterable[LookRow]) -> list[Opinion]:
    """Return what there is to believe of the propensities that decide."""
    found = []
    for row in rows:
        if row.role != "decision" or row.metric != "propensity" or row.state == "blocked_srm":
            continue
        belief = propensity(
            Counts(row.n_control, row.s1_control, row.s2_control, row.a_control),
            Counts(row.n_treatment, row.s1_treatment, row.s2_treatment, row.a_treatment),
        )
        if isinstance(belief, Belief):
            found.append(Opinion(row, belief))
    return found


def peeking_error(looks: int) -> tuple[int, float]:
    """Return (looks, how often 95 % is exceeded without any effect), of the nearest number that was simulated.

    >>> peeking_error(41)
    (24, 0.444)
    """
    errors = PEEKING_ERRORS[THRESHOLD]
    nearest = min(errors, key=lambda known: abs(known - looks))
    return nearest, errors[nearest]
