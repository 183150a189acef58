"""Repeats: the same action (user, event, time) that arrives again soon. For all actions of a batch at once.

Kept actions stand in one set per slot of arrival. A set is exact: an action is one int64 that names its user's
row, its event and its time, as long as the time lies within 2**32 ms (50 days) that move along with arrivals.
The few others, weeks late or with a row beyond 2**23 and up, stand in a plain Python set.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtexp.core.columns import grown, run_starts, stable_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rtexp.core.columns import Bools, Ints

_TIME_BITS = 32
_HALF = 1 << (_TIME_BITS - 1)
_NEVER = -1


class KeptActions(NamedTuple):
    """Kept actions of one slot, in columns."""

    slot: int
    users: Ints
    events: Ints
    times: Ints


class Repeats:
    """Which actions have been kept in the slots that may still matter. Users are rows, events their numbers."""

    def __init__(self, dedup_ms: int, events: int) -> None:
        self._dedup_ms = dedup_ms
        self._event_bits = max(events - 1, 0).bit_length()
        self._first_far_user = 1 << (63 - _TIME_BITS - self._event_bits)
        self._base_ms: int | None = None
        self._slots: dict[int, _KeySet] = {}
        self._far: defaultdict[int, set[tuple[int, int, int]]] = defaultdict(set)
        self._unsaved: list[KeptActions] = []
        self.newest_slot = np.empty(0, np.int32)
        """By row of user: the newest slot in which an action of the user was kept, or -1."""

    def grow(self, rows: int) -> None:
        """Make room for that many rows of users."""
        self.newest_slot = grown(self.newest_slot, rows, _NEVER)

    def keep(self, users: Ints, events: Ints, times: Ints, arrivals: Ints) -> Bools:
        """Tell which actions are no repeats of kept ones before them, and remember those.

        A kept action is the same one if user, event and time are equal and the slots differ by at most 1.
        """
        if users.size == 0:
            return np.empty(0, np.bool_)
        self._follow(int(arrivals.max()))
        slots = arrivals // self._dedup_ms
        keys, is_far = self._keys(users, events, times)
        if is_far.any():
            kept = np.empty(len(users), np.bool_)
            near = np.flatnonzero(~is_far)
            kept[near] = self._keep_near(keys[near], slots[near])
            far = np.flatnonzero(is_far)
            kept[far] = self._keep_far(users[far], events[far], times[far], slots[far])
        else:
            kept = self._keep_near(keys, slots)
        self._note(kept, slots, users, events, times)
        return kept

    def remember(self, actions: KeptActions) -> None:
        """Take over actions that were kept before."""
        if self._base_ms is None:
            self._follow((actions.slot + 1) * self._dedup_ms)
        keys, is_far = self._keys(actions.users, actions.events, actions.times)
        if not is_far.all():
            self._slots.setdefault(actions.slot, _KeySet()).add(np.sort(keys[~is_far]))
        for row in np.flatnonzero(is_far).tolist():
            self._far[actions.slot].add(
                (int(actions.users[row]), int(actions.events[row]), int(actions.times[row]))
            )
        np.maximum.at(self.newest_slot, actions.users, np.int32(actions.slot))

    def end_before(self, slot: int) -> list[int]:
        """Forget older slots; return their numbers, of those that held something."""
        ended = sorted(s for s in {*self._slots, *self._far} if s < slot)
        for old in ended:
            self._slots.pop(old, None)
            self._far.pop(old, None)
        if ended:
            self._unsaved = [actions for actions in self._unsaved if actions.slot >= slot]
        return ended

    def take_unsaved(self) -> list[KeptActions]:
        """Return what was kept since the last call, but for slots that ended, one value a slot."""
        taken, self._unsaved = self._unsaved, []
        by_slot: defaultdict[int, list[KeptActions]] = defaultdict(list)
        for actions in taken:
            by_slot[actions.slot].append(actions)
        return [
            KeptActions(
                slot,
                np.concatenate([p.users for p in parts]),
                np.concatenate([p.events for p in parts]),
                np.concatenate([p.times for p in parts]),
            )
            for slot, parts in sorted(by_slot.items())
        ]

    def entries(self) -> Iterator[KeptActions]:
        """Yield all that is remembered."""
        for slot, keys in self._slots.items():
            yield from (self._unpacked(slot, run) for run in keys.runs)
        for slot, far in self._far.items():
            users, events, times = np.array(sorted(far), np.int64).reshape(-1, 3).T
            yield KeptActions(slot, users, events, times)

    def of(self, user: int) -> Iterator[KeptActions]:
        """Yield what is remembered of one user; runs are sorted by user, so that little of them is read."""
        if user < self._first_far_user - 1:
            bounds = np.array([user, user + 1], np.int64) << self._event_bits << _TIME_BITS
            for slot, keys in self._slots.items():
                found = np.concatenate(
                    [run[slice(*np.searchsorted(run, bounds).tolist())] for run in keys.runs]
                )
                if found.size:
                    yield self._unpacked(slot, found)
        for slot, far in self._far.items():
            if mine := sorted(action for action in far if action[0] == user):
                yield KeptActions(slot, *np.array(mine, np.int64).reshape(-1, 3).T)

    def _unpacked(self, slot: int, run: Ints) -> KeptActions:
        who = run >> _TIME_BITS
        times = (run & ((1 << _TIME_BITS) - 1)) + (self._base_ms or 0)
        return KeptActions(slot, who >> self._event_bits, who & ((1 << self._event_bits) - 1), times)

    def _follow(self, arrival_ms: int) -> None:
        """Move the window of times so that it lies around ``arrival_ms``, when that has moved by a quarter of it."""
        if self._base_ms is not None and abs(arrival_ms - _HALF - self._base_ms) < _HALF // 2:
            return
        held = list(self.entries())
        self._slots.clear()
        self._far.clear()
        self._base_ms = arrival_ms - _HALF
        for actions in held:
            self.remember(actions)

    def _keys(self, users: Ints, events: Ints, times: Ints) -> tuple[Ints, Bools]:
        """Return exact keys, and which rows have none because they don't fit into 63 bits."""
        since = times - (self._base_ms or 0)
        keys = ((users << self._event_bits | events) << _TIME_BITS) | since
        is_far = (since >> _TIME_BITS != 0) | (users >= self._first_far_user)
        return keys, is_far

    def _keep_near(self, keys: Ints, slots: Ints) -> Bools:
        if keys.size == 0:
            return np.empty(0, np.bool_)
        first, last = int(slots.min()), int(slots.max())
        fresh = np.ones(len(keys), np.bool_)
        if first == last:
            self._drop_known(fresh, keys, first, None)
            by_slot: list[tuple[int, Ints | None]] = [(first, None)]
        else:
            order = stable_order(slots)
            parts = np.split(order, run_starts(slots[order])[1:])
            by_slot = [(int(slots[rows[0]]), rows) for rows in parts]
            for slot, rows in by_slot:
                self._drop_known(fresh, keys[rows], slot, rows)
        _drop_repeats_within(fresh, keys, slots)
        for slot, some in by_slot:
            added = keys[fresh] if some is None else keys[some[fresh[some]]]
            if added.size:
                self._slots.setdefault(slot, _KeySet()).add(np.sort(added))
        return fresh

    def _drop_known(self, fresh: Bools, keys: Ints, slot: int, rows: Ints | None) -> None:
        """Clear ``fresh`` where a key of this slot was kept by an earlier batch, in this slot or beside it."""
        for other in (slot - 1, slot, slot + 1):
            known = self._slots.get(other)
            if known is not None:
                found = known.find(keys)
                fresh[found if rows is None else rows[found]] = False

    def _keep_far(self, users: Ints, events: Ints, times: Ints, slots: Ints) -> Bools:
        kept = np.empty(len(users), np.bool_)
        rows = zip(users.tolist(), events.tolist(), times.tolist(), slots.tolist(), strict=True)
        for row, (user, event, time, slot) in enumerate(rows):
            key = (user, event, time)
            kept[row] = not any(key in self._far.get(s, ()) for s in (slot - 1, slot, slot + 1))
            if kept[row]:
                self._far[slot].add(key)
        return kept

    def _note(self, kept: Bools, slots: Ints, users: Ints, events: Ints, times: Ints) -> None:
        if not kept.all():
            slots, users, events, times = slots[kept], users[kept], events[kept], times[kept]
        if users.size == 0:
            return
        np.maximum.at(self.newest_slot, users, slots.astype(np.int32))
        if int(slots.min()) == int(slots.max()):
            self._unsaved.append(KeptActions(int(slots[0]), users, events, times))
            return
        order = stable_order(slots)
        for rows in np.split(order, run_starts(slots[order])[1:]):
            self._unsaved.append(KeptActions(int(slots[rows[0]]), users[rows], events[rows], times[rows]))


