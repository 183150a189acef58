"""Simulated users of one group: when they come, when they act, and the counts that this makes bucket by bucket.

The window is 1 unit of time. Counts change as `rtexp.statistics.counts` says: a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtexp.statistics.effects import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtexp.statistics.simulation.gaussian import Floats, Ints

SHAPE_OF_RATES = 0.5
"""Of the gamma distribution of rates where users differ: a few act often, many hardly ever."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the users of the control come and act; a treatment multiplies the mean."""

    metric: Metric
    mean: float
    """Final: share of users who act, or actions per user. Otherwise actions of a user in a whole window."""
    is_final: bool
    """All that a user ever does happens at exposure. Otherwise users go on acting until the window ends."""
    differs: bool = False
    """Means differ from user to user."""
    all_at_start: bool = False
    """All users come at time 0; otherwise evenly over the window."""

    def __post_init__(self) -> None:
        """Refuse means that no users have: ValueError."""
        is_share = self.metric is Metric.PROPENSITY and self.is_final
        if not (0 < self.mean < 1 if is_share else 0 < self.mean < np.inf):
            raise ValueError(f"a mean of {self.mean}: a share of users is between 0 and 1, a rate is above 0")


class _Actions(NamedTuple):
    """Kept in order of user and time."""

    user: Ints
    at: Floats


def cumulative_counts(
    rng: np.random.Generator, behaviour: Behaviour, users: int, buckets: int, lift: float = 0.0
) -> Ints:
    """Return (n, S1, S2, A) of a group at the end of each bucket, shape (buckets, 4).

    ``lift`` multiplies the mean by 1 + lift. Of propensity only the first action of each user counts.
    """
    mean = behaviour.mean * (1 + lift)
    arrival = np.zeros(users) if behaviour.all_at_start else rng.random(users)
    rates = (
        rng.gamma(SHAPE_OF_RATES, mean / SHAPE_OF_RATES, users) if behaviour.differs else np.full(users, mean)
    )
    if behaviour.metric is Metric.PROPENSITY:
        actions = _first_actions(rng, arrival, rates, is_final=behaviour.is_final)
    else:
        actions = _all_actions(rng, arrival, rates, is_final=behaviour.is_final)
    return counted(arrival, actions.user, actions.at, buckets)


def counted(arrival: Floats, user: Ints, at: Floats, buckets: int) -> Ints:
    """Return (n, S1, S2, A) at the end of each bucket.

    Args:
        arrival: When each user was exposed, shape (users,).
        user: Whose each action is, shape (actions,), rising, and rising in time within a user.
        at: When it was, in [0, 1).
        buckets: How many of equal length the window has.
    """
    bucket = (at * buckets).astype(np.int64)
    starts = np.flatnonzero(np.diff(user, prepend=-1))
    # The k-th action of a user, from 0, adds 2k + 1 to the sum of squares.
    k = np.arange(len(user)) - np.repeat(starts, np.diff(starts, append=len(user)))
    changes = np.zeros((buckets, 4), np.int64)
    changes[:, 0] = np.bincount((arrival * buckets).astype(np.int64), minlength=buckets)
    changes[:, 1] = np.bincount(bucket, minlength=buckets)
    np.add.at(changes[:, 2], bucket, 2 * k + 1)
    changes[:, 3] = np.bincount(bucket[starts], minlength=buckets)
    return np.cumsum(changes, axis=0)


def _first_actions(rng: np.random.Generator, arrival: Floats, rates: Floats, *, is_final: bool) -> _Actions:
    if is_final:
        user = np.flatnonzero(rng.random(len(arrival)) < rates)
        return _Actions(user, arrival[user])
    at = arrival + rng.standard_exponential(len(arrival)) / np.maximum(rates, np.finfo(float).tiny)
    user = np.flatnonzero(at < 1)
    return _Actions(user, at[user])


def _all_actions(rng: np.random.Generator, arrival: Floats, rates: Floats, *, is_final: bool) -> _Actions:
    left: NDArray[np.float64] = np.zeros_like(arrival) if is_final else 1 - arrival
    user = np.repeat(np.arange(len(arrival)), rng.poisson(rates if is_final else rates * left))
    # Of a Poisson process, the times of known many events are independent and even.
    at = arrival[user] + left[user] * rng.random(len(user))
    return _Actions(user, at[np.lexsort((at, user))])
