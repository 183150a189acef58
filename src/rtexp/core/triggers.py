"""Triggers: which users are in which groups since when, and how often each of them did what since.

A user's triggers are a linked list through columns, so that the lists of all users of a batch are walked at once:
the n-th step visits the n-th trigger of every user that has so many. A step takes some 20 us however few users it
visits, so the few users with very many triggers (a crawler, a name that thousands share) have an index beside the
list: `Triggers.apart` tells them from the others.

A user of 3 triggers and 10 events has 33 numbers here, most of the memory of a worker. They stand in the narrowest type
that holds what is usual, and a column becomes wider when something comes that isn't: 48 bytes a trigger, not 76.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rtexp.core.columns import grown, ranks_in_runs, run_starts, stable_order, widened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from rtexp.core.columns import Bools, Ints

_END = -1
_FREE = -1
MANY = 64
"""Users with more triggers than this get an index, if a walk finds few of them .."""
FEW_USERS = 8
""".. that is this many, or twice as many after twice as many steps: more of them share the price of a step."""
INDEXED_USERS = 256
"""No more than this, as each is a step in Python for a batch in which it acts."""


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
        # What follows from the lists, and may be missing: the triggers of some users with many, by row of user.
        self._index: dict[int, Ints] = {}
        self._is_indexed = np.empty(0, np.bool_)

    @property
    def alive(self) -> int:
        """How many there are."""
        return self._used - len(self._free)

    def grow(self, users: int) -> None:
        """Make room for that many rows of users."""
        self.head = grown(self.head, users, _END)
        self._is_indexed = grown(self._is_indexed, users, False)

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

    def counted(self, triggers: Ints) -> tuple[Ints, Ints, Ints]:
        """Return (place among ``triggers``, event, count) of all that is counted, in this order.

        Most of 256 events no user ever did, so zeros are passed over as fast as may be: 0.4 ns each.
        """
        counts = self._counts[triggers].reshape(-1)
        places = np.flatnonzero(counts != 0)
        which, events = np.divmod(places, self._counts.shape[1])
        return which, events, counts[places].astype(np.int64)

    def set_counts(self, triggers: Ints, events: Ints, counts: Ints) -> None:
        """Put counts where there are none yet."""
        self._counts = widened(self._counts, counts)
        self._counts[triggers, events] = counts

    def apart(self, users: Ints) -> tuple[Ints, list[tuple[Ints, Ints]]]:
        """Return the rows of users that are walked; and of each other one (its rows, all of its triggers)."""
        rows: Ints = np.arange(len(users))
        if not self._index:
            return rows, []
        is_indexed = self._is_indexed[users]
        return rows[~is_indexed], self._indexed(users, np.flatnonzero(is_indexed))

    def _indexed(self, users: Ints, rows: Ints) -> list[tuple[Ints, Ints]]:
        """Return of each user, all with an index, (its rows among these, all of its triggers).

        Those come as a walk meets them, those that were added since the index was made at the end.
        """
        rows = rows[stable_order(users[rows])]
        parts = np.split(rows, run_starts(users[rows])[1:]) if rows.size else []
        return [(mine, self._index[int(users[mine[0]])]) for mine in parts]

    def walk(self, users: Ints, rows: Ints, apart: list[tuple[Ints, Ints]]) -> Iterator[tuple[Ints, Ints]]:
        """Yield (some of ``rows``, trigger of each), one trigger of every user at a time, until all are seen.

        Or until so few users are left that they get an index: then what wasn't seen of theirs is added to ``apart``.
        """
        following = self.head[users[rows]]
        step = 0
        while (more := following != _END).any():
            rows = rows[more]
            triggers = following[more].astype(np.int64)
            yield rows, triggers
            following = self._next[triggers]
            step += 1
            # At 64, 128, 256 and so on, to cost nothing beside the steps themselves.
            if step >= MANY and step & (step - 1) == 0 and self._index_users(np.unique(users[rows]), step):
                apart += [(mine, triggers[step:]) for mine, triggers in self._indexed(users, rows)]
                return

    def of(self, users: Ints) -> tuple[Ints, Ints]:
        """Return (rows of ``users``, trigger of each), all of them, in no order that means anything."""
        walked, indexed = self.apart(users)
        steps = list(self.walk(users, walked, indexed))
        steps += [(np.repeat(rows, len(mine)), np.tile(mine, len(rows))) for rows, mine in indexed]
        if not steps:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return np.concatenate([rows for rows, _ in steps]), np.concatenate([t for _, t in steps])

    def has_group(self, users: Ints, groups: Ints) -> Bools:
        """Tell which users have a trigger in the group asked for."""
        return self._has(users, groups, self.group.__getitem__)

    def has_period(self, users: Ints, periods: Ints, period_of_group: Ints) -> Bools:
        """Tell which users have a trigger in any group of the period asked for."""
        return self._has(users, periods, lambda triggers: period_of_group[self.group[triggers]])

    def _has(self, users: Ints, wanted: Ints, of_triggers: Callable[[Ints], NDArray[Any]]) -> Bools:
        found = np.zeros(len(users), np.bool_)
        walked, indexed = self.apart(users)
        for rows, triggers in self.walk(users, walked, indexed):
            found[rows[of_triggers(triggers) == wanted[rows]]] = True
        for rows, triggers in indexed:
            found[rows] |= np.isin(wanted[rows], of_triggers(triggers))
        return found

    def _index_users(self, users: Ints, steps: int) -> bool:
        """Give an index to users with many triggers, if they are few; say so."""
        if len(users) > min(FEW_USERS * steps // MANY, INDEXED_USERS - len(self._index)):
            return False
        following = self.head.item
        for user in users.tolist():
            found, trigger = [], following(user)
            while trigger != _END:
                found.append(trigger)
                trigger = self._next.item(trigger)
            self._index[user] = np.array(found, np.int64)
        self._is_indexed[users] = True
        return True

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

    def join(  # noqa: PLR0917 - one column each
        self,
        rows: Ints,
        users: Ints,
        times: Ints,
        arrivals: Ints,
        apart: list[tuple[Ints, Ints]],
        at_once: int,
    ) -> Iterator[tuple[Ints, Ints]]:
        """Yield (some of ``rows``, trigger of each) for every trigger that an action counts for, by a walk.

        Not many more than ``at_once`` are yielded together. Those of one trigger are, in the order of its actions: it
        is met at the same step of the walk for all of them. What isn't walked stands in ``apart`` afterwards (`walk`).
        """
        joined_rows: list[Ints] = []
        joined: list[Ints] = []
        waiting = 0
        for walked, triggers in self.walk(users, rows, apart):
            counts = self.joins(triggers, times[walked], arrivals[walked])
            joined_rows.append(walked[counts])
            joined.append(triggers[counts])
            waiting += len(joined[-1])
            if waiting >= at_once:
                yield np.concatenate(joined_rows), np.concatenate(joined)
                joined_rows, joined, waiting = [], [], 0
        if joined:
            yield np.concatenate(joined_rows), np.concatenate(joined)

    def joins(self, triggers: Ints, times: Ints, arrivals: Ints) -> Bools:
        """Tell of each pair whether the action counts for the trigger."""
        return self._joins(triggers, (times, times), (arrivals, arrivals))

    def sides(self, triggers: Ints, times: Ints, arrivals: Ints) -> tuple[Ints, Ints]:
        """Return those triggers for which all of the actions count, and those for which some may."""
        first, last = (times.min(), arrivals.min()), (times.max(), arrivals.max())
        all_count = self._joins(triggers, (first[0], last[0]), (first[1], last[1]))
        some_may = self._joins(triggers, (last[0], first[0]), (last[1], first[1]))
        return triggers[all_count], triggers[some_may & ~all_count]

    def _joins(self, triggers: Ints, times: tuple[Any, Any], arrivals: tuple[Any, Any]) -> Bools:
        """Compare the first of ``times`` and ``arrivals`` with the triggers' own, the second with their ends."""
        at_ms = self.at_ms[triggers]
        end_ms = at_ms + self._ends_after_ms[triggers]
        counts: Bools = (
            (at_ms <= times[0])
            & (times[1] < end_ms)
            & (at_ms + self._arrived_after_ms[triggers] <= arrivals[0] + self._join_delay_ms)
            & (arrivals[1] < end_ms + self._grace_ms)
        )
        return counts

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

    def count_all(self, triggers: Ints, events: Ints, more: Ints) -> Ints:
        """Count for each of these distinct triggers ``more[i]`` actions of ``events[i]``, distinct as well.

        Return how many were counted before, shape (triggers, events).
        """
        places = triggers[:, None] * self._counts.shape[1] + events
        before: Ints = self._counts.reshape(-1)[places].astype(np.int64)
        totals = before + more
        self._counts = widened(self._counts, totals)
        self._counts.reshape(-1)[places] = totals
        return before

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
        for user in users[self._is_indexed[users]].tolist():
            del self._index[user]
        self._is_indexed[users] = False
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
        if self._index:
            for rows, indexed in self.apart(users)[1]:
                self._index[int(users[rows[0]])] = np.concatenate((indexed, triggers[rows]))

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
