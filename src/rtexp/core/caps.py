"""The cap: how many kept actions of a user count in an hour of arrival, for all users at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtexp.core.buckets import HOUR_MS
from rtexp.core.columns import grown, ranks_in_runs, run_starts, stable_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtexp.core.columns import Bools, Ints

NO_HOUR = -1
_ONE = np.int32(1)  # of the type of the counters: otherwise `add.at` is 40 times slower


class Caps:
    """By row of user: the two newest hours in which the user acted, and how many kept actions each has."""

    def __init__(self, cap_per_hour: int) -> None:
        self._cap = cap_per_hour
        self.newest = np.empty(0, np.int32)
        self.newest_count = np.empty(0, np.int32)
        self.older = np.empty(0, np.int32)
        self.older_count = np.empty(0, np.int32)

    def grow(self, rows: int) -> None:
        """Make room for that many rows of users."""
        self.newest = grown(self.newest, rows, NO_HOUR)
        self.newest_count = grown(self.newest_count, rows, 0)
        self.older = grown(self.older, rows, NO_HOUR)
        self.older_count = grown(self.older_count, rows, 0)

    def admit(self, users: Ints, arrivals: Ints) -> Bools:
        """Number the actions in order; tell which of them are within the cap, or of an hour too old to have one."""
        admitted = np.ones(len(users), np.bool_)
        if self._cap == 0 or users.size == 0:
            return admitted
        hours = arrivals // HOUR_MS
        if int(hours.min()) == int(hours.max()):
            return self._admit_one_hour_each(users, hours)
        for rows in _rounds(users, hours):
            admitted[rows] = self._admit_one_hour_each(users[rows], hours[rows])
        return admitted

    def _admit_one_hour_each(self, users: Ints, hours: Ints) -> Bools:
        """Like `admit`, where all actions of a user lie in one hour (users may differ in theirs)."""
        # Assignments by a user's row repeat for each of its actions; as these share the hour, all write the same.
        is_new = hours > self.newest[users]
        if is_new.any():
            opening = users[is_new]
            self.older[opening] = self.newest[opening]
            self.older_count[opening] = self.newest_count[opening]
            self.newest[opening] = hours[is_new]
            self.newest_count[opening] = 0
        is_newest = hours == self.newest[users]
        if is_newest.all():
            np.add.at(self.newest_count, users, _ONE)
            return self._within(users, self.newest_count[users])
        is_between = ~is_newest & (hours > self.older[users])
        opening = users[is_between]
        self.older[opening] = hours[is_between]
        self.older_count[opening] = 0
        is_older = hours == self.older[users]
        np.add.at(self.newest_count, users[is_newest], _ONE)
        np.add.at(self.older_count, users[is_older], _ONE)
        # A third, still older hour has no counter: 0 actions are within every cap.
        totals = np.where(is_newest, self.newest_count[users], np.where(is_older, self.older_count[users], 0))
        return self._within(users, totals)

    def _within(self, users: Ints, totals: NDArray[np.integer]) -> Bools:
        """Tell which actions are numbered up to the cap, given how many their user has with all of these."""
        within = totals <= self._cap
        if within.all():
            return within
        rows = np.flatnonzero(~within)
        order = stable_order(users[rows])
        starts = run_starts(users[rows][order])
        from_end = np.empty(len(rows), np.int64)
        sizes = np.repeat(np.diff(starts, append=len(rows)), np.diff(starts, append=len(rows)))
        from_end[order] = sizes - 1 - ranks_in_runs(starts, len(rows))
        within[rows] = totals[rows] - from_end <= self._cap
        return within


def _rounds(users: Ints, hours: Ints) -> list[Ints]:
    """Cut rows into rounds in each of which a user has one hour; a user's rows keep their order over all rounds."""
    order = stable_order(users)
    by_user, by_hour = users[order], hours[order]
    starts = run_starts(by_user)
    turns = np.concatenate(([0], np.cumsum(by_hour[1:] != by_hour[:-1])))
    sizes = np.diff(starts, append=len(users))
    round_of = np.empty(len(users), np.int64)
    round_of[order] = turns - np.repeat(turns[starts], sizes)
    by_round = stable_order(round_of)
    return np.split(by_round, run_starts(round_of[by_round])[1:])
