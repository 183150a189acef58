"""The generated input of all measurements, and the cells that it must give. Pure: seeded, no I/O, no clock.

200,000 users are in 1 to 5 of 100 experiments each (3 on average), and their activations lie in the hour before
the first action; actions come evenly over six hours, of ten kinds. So an action counts for three triggers. Every
(user, event, time) is distinct, and nobody reaches the cap.
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

    def __post_init__(self) -> None:
        if self.actions > ACTION_HOURS * HOUR_MS:
            raise ValueError("more actions than milliseconds: two would have the same time")
        if self.experiments < MOST_EXPERIMENTS_OF_A_USER:
            raise ValueError(f"a user may be in {MOST_EXPERIMENTS_OF_A_USER} experiments")

    def experiment_names(self) -> list[str]:
        """Return the names of all experiments."""
        return [f"exp{number:03d}" for number in range(self.experiments)]

    def memberships(self) -> Ints:
        """Return, by user, up to five groups (2 * experiment + group); -1 where there are fewer."""
        random = np.random.default_rng((self.seed, 0))
        # Distinct experiments: a random start, and steps whose sum stays below their number.
        steps = random.integers(
            1, self.experiments // MOST_EXPERIMENTS_OF_A_USER + 1, (self.users, MOST_EXPERIMENTS_OF_A_USER)
        )
        places = (
            random.integers(0, self.experiments, (self.users, 1)) + np.cumsum(steps, axis=1)
        ) % self.experiments
        groups = 2 * places + random.integers(0, 2, places.shape)
        many = random.integers(1, MOST_EXPERIMENTS_OF_A_USER + 1, (self.users, 1))
        return np.where(np.arange(MOST_EXPERIMENTS_OF_A_USER) < many, groups, -1)

    def activations(self) -> tuple[Ints, Ints, Ints]:
        """Return users, groups and times of all activations, in order of time."""
        memberships = self.memberships()
        users, slots = np.nonzero(memberships >= 0)
        random = np.random.default_rng((self.seed, 1))
        times = np.sort(random.integers(START_MS, FIRST_ACTION_MS, len(users)))
        order = random.permutation(len(users))
        users, slots = users[order], slots[order]
        return users, memberships[users, slots], times

    def action_columns(self) -> tuple[Ints, Ints, Ints]:
        """Return users, events and times of all actions, in order of time."""
        random = np.random.default_rng((self.seed, 2))
        users = random.integers(0, self.users, self.actions)
        events = random.integers(0, len(EVENTS), self.actions)
        times = FIRST_ACTION_MS + np.arange(self.actions) * (ACTION_HOURS * HOUR_MS) // self.actions
        return users, events, times

    def activation_records(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (time, key, value) of all activations."""
        names = self.experiment_names()
        for user, group, at_ms in zip(*(column.tolist() for column in self.activations()), strict=True):
            key = b"u%07d" % user
            value = b'{"user_id":"%s","experiment":"%s","group":"%s","ts":%d,"ramp_ts":%d}' % (
                key, names[group // 2].encode(), GROUPS[group % 2].encode(), at_ms, START_MS,
            )  # fmt: skip
            yield at_ms, key, value

    def action_records(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (time, key, value) of all actions; a value has about 170 bytes, most of them in unused fields."""
        pins = np.random.default_rng((self.seed, 3)).integers(10**17, 10**18, self.actions).tolist()
        events = [event.encode() for event in EVENTS]
        columns = (column.tolist() for column in self.action_columns())
        for (user, event, at_ms), pin in zip(zip(*columns, strict=True), pins, strict=True):
            key = b"u%07d" % user
            value = (
                b'{"user_id":"%s","event":"%s","ts":%d,"app":"%s","surface":"home","pin_id":"%d",'
                b'"country":"%s","session":"%016x","v":%d}'
            ) % (
                key, events[event], at_ms, b"ios" if user & 1 else b"android", pin,
                b"US" if user % 3 else b"DE", pin * 31 & 0xFFFF_FFFF_FFFF_FFFF, 300 + user % 50,
            )  # fmt: skip
            yield at_ms, key, value

    def cells(self) -> Mapping[CellKey, CellCounts]:
        """Return what must stand in SQL, computed from the columns alone.

        Every trigger of a user precedes all of the user's actions, so an action's place among the user's actions
        of its event is the same for each of them.
        """
        memberships = self.memberships()
        users, events, times = self.action_columns()
        own = users * len(EVENTS) + events
        order = np.argsort(own, kind="stable")
        starts = np.flatnonzero(np.diff(own[order], prepend=-1))
        places = np.empty(len(own), np.int64)
        places[order] = np.arange(len(own)) - np.repeat(starts, np.diff(starts, append=len(own)))
        buckets = (times - START_MS) // BUCKET_MS
        cut = 1 + ACTION_HOURS + 1
        shape = (2 * self.experiments, len(EVENTS) + 1, cut * HOUR_MS // BUCKET_MS)
        sums = np.zeros((4, *shape), np.int64)
        for slot in range(MOST_EXPERIMENTS_OF_A_USER):
            groups = memberships[users, slot]
            joined = groups >= 0
            at = np.ravel_multi_index((groups[joined], events[joined], buckets[joined]), shape)
            for which, weights in enumerate((np.ones(len(users)), places == 0, 2 * places + 1)):
                found = np.bincount(at, weights[joined], minlength=sums[0].size)
                sums[which] += found.astype(np.int64).reshape(shape)
        _, groups, activated = self.activations()
        exposures = sums[3, :, len(EVENTS)]
        np.add.at(exposures, (groups, (activated - START_MS) // BUCKET_MS), 1)
        return _cells(sums, self.experiment_names())

    def describe(self) -> str:
        """Return the arguments as JSON, for a report."""
        return json.dumps(self.__dict__)


def _cells(sums: Ints, experiments: list[str]) -> dict[CellKey, CellCounts]:
    names = (*EVENTS, "")
    return {
        CellKey(
            experiments[group // 2], GROUPS[group % 2], names[event], START_MS + bucket * BUCKET_MS
        ): CellCounts(*sums[:, group, event, bucket].tolist())
        for group, event, bucket in np.argwhere(sums.any(axis=0)).tolist()
    }
