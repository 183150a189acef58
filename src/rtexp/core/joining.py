"""Joining actions with the triggers of their users: what that adds to the triggers' counts, and to cells.

Most users have few triggers and are walked together. Of a user with very many, all actions of a batch mostly count
for each trigger or for none: those are counted once for all triggers, so that the price is by cell and not by join.
One with 10,000 triggers and 15,000 actions in a batch has 150 million joins, and some 100,000 cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtexp.core.columns import ranks_in_runs, run_starts, stable_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtexp.core.columns import Ints
    from rtexp.core.deltas import PendingCells
    from rtexp.core.triggers import Triggers

PAIRS_AT_ONCE = 1_000_000
"""Of actions with triggers, in some 100 MB."""


class Actions(NamedTuple):
    """Columns of equal length, in order."""

    users: Ints
    """Rows."""
    events: Ints
    """Numbers."""
    times: Ints
    arrivals: Ints

    def some(self, rows: Ints) -> Actions:
        """Return some of them."""
        return Actions(*(column[rows] for column in self))


class Joiner:
    """Counts actions for triggers; what is added to cells is left in ``pending``."""

    def __init__(self, triggers: Triggers, pending: PendingCells) -> None:
        self._triggers = triggers
        self._pending = pending

    def join(self, actions: Actions, entries: NDArray[np.uint32]) -> Ints:
        """Count each action for every trigger that it belongs to; return the rows of the users of those that count.

        ``entries`` are those of sketches, by row of user.
        """
        walked, apart = self._triggers.apart(actions.users)
        joined = self._triggers.join(
            walked, actions.users, actions.times, actions.arrivals, apart, PAIRS_AT_ONCE
        )
        counted = [self._count(actions, entries, *pairs) for pairs in joined]
        for rows, triggers in apart:  # after the walk, which adds to them
            counted.append(actions.users[rows[:1]])
            self._join_one(actions.some(rows), triggers, entries)
        return np.concatenate(counted) if counted else actions.users[:0]

    def _join_one(self, actions: Actions, triggers: Ints, entries: NDArray[np.uint32]) -> None:
        """Do so for actions of one user, who has these triggers."""
        whole, partly = self._triggers.sides(triggers, actions.times, actions.arrivals)
        if whole.size:
            self._count_whole(actions, whole, entries)
        if partly.size:
            at_once = max(1, PAIRS_AT_ONCE // len(partly))
            for first in range(0, len(actions.times), at_once):
                rows = np.arange(first, min(first + at_once, len(actions.times)))
                pairs, paired = np.repeat(rows, len(partly)), np.tile(partly, len(rows))
                joined = self._triggers.joins(paired, actions.times[pairs], actions.arrivals[pairs])
                self._count(actions, entries, pairs[joined], paired[joined])

    def _count(self, actions: Actions, entries: NDArray[np.uint32], rows: Ints, triggers: Ints) -> Ints:
        """Count actions, each for the trigger beside it; those of a trigger are in order. Return their users' rows."""
        order, before = self._triggers.count(triggers, actions.events[rows])
        rows, triggers = rows[order], triggers[order]
        users = actions.users[rows]
        self._pending.add_actions(
            self._triggers.group[triggers].astype(np.int64),
            actions.events[rows],
            actions.times[rows],
            before,
            users,
            entries,
        )
        return users[run_starts(users)]

    def _count_whole(self, actions: Actions, triggers: Ints, entries: NDArray[np.uint32]) -> None:
        """Count all of one user's actions for each of these triggers, which are of distinct groups."""
        order = stable_order(actions.events)
        events = actions.events[order]
        starts = run_starts(events)
        ranks = ranks_in_runs(starts, len(events))
        before = self._triggers.count_all(triggers, events[starts], np.diff(starts, append=len(events)))
        self._pending.add_actions_of_one(
            self._triggers.group[triggers].astype(np.int64),
            events,
            actions.times[order],
            ranks,
            before,
            entries[actions.users[0]],
        )
