"""Counts: all that the statistics ever see of a group, as whole numbers that add exactly."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple

from rtexp.statistics.undefined import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable


class Counts(NamedTuple):
    """What the users of one group did of one event since the ramp, or a change of it; x is a user's actions.

    Changes add up in any order, over buckets and over partitions by user, and may be negative. Add them with `total`:
    ``+`` would concatenate the tuples.
    """

    n: int
    """Users exposed, whether they acted or not."""
    s1: int
    """Sum of x: the volume."""
    s2: int
    """Sum of x squared, for the variance of x."""
    a: int
    """Users with x > 0."""


FIRST_EXPOSURE = Counts(1, 0, 0, 0)
"""The change when a user is first exposed; further exposures change nothing."""


def total(parts: Iterable[Counts]) -> Counts:
    """Return the sum of counts or changes; of none of them, zero.

    >>> total([FIRST_EXPOSURE, acted(0), acted(1)])
    Counts(n=1, s1=2, s2=4, a=1)
    """
    n = s1 = s2 = a = 0
    for part in parts:
        n, s1, s2, a = n + part.n, s1 + part.s1, s2 + part.s2, a + part.a
    return Counts(n, s1, s2, a)


def recounted(actions_by_user: Iterable[int], cap: int | None = None) -> Counts:
    """Count a group anew from the actions of each of its users: what the changes below must always sum up to."""
    capped = [actions if cap is None else min(actions, cap) for actions in actions_by_user]
    return Counts(len(capped), sum(capped), sum(x * x for x in capped), sum(x > 0 for x in capped))


def acted(before: int, cap: int | None = None) -> Counts:
    """Return the change when a user with ``before`` actions acts once more.

    With a ``cap`` no user counts for more actions than that, so that a single one can't carry a group's mean.
    """
    _check_actions(before)
    old, new = (before, before + 1) if cap is None else (min(before, cap), min(before + 1, cap))
    return Counts(0, new - old, new * new - old * old, int(old == 0 < new))


def undone(before: int) -> Counts:
    """Return the change when one action of a user who has ``before`` of them turns out to be a repeat."""
    _check_actions(before - 1)
    return Counts(0, -1, -(2 * before - 1), -int(before == 1))


def retracted(actions: int) -> Counts:
    """Return the change when a user with that many actions is taken out, such as a bot that is found later."""
    _check_actions(actions)
    return Counts(-1, -actions, -actions * actions, -int(actions > 0))


def violation(counts: Counts) -> Reason | None:
    """Return `Reason.INCONSISTENT_COUNTS` if no users can have these counts, otherwise None.

    Sums of other values than whole actions may be given; only for whole numbers S1 and S2 must both be even or odd.
    """
    n, s1, s2, a = exact(counts)
    possible = 0 <= a <= n and a <= s1 <= s2 and s1 * s1 <= a * s2 and (a > 0 or s2 == 0)
    if possible and isinstance(s1, int) and isinstance(s2, int):
        possible = (s2 - s1) % 2 == 0  # x squared and x are both even or both odd
    return None if possible else Reason.INCONSISTENT_COUNTS


def exact(counts: Counts) -> Counts:
    """Return the counts as Python's unbounded integers: numpy's would overflow silently in n * S2 or S1 squared."""
    if all(type(value) is int for value in counts):  # nearly always, and a tenth of the time of what follows
        return counts
    return Counts(*(int(value) if isinstance(value, Integral) else value for value in counts))


def _check_actions(actions: int) -> None:
    if actions < 0:
        raise ValueError("a user can't have fewer than 0 actions: this change was applied once too often")
