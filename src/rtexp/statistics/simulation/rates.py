"""How often rules cross in simulated experiments. Any cut of the runs into parts gives the same sums."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtexp.statistics.simulation.decisions import MIN_ACTORS, MIN_USERS, looks_of
from rtexp.statistics.simulation.users import cumulative_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rtexp.statistics.simulation.decisions import Decider
    from rtexp.statistics.simulation.users import Behaviour


@dataclass(frozen=True, slots=True)
class Experiment:
    """Control and treatment, over one window."""

    behaviour: Behaviour
    users: tuple[int, int]
    """Of control and treatment, in the whole window."""
    buckets: int = 72
    lift: float = 0.0
    """Of the treatment's mean; without one every crossing is an error."""
    min_users: int = MIN_USERS
    min_actors: int = MIN_ACTORS


class Tally(NamedTuple):
    """Of some runs: how many crossed, and the sum of the times until then, or until the end."""

    runs: int = 0
    crossed: int = 0
    sum_t: float = 0.0

    def plus(self, other: Tally) -> Tally:
        """Return the tally of both."""
        return Tally(self.runs + other.runs, self.crossed + other.crossed, self.sum_t + other.sum_t)

    @property
    def rate(self) -> float:
        """The share of runs that crossed."""
        return self.crossed / self.runs

    @property
    def standard_error(self) -> float:
        """Of the rate."""
        return sqrt(self.rate * (1 - self.rate) / self.runs)

    @property
    def mean_t(self) -> float:
        """Mean share of the window until a crossing, or its end."""
        return self.sum_t / self.runs


def tally(
    experiment: Experiment, deciders: Mapping[str, Decider], runs: Iterable[int], seed: Sequence[int]
) -> dict[str, Tally]:
    """Simulate the runs of these numbers, and return what each of the deciders, which all see the same runs, did.

    The random numbers of a run depend on ``seed`` and its own number only.
    """
    found = dict.fromkeys(deciders, Tally())
    lifts = (0.0, experiment.lift)
    for run in runs:
        rng = np.random.default_rng([*seed, run])
        control, treatment = (
            cumulative_counts(rng, experiment.behaviour, users, experiment.buckets, lift)
            for users, lift in zip(experiment.users, lifts, strict=True)
        )
        path = looks_of(
            experiment.behaviour.metric, control, treatment, experiment.min_users, experiment.min_actors
        )
        for name, decider in deciders.items():
            t = decider.first_crossing(path)
            found[name] = found[name].plus(Tally(1, t is not None, 1.0 if t is None else t))
    return found
