"""The sequential p against values of the specification and against plain bisection over tests from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rtexp.statistics.boundaries import GroupSequentialTest
from rtexp.statistics.sequential_p import SequentialP, sequential_p
from rtexp.statistics.spending import total_for

if TYPE_CHECKING:
    from rtexp.statistics.spending import Sides, Spending

    Looks = list[tuple[float, float, float]]


def propensity_look(
    hour: int, control: tuple[int, int], treatment: tuple[int, int]
) -> tuple[float, float, float]:
    """Return (t, information, z) of (actors, users) of both groups."""
    actors, users = control[0] + treatment[0], control[1] + treatment[1]
    share = actors / users
    effect = treatment[0] / treatment[1] - control[0] / control[1]
    deviation = np.sqrt(share * (1 - share) * (1 / control[1] + 1 / treatment[1]))
    return hour / 72, actors / (1 - share), float(effect / deviation)


WORKED = [
    propensity_look(18, (120, 5000), (130, 5000)),
    propensity_look(36, (320, 9000), (380, 9100)),
    propensity_look(54, (560, 12000), (680, 12100)),
    propensity_look(72, (800, 14000), (930, 14100)),
]


def running(looks: Looks, spending: Spending, **options: Any) -> list[float]:
    carried = SequentialP(spending=spending, **options)
    return [carried.add(*look) for look in looks]


def equal_looks(*scores: float) -> Looks:
    return [(k / len(scores), float(k), z) for k, z in enumerate(scores, 1)]


@pytest.mark.parametrize(
    ("spending", "expected"),
    [
        ("obf", ["1.00000000", "0.17442915", "0.00445638", "0.00225096"]),
        ("pocock", ["1.00000000", "0.09074194", "0.00313573", "0.00313573"]),
    ],
)
def test_the_worked_sequence_has_the_specified_p(spending: Spending, expected: list[str]) -> None:
    assert [f"{p:.8f}" for p in running(WORKED, spending)] == expected


@pytest.mark.parametrize(
    ("scores", "spending", "expected"),
    [
        ((1, 2, 2.5), "obf", ["0.83147556", "0.12755348", "0.01297508"]),
        ((1, 2, 2.5), "pocock", ["0.70072391", "0.09866680", "0.03033931"]),
        ((1, 2.6, 1), "obf", ["0.83147556", "0.04187897", "0.04187897"]),
        ((1, 2.6, 1), "pocock", ["0.70072391", "0.02267660", "0.02267660"]),
        ((0, 0, 1.96), "obf", ["1.00000000", "1.00000000", "0.05418740"]),
        ((0, 0, 1.96), "pocock", ["1.00000000", "1.00000000", "0.10421725"]),
        ((1.96,), "obf", ["0.04999579"]),
        ((1.96,), "pocock", ["0.04999579"]),
    ],
)
def test_equal_looks_have_the_specified_p(
    scores: tuple[float, ...], spending: Spending, expected: list[str]
) -> None:
    assert [f"{p:.8f}" for p in running(equal_looks(*scores), spending)] == expected


def crosses(looks: Looks, alpha: float, **options: Any) -> bool:
    test = GroupSequentialTest(alpha=alpha, **options)
    return any([test.add(*look).crossed for look in looks])  # noqa: C419 - all looks must be added


def bisected(looks: Looks, **options: Any) -> float:
    """Return the least level in a bisection on its logarithm, each step of it from scratch."""
    low, high = np.log(1e-15), 0.0
    if not crosses(looks, 1.0, **options):
        return 1.0
    while high - low > 1e-11:
        middle = (low + high) / 2
        if crosses(looks, float(np.exp(middle)), **options):
            high = middle
        else:
            low = middle
    return float(np.exp(high))


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("spending", ["obf", "pocock"])
@pytest.mark.parametrize("drift", [0, 2, 4, 6, 7.5])
def test_p_is_what_bisection_over_tests_from_scratch_finds(
    spending: Spending, sides: Sides, drift: float
) -> None:
    rng = np.random.default_rng(int(10 * drift) + sides)
    steps = rng.uniform(0.2, 1.8, 20) / 20
    tau = np.cumsum(steps)
    z = np.cumsum(drift * steps + rng.normal(size=20) * np.sqrt(steps)) / np.sqrt(tau)
    looks = [(k / 20, float(tau[k - 1]), float(z[k - 1])) for k in range(1, 21)]
    found = running(looks, spending, sides=sides)
    for k in (5, 12, 20):
        assert found[k - 1] == pytest.approx(bisected(looks[:k], spending=spending, sides=sides), rel=2e-9)


@pytest.mark.parametrize("spending", ["obf", "pocock"])
def test_scores_beyond_all_bounds_give_the_least_level_that_spends_anything(spending: Spending) -> None:
    for k, p in enumerate(running([(k / 12, k, 35.0) for k in range(1, 13)], spending), 1):
        least = total_for(spending, k / 12, 1e-15)
        assert p == pytest.approx(least, rel=1e-11)
        assert crosses([(k / 12, k, 35.0)], p, spending=spending)


def test_carried_over_days_is_from_scratch_to_the_last_bit() -> None:
    rng = np.random.default_rng(11)
    tau = np.cumsum(rng.uniform(0, 2, 72))
    z = 4 * np.sqrt(tau / tau[-1]) + rng.normal(size=72) * 0.3
    looks = [(k / 72, float(tau[k - 1]), float(z[k - 1])) for k in range(1, 73)]
    carried = running(looks, "pocock", ceiling=0.2)
    assert carried[-1] < carried[40] < 1
    for k in (12, 40, 72):
        assert sequential_p(looks[:k], spending="pocock", ceiling=0.2) == carried[k - 1]


@pytest.mark.parametrize("at", [10, 40, 71])
def test_resumed_at_a_recorded_p_it_goes_on_to_the_last_bit(at: int) -> None:
    looks = [(k / 72, float(k), 0.6 * np.sqrt(k) - (k % 3)) for k in range(1, 73)]
    carried = running(looks, "pocock", ceiling=0.2)
    assert (carried[9], carried[39] < 1, carried[71] < carried[39]) == (1.0, True, True)
    resumed = SequentialP(spending="pocock", ceiling=0.2)
    resumed.resume(looks[:at], carried[at - 1])
    assert [resumed.add(*look) for look in looks[at:]] == carried[at:]


def test_resumed_before_any_look_it_is_a_new_one() -> None:
    resumed = SequentialP(spending="obf")
    resumed.resume([], 1.0)
    assert resumed.add(1.0, 100.0, 1.959963984540054) == pytest.approx(0.05, rel=1e-4)


def test_above_the_ceiling_p_is_given_as_1_and_below_it_is_the_same() -> None:
    free, capped = running(WORKED, "obf"), running(WORKED, "obf", ceiling=0.005)
    assert capped[:2] == [1.0, 1.0]
    assert capped[2:] == pytest.approx(free[2:], rel=2e-9)
