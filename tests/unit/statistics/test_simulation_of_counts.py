"""Gambler's ruin and the sample-ratio test on many simulated experiments; the peeked chi-squared test must fail."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rtexp.statistics.gamblers_ruin import RuinDesign, reach
from rtexp.statistics.srm import chi_square_p, log_e

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RUNS = 20_000
DESIGN = RuinDesign(808, 56)


def is_within(found: float, expected: float) -> bool:
    return bool(abs(found - expected) <= 3 * np.sqrt(expected * (1 - expected) / RUNS))


def is_at_most(found: float, bound: float) -> bool:
    return bool(found <= bound + 3 * np.sqrt(bound * (1 - bound) / RUNS))


@cache
def leads(share: float) -> NDArray[np.int16]:
    """Return by how many actors the treatment leads after each actor, shape (RUNS, conversions)."""
    steps = np.random.default_rng(808).random((RUNS, DESIGN.conversions), np.float32) < share
    return np.cumsum(2 * steps.astype(np.int8) - 1, axis=1, dtype=np.int16)


@pytest.mark.parametrize(
    ("share", "every_actor", "every_20"),
    [
        pytest.param(0.5, 0.0489, 0.044, id="no effect"),
        pytest.param(1.2 / 2.2, 0.8013, 0.783, id="20 % more"),
    ],
)
def test_a_lead_is_reached_as_often_as_designed_and_less_often_at_fewer_looks(
    share: float, every_actor: float, every_20: float
) -> None:
    assert reach(DESIGN.conversions, DESIGN.lead, share) == pytest.approx(every_actor, abs=0.0001)
    assert is_within((leads(share).max(axis=1) >= DESIGN.lead).mean(), every_actor)
    seen = (leads(share)[:, 19::20].max(axis=1) >= DESIGN.lead).mean()
    assert seen == pytest.approx(every_20, abs=0.0005 + 3 * np.sqrt(every_20 * (1 - every_20) / RUNS))
    assert seen < every_actor


@cache
def imbalances() -> NDArray[np.int64]:
    """Return by how many users of half of them the first group differs at each look, shape (RUNS, 72)."""
    users = np.cumsum(np.random.default_rng(277).binomial(277, 0.5, (RUNS, 72)), axis=1)
    differences: NDArray[np.int64] = np.abs(2 * users - 277 * np.arange(1, 73))
    return differences


def alarms(does_alarm: Callable[[tuple[int, int]], bool]) -> float:
    """Return the share of runs with an alarm at any look; the statistic rises with the imbalance of a look."""
    least = []
    for look in range(1, 73):
        users = 277 * look
        low, high = 0, users // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (low, middle)
                if does_alarm((users // 2 - middle, users - users // 2 + middle))
                else (middle, high)
            )
        least.append(2 * high + users % 2)
    return float((imbalances() >= least).any(axis=1).mean())


def test_the_sample_ratio_test_holds_its_level_at_any_look() -> None:
    at_5_percent = alarms(lambda counts: log_e(counts, (1, 1)) >= np.log(20))
    assert is_at_most(at_5_percent, 0.05)
    assert is_within(at_5_percent, 0.020)
    assert is_at_most(alarms(lambda counts: log_e(counts, (1, 1)) >= np.log(1000)), 0.001)


def test_a_chi_squared_test_peeked_at_72_times_does_not_hold_its_level() -> None:
    found = alarms(lambda counts: chi_square_p(counts, (1, 1)) < 0.001)
    assert not is_at_most(found, 0.001)
    assert is_within(found, 0.0146)