def _drop_repeats_within(fresh: Bools, keys: Ints, slots: Ints) -> None:
    """Clear ``fresh`` for repeats of fresh rows of the same batch that stand before them."""
    candidates = keys[fresh]
    ordered = np.sort(candidates)
    doubled = ordered[1:][ordered[1:] == ordered[:-1]]
    if doubled.size == 0:
        return
    where = np.minimum(np.searchsorted(doubled, keys), len(doubled) - 1)
    rows = np.flatnonzero(fresh & (doubled[where] == keys))
    # In each round the first row of a key that is left is kept, and every later one within a slot of it falls.
    # What is left then is too far from all kept ones of its key, so the next first one is kept too.
    while rows.size:
        order = stable_order(where[rows])
        rows = rows[order]
        starts = run_starts(keys[rows])
        sizes = np.diff(starts, append=len(rows))
        firsts = np.repeat(rows[starts], sizes)
        near = np.abs(slots[rows] - slots[firsts]) <= 1
        falls = near & (rows != firsts)
        fresh[rows[falls]] = False
        rows = rows[~near]


class _KeySet:
    """A set of int64 keys: sorted runs of doubling sizes, and a filter before them.

    Almost no action is a repeat, and the filter (one byte looked up) says so for seven of eight that aren't; only
    the rest is searched for. It may say "perhaps" wrongly, never "no", so the answer stays exact.
    """

    def __init__(self) -> None:
        self.runs: list[Ints] = []
        self._size = 0
        self._bits = 0
        self._filter: NDArray[np.bool_] = np.empty(0, np.bool_)

    def add(self, ordered: Ints) -> None:
        """Add sorted keys, none of which is in the set."""
        while self.runs and len(self.runs[-1]) < 2 * len(ordered):
            ordered = np.sort(np.concatenate((self.runs.pop(), ordered)))
        self.runs.append(ordered)
        self._size = sum(map(len, self.runs))
        if self._size << 3 > len(self._filter):
            self._bits = max(self._size << 4, 1 << 10).bit_length()
            self._filter = np.zeros(1 << self._bits, np.bool_)
            for run in self.runs:
                self._filter[self._hash(run)] = True
        else:
            self._filter[self._hash(ordered)] = True

    def find(self, keys: Ints) -> Ints:
        """Return the positions of those keys that are in the set."""
        perhaps = np.flatnonzero(self._filter[self._hash(keys)])
        if perhaps.size == 0:
            return perhaps
        wanted = keys[perhaps]
        found = np.zeros(len(perhaps), np.bool_)
        for run in self.runs:
            at = np.minimum(np.searchsorted(run, wanted), len(run) - 1)
            found |= run[at] == wanted
        return perhaps[found]

    def _hash(self, keys: Ints) -> NDArray[np.uint64]:
        # Fibonacci hashing: the high bits of the product depend on all bits of the key.
        return keys.view(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15) >> np.uint64(64 - self._bits)
