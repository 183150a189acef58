"""What a look costs: bounds and sequential p of all comparisons of a large experiment, at the end of its period."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtexp.statistics.boundaries import GroupSequentialTest
from rtexp.statistics.sequential_p import SequentialP

if TYPE_CHECKING:
    from rtexp.statistics.spending import Spending

COMPARISONS = 80
"""Two treatments, 20 events, two metrics."""
LOOKS = 72
STRONG_SHARE = 0.3
"""Of comparisons whose p falls at every look, which is what costs."""
LEVELS = (0.025, 0.025 / 40)
"""Of the bounds: two treatments; and the first step of Holm's method over 40 metrics of each."""
CEILING = 0.2 / 40
"""A p above it ends above 0.2 whatever Holm's method does."""
_STRONG_DRIFT = 5.5


class LookFigures(NamedTuple):
    """CPU seconds for one experiment, by spending function."""

    spending: Spending
    comparisons: int
    looks: int
    warm_seconds: float
    """The last look, all before it carried on."""
    falling: int
    """Comparisons whose p fell at the last look."""
    resumed_seconds: float
    """All looks anew with the recorded p: what a restart costs."""
    cold_seconds: float
    """All looks and searches, from nothing: what an audit costs."""


class _Comparison:
    def __init__(self, spending: Spending) -> None:
        self._tests = [GroupSequentialTest(alpha=alpha, spending=spending) for alpha in LEVELS]
        self._p = SequentialP(spending=spending, ceiling=CEILING)

    def add(self, look: tuple[float, float, float]) -> float:
        for test in self._tests:
            test.add(*look)
        return self._p.add(*look)

    def resume(self, looks: list[tuple[float, float, float]], p: float) -> None:
        for test in self._tests:
            for look in looks:
                test.add(*look)
        self._p.resume(looks, p)


def measure_looks() -> list[LookFigures]:
    """Measure both spending functions on the same experiment: 30 % strong effects, the rest none."""
    return [_measure("obf"), _measure("pocock")]


def _measure(spending: Spending) -> LookFigures:
    paths = _paths(np.random.default_rng(5))
    comparisons = [_Comparison(spending) for _ in paths]
    started = time.process_time()
    before = [[one.add(look) for look in path[:-1]][-1] for one, path in zip(comparisons, paths, strict=True)]
    between = time.process_time()
    last = [one.add(path[-1]) for one, path in zip(comparisons, paths, strict=True)]
    ended = time.process_time()
    for path, p in zip(paths, last, strict=True):
        _Comparison(spending).resume(path, p)
    resumed = time.process_time()
    falling = sum(p < earlier for p, earlier in zip(last, before, strict=True))
    return LookFigures(
        spending, len(paths), LOOKS, ended - between, falling, resumed - ended, ended - started
    )


def _paths(rng: np.random.Generator) -> list[list[tuple[float, float, float]]]:
    """Return the looks (t, information, z) of each comparison; effects that are strong grow without noise."""
    t = np.arange(1, LOOKS + 1) / LOOKS
    paths = []
    for number in range(COMPARISONS):
        steps = rng.uniform(0.5, 1.5, LOOKS)
        information = np.cumsum(steps)
        if number < STRONG_SHARE * COMPARISONS:
            z = _STRONG_DRIFT * np.sqrt(information / LOOKS)
        else:
            z = np.cumsum(rng.normal(size=LOOKS) * np.sqrt(steps)) / np.sqrt(information)
        paths.append(list(zip(t.tolist(), information.tolist(), z.tolist(), strict=True)))
    return paths
