"""The generated input of all measurements, and the cells that it must give. Pure: seeded, no I/O, no clock.

200,000 users are in 1 to 5 of 100 experiments each (3 on average), and their activations lie in the hour before
the first action; actions come evenly over six hours, of ten kinds. So an action counts for three triggers. Every
(user, event, time) is distinct, and nobody reaches the cap. That is the even case; what else there is has a shape:
more groups or events, an experiment that most are in, a user who acts for many, who is in thousands of groups, or who
says the same again and again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

HOUR_MS = 3_600_000
BUCKET_MS = 900_000
START_MS = 472_222 * HOUR_MS
"""Of all periods: 2023-11-14T22:00Z."""
FIRST_ACTION_MS = START_MS + HOUR_MS
ACTION_HOURS = 6
EVENTS = (
    "search", "click", "save", "closeup", "share", "follow", "hide", "scroll", "login", "purchase",
)  # fmt: skip
GROUPS = ("control", "treatment")
GROUPS_OF_EXTRA = 3
"""Of experiments that only one user is in."""
REPEAT_MS = 60_000
THE_ONE = 0
"""The user who is unlike the others, if any is."""
MOST_EXPERIMENTS_OF_A_USER = 5


class CellKey(NamedTuple):
    """Of the one period."""

    experiment: str
    group: str
    event: str
    bucket_start_ms: int


class CellCounts(NamedTuple):
    """What SQL must say of a cell; exposures only where ``event`` is empty."""

    volume: int
    actors: int
    sum_squares: int
    exposures: int


@dataclass(frozen=True)
class Workload:
    """So many users and actions; equal arguments give equal records."""

    users: int = 200_000
    actions: int = 1_000_000
    experiments: int = 100
    seed: int = 7
    groups: int = 2
    """Of each experiment."""
    events: int = len(EVENTS)
    """Kinds of actions."""
    cap_per_hour: int = 1000
    hot_experiment: float = 0.0
    """Share of all memberships that are in the first experiment: then everyone is in it, and few in another."""
    hot_user: float = 0.0
    """Share of the actions of `hot_hours` that one user does."""
    hot_hours: int = ACTION_HOURS
    repeats: bool = False
    """Whether that one's actions of a minute and an event have one time, so that all but the first are repeats."""
    triggers: int = 0
    """So many groups that one user is in besides, and nobody else; each activation of them comes twice."""

    def __post_init__(self) -> None:
        if self.actions > ACTION_HOURS * HOUR_MS:
            raise ValueError("more actions than milliseconds: two would have the same time")
        if self.experiments < MOST_EXPERIMENTS_OF_A_USER:
            raise ValueError(f"a user may be in {MOST_EXPERIMENTS_OF_A_USER} experiments")

    @property
    def event_names(self) -> tuple[str, ...]:
        """All kinds of actions."""
        return (*EVENTS, *(f"event{number:03d}" for number in range(len(EVENTS), self.events)))[: self.events]

    def experiment_names(self) -> list[str]:
        """Return the names of all experiments that many are in."""
        return [f"exp{number:03d}" for number in range(self.experiments)]

    def definitions(self) -> dict[str, tuple[str, ...]]:
        """Return by experiment its groups; those that only one user is in come last."""
        extra = -(-self.triggers // GROUPS_OF_EXTRA)
        return dict.fromkeys(self.experiment_names(), _groups(self.groups)) | {
            f"one{number:05d}": _groups(GROUPS_OF_EXTRA) for number in range(extra)
        }

    def _group_names(self) -> list[tuple[str, str]]:
        """Return (experiment, group) by number of group."""
        return [(name, group) for name, groups in self.definitions().items() for group in groups]

    def memberships(self) -> Ints:
        """Return, by user, up to five groups (of the first experiment first); -1 where there are fewer."""
        random = np.random.default_rng((self.seed, 0))
        # Distinct experiments: a random start, and steps whose sum stays below their number.
        steps = random.integers(
            1, self.experiments // MOST_EXPERIMENTS_OF_A_USER + 1, (self.users, MOST_EXPERIMENTS_OF_A_USER)
        )
        places = (
            random.integers(0, self.experiments, (self.users, 1)) + np.cumsum(steps, axis=1)
        ) % self.experiments
        chosen = random.integers(0, self.groups, places.shape)
        many = random.integers(1, MOST_EXPERIMENTS_OF_A_USER + 1, (self.users, 1))
        if self.hot_experiment:
            places[:, 1] = 1 + places[:, 0] % (self.experiments - 1)
            places[:, 0] = 0
            many = 1 + (random.random((self.users, 1)) < 1 / self.hot_experiment - 1)
        groups = self.groups * places + chosen
        return np.where(np.arange(MOST_EXPERIMENTS_OF_A_USER) < many, groups, -1)

    def activations(self) -> tuple[Ints, Ints, Ints]:
        """Return users, groups and times of all activations, in order of time."""
        memberships = self.memberships()
        users, slots = np.nonzero(memberships >= 0)
        random = np.random.default_rng((self.seed, 1))
        times = np.sort(random.integers(START_MS, FIRST_ACTION_MS, len(users)))
        order = random.permutation(len(users))
        users, slots = users[order], slots[order]
        own = np.tile(self.experiments * self.groups + np.arange(self.triggers), 2)
        own_times = START_MS + np.arange(len(own)) * HOUR_MS // max(len(own), 1)
        times = np.concatenate((times, own_times))
        order = np.argsort(times, kind="stable")
        groups = np.concatenate((memberships[users, slots], own))[order]
        return np.concatenate((users, np.full(len(own), THE_ONE)))[order], groups, times[order]

    def action_columns(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Return users, events, times and arrivals of all actions, in order of arrival."""
        random = np.random.default_rng((self.seed, 2))
        users = random.integers(0, self.users, self.actions)
        events = random.integers(0, self.events, self.actions)
        arrivals = FIRST_ACTION_MS + np.arange(self.actions) * (ACTION_HOURS * HOUR_MS) // self.actions
        if self.hot_user:
            is_hot = random.random(self.actions) < self.hot_user
            users[is_hot & (arrivals < FIRST_ACTION_MS + self.hot_hours * HOUR_MS)] = THE_ONE
        times = arrivals
        if self.repeats:
            times = np.where(users == THE_ONE, arrivals // REPEAT_MS * REPEAT_MS, arrivals)
        return users, events, times, arrivals

    def activation_records(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (time, key, value) of all activations."""
        names = self._group_names()
        for user, group, at_ms in zip(*(column.tolist() for column in self.activations()), strict=True):
            key = b"u%07d" % user
            value = b'{"user_id":"%s","experiment":"%s","group":"%s","ts":%d,"ramp_ts":%d}' % (
                key, names[group][0].encode(), names[group][1].encode(), at_ms, START_MS,
            )  # fmt: skip
            yield at_ms, key, value

    def action_records(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (time, key, value) of all actions; a value has about 170 bytes, most of them in unused fields."""
        pins = np.random.default_rng((self.seed, 3)).integers(10**17, 10**18, self.actions).tolist()
        events = [event.encode() for event in self.event_names]
        columns = (column.tolist() for column in self.action_columns())
        for (user, event, at_ms, arrival_ms), pin in zip(zip(*columns, strict=True), pins, strict=True):
            key = b"u%07d" % user
            value = (
                b'{"user_id":"%s","event":"%s","ts":%d,"app":"%s","surface":"home","pin_id":"%d",'
                b'"country":"%s","session":"%016x","v":%d}'
            ) % (
                key, events[event], at_ms, b"ios" if user & 1 else b"android", pin,
                b"US" if user % 3 else b"DE", pin * 31 & 0xFFFF_FFFF_FFFF_FFFF, 300 + user % 50,
            )  # fmt: skip
            yield arrival_ms, key, value

    def cells(self) -> Mapping[CellKey, CellCounts]:
        """Return what must stand in SQL, computed from the columns alone.

        Every trigger of a user precedes all of the user's actions, so an action's place among the user's actions
        of its event is the same for each of them.
        """
        users, events, times = self._counted_actions()
        places = _places(users * self.events + events)
        names = self._group_names()
        buckets = 4 * (1 + ACTION_HOURS + 1)
        shape = (len(names), self.events + 1, buckets)
        sums = np.zeros((4, *shape), np.int64)
        at = events * buckets + (times - START_MS) // BUCKET_MS
        memberships = self.memberships()
        for slot in range(MOST_EXPERIMENTS_OF_A_USER):
            groups = memberships[users, slot]
            joined = groups >= 0
            _add(sums[:3], groups[joined] * (self.events + 1) * buckets + at[joined], places[joined])
        if self.triggers:
            mine = users == THE_ONE
            own = np.zeros((3, *shape[1:]), np.int64)
            _add(own, at[mine], places[mine])
            sums[:3, self.experiments * self.groups :][:, : self.triggers] += own[:, None]
        once = self._first_activations()
        np.add.at(sums[3, :, self.events], once, 1)
        return _cells(sums, names, (*self.event_names, ""))

    def _counted_actions(self) -> tuple[Ints, Ints, Ints]:
        """Return users, events and times of those that are no repeats, and within the cap."""
        users, events, times, arrivals = self.action_columns()
        if self.repeats:
            _, firsts = np.unique((users * self.events + events) << 32 | times - START_MS, return_index=True)
            rows = np.sort(firsts)
            users, events, times, arrivals = users[rows], events[rows], times[rows], arrivals[rows]
        if self.cap_per_hour:
            within = _places(users << 32 | arrivals // HOUR_MS) < self.cap_per_hour
            users, events, times = users[within], events[within], times[within]
        return users, events, times

    def _first_activations(self) -> tuple[Ints, Ints]:
        """Return groups and buckets of those activations that make a trigger."""
        users, groups, times = self.activations()
        _, firsts = np.unique(users << 32 | groups, return_index=True)
        return groups[firsts], (times[firsts] - START_MS) // BUCKET_MS

    def describe(self) -> str:
        """Return the arguments as JSON, for a report."""
        return json.dumps(self.__dict__)


def _groups(number: int) -> tuple[str, ...]:
    return (*GROUPS, *(f"treatment-{more}" for more in range(2, number)))


def _places(keys: Ints) -> Ints:
    """Return for each row how many of the same key stand before it."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    places = np.empty(len(keys), np.int64)
    places[order] = np.arange(len(keys)) - np.repeat(starts, np.diff(starts, append=len(keys)))
    return places


def _add(sums: Ints, at: Ints, places: Ints) -> None:
    """Add volume, actors and sums of squares of actions that have these places among a user's of their event."""
    for measure, weights in enumerate((np.ones(len(at)), places == 0, 2 * places + 1)):
        found = np.bincount(at, weights, minlength=sums[measure].size)
        sums[measure] += found.astype(np.int64).reshape(sums.shape[1:])


def _cells(sums: Ints, groups: list[tuple[str, str]], events: tuple[str, ...]) -> dict[CellKey, CellCounts]:
    found = np.argwhere(sums.any(axis=0))
    return {
        CellKey(*groups[group], events[event], START_MS + bucket * BUCKET_MS): CellCounts(*counts)
        for (group, event, bucket), counts in zip(found.tolist(), sums[:, *found.T].T.tolist(), strict=True)
    }
