"""Triggers: which users are in which groups since when, and how often each of them did what since.

A user's triggers are a linked list through columns, so that the lists of all users of a batch are walked at once:
the n-th step visits the n-th trigger of every user that has so many.

A user of 3 triggers and 10 events has 33 numbers here, most of the memory of a worker. They stand in the narrowest type
that holds what is usual, and a column becomes wider when something comes that isn't: 48 bytes a trigger, not 76.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rtexp.core.columns import grown, ranks_in_runs, run_starts, stable_order, widened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rtexp.core.columns import Bools, Ints

_END = -1
_FREE = -1


class Triggers:
    """Columns by row of trigger, and the first trigger by row of user. Groups and events are numbers."""

    def __init__(self, events: int, join_delay_ms: int, grace_ms: int) -> None:
        self._join_delay_ms = join_delay_ms
        self._grace_ms = grace_ms
        self.head = np.empty(0, np.int32)
        """By row of user: its newest trigger, or -1."""
        self.user = np.empty(0, np.int32)
        """By row of trigger, as are all that follow; -1 where the row is free."""
        self.group = np.empty(0, np.int32)
        self.at_ms = np.empty(0, np.int64)
        self._arrived_after_ms: NDArray[Any] = np.empty(0, np.int32)  # since at_ms, as is the next
        self._ends_after_ms: NDArray[Any] = np.empty(0, np.int32)
        self._counts: NDArray[Any] = np.empty((0, events), np.uint16)  # one column per event
        self._next = np.empty(0, np.int32)
        self._used = 0
        self._free = np.empty(0, np.int64)
        self._earliest_end_ms: int | None = None

    @property
    def alive(self) -> int:
        """How many there are."""
        return self._used - len(self._free)

    def grow(self, users: int) -> None:
        """Make room for that many rows of users."""
        self.head = grown(self.head, users, _END)

    def widen(self, events: int) -> None:
        """Make room for that many events."""
        missing = events - self._counts.shape[1]
        self._counts = np.pad(self._counts, ((0, 0), (0, missing)))

    def arrival_ms(self, triggers: Ints) -> Ints:
        """Return when the activations that made these triggers arrived."""
        arrivals_ms: Ints = self.at_ms[triggers] + self._arrived_after_ms[triggers]
        return arrivals_ms

    def end_ms(self, triggers: Ints) -> Ints:
        """Return the ends of the periods of these triggers."""
        ends_ms: Ints = self.at_ms[triggers] + self._ends_after_ms[triggers]
        return ends_ms

    def counts(self, triggers: Ints) -> Ints:
        """Return what these triggers have counted, a column for each event."""
        return self._counts[triggers].astype(np.int64)

    def set_counts(self, triggers: Ints, events: Ints, counts: Ints) -> None:
        """Put counts where there are none yet."""
        self._counts = widened(self._counts, counts)
        self._counts[triggers, events] = counts

    def walk(self, users: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Yield (rows of ``users``, trigger of each), one trigger of every user at a time, until all are seen."""
        rows: Ints = np.arange(len(users))
        following = self.head[users]
        while (more := following != _END).any():
            rows = rows[more]
            triggers = following[more].astype(np.int64)
            yield rows, triggers
            following = self._next[triggers]

    def of(self, users: Ints) -> tuple[Ints, Ints]:
        """Return (rows of ``users``, trigger of each), all of them, in no order that means anything."""
        steps = list(self.walk(users))
        if not steps:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return np.concatenate([rows for rows, _ in steps]), np.concatenate([t for _, t in steps])

    def has_group(self, users: Ints, groups: Ints) -> Bools:
        """Tell which users have a trigger in the group asked for."""
        found = np.zeros(len(users), np.bool_)
        for rows, triggers in self.walk(users):
            found[rows[self.group[triggers] == groups[rows]]] = True
        return found

    def has_period(self, users: Ints, periods: Ints, period_of_group: Ints) -> Bools:
        """Tell which users have a trigger in any group of the period asked for."""
        found = np.zeros(len(users), np.bool_)
        for rows, triggers in self.walk(users):
            found[rows[period_of_group[self.group[triggers]] == periods[rows]]] = True
        return found

    def add(self, users: Ints, groups: Ints, at_ms: Ints, arrivals_ms: Ints, ends_ms: Ints) -> Ints:
        """Add triggers that aren't there yet, and return their rows; all counts are 0."""
        if users.size == 0:
            return users
        new = self._allocate(len(users))
        self.user[new] = users
        self.group[new] = groups
        self.at_ms[new] = at_ms
        self._arrived_after_ms = widened(self._arrived_after_ms, arrivals_ms - at_ms)
        self._arrived_after_ms[new] = arrivals_ms - at_ms
        self._ends_after_ms = widened(self._ends_after_ms, ends_ms - at_ms)
        self._ends_after_ms[new] = ends_ms - at_ms
        self._link(users, new)
        earliest_ms = int(ends_ms.min())
        if self._earliest_end_ms is None or earliest_ms < self._earliest_end_ms:
            self._earliest_end_ms = earliest_ms
        return new

    def join(self, users: Ints, times: Ints, arrivals: Ints) -> tuple[Ints, Ints]:
        """Return (rows of actions, trigger of each) for every trigger that an action counts for.

        The rows of one trigger come in the order of its actions: a trigger is met at the same step of the walk
        for all of them.
        """
        joined_rows, joined = [], []
        for rows, triggers in self.walk(users):
            # Everything as times since the trigger's own.
            since = self.at_ms[triggers]
            at, arrival, end = times[rows] - since, arrivals[rows] - since, self._ends_after_ms[triggers]
            counts = (
                (at >= 0)
                & (at < end)
                & (self._arrived_after_ms[triggers] <= arrival + self._join_delay_ms)
                & (arrival - self._grace_ms < end)
            )
            joined_rows.append(rows[counts])
            joined.append(triggers[counts])
        if not joined:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return np.concatenate(joined_rows), np.concatenate(joined)

    def count(self, triggers: Ints, events: Ints) -> tuple[Ints, Ints]:
        """Count one action a row; return an order of the rows, and in that order how many were counted before.

        "Before" is by trigger and event, over all earlier calls and the rows above. The order brings rows of
        the same trigger and event together.
        """
        width = self._counts.shape[1]
        places = triggers * width + events
        order = stable_order(places)
        places = places[order]
        starts = run_starts(places)
        before = self._counts.reshape(-1)[places] + ranks_in_runs(starts, len(places))
        totals = before[starts] + np.diff(starts, append=len(places))
        self._counts = widened(self._counts, totals)
        self._counts.reshape(-1)[places[starts]] = totals
        return order, before

    def end(self, watermark_ms: int) -> tuple[Ints, Ints] | None:
        """Drop triggers whose period and grace are over; return their users and the groups that have none left.

        None when nothing ended, which costs nothing to find out.
        """
        limit_ms = watermark_ms - self._grace_ms
        if self._earliest_end_ms is None or self._earliest_end_ms > limit_ms:
            return None
        used = slice(self._used)
        alive = self.user[used] != _FREE
        over = alive & (self.at_ms[used] + self._ends_after_ms[used] <= limit_ms)
        ended = np.flatnonzero(over)
        staying = np.flatnonzero(alive & ~over)
        users = np.unique(self.user[ended]).astype(np.int64)
        groups = np.setdiff1d(self.group[ended], self.group[staying]).astype(np.int64)
        self._relink(users, ended)
        self._earliest_end_ms = int(self.end_ms(staying).min()) if staying.size else None
        return users, groups

    def _relink(self, users: Ints, ended: Ints) -> None:
        """Take ``ended`` out of the lists of ``users``, and free their rows."""
        rows, triggers = self.of(users)
        self.user[ended] = _FREE
        self._counts[ended] = 0
        self._free = np.concatenate((self._free, ended))
        staying = self.user[triggers] != _FREE
        self.head[users] = _END
        self._link(users[rows[staying]], triggers[staying])

    def _link(self, users: Ints, triggers: Ints) -> None:
        """Put triggers before those that their users have."""
        if users.size == 0:
            return
        order = stable_order(users)
        users, triggers = users[order], triggers[order]
        starts = run_starts(users)
        self._next[triggers[1:]] = triggers[:-1]
        self._next[triggers[starts]] = self.head[users[starts]]
        lasts = np.append(starts[1:], len(users)) - 1
        self.head[users[lasts]] = triggers[lasts]

    def _allocate(self, rows: int) -> Ints:
        reused, self._free = self._free[:rows], self._free[rows:]
        first, self._used = self._used, self._used + rows - len(reused)
        # Zeros wherever nothing is read before it has been written: see `grown`.
        self.user = grown(self.user, self._used, 0)
        self.group = grown(self.group, self._used, 0)
        self.at_ms = grown(self.at_ms, self._used, 0)
        self._arrived_after_ms = grown(self._arrived_after_ms, self._used, 0)
        self._ends_after_ms = grown(self._ends_after_ms, self._used, 0)
        self._counts = grown(self._counts, self._used, 0)
        self._next = grown(self._next, self._used, 0)
        return np.concatenate((reused, np.arange(first, self._used)))
