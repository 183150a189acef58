from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from tests.unit.statistics.golden import Z_95, actors, printed, sums

from rtexp.statistics.confidence_sequence import half_width, p_look, rho_squared
from rtexp.statistics.effects import Effect, Lift, Metric, effect, lift

if TYPE_CHECKING:
    from rtexp.statistics.counts import Counts


def compared(metric: Metric, control: Counts, treatment: Counts) -> tuple[Effect, Lift, int]:
    found = effect(metric, control, treatment)
    assert isinstance(found, Effect)
    relative = lift(found, Z_95)
    assert isinstance(relative, Lift)
    return found, relative, control.n + treatment.n


def test_the_tuning_is_the_published_one() -> None:
    assert math.sqrt(rho_squared(0.05, 5000)) == printed(".03984006677137")
    assert math.sqrt(rho_squared(0.05, 1000)) == printed(".08908509752892")
    assert rho_squared(0.025, 5000, sides=1) == rho_squared(0.05, 5000)


def test_a_small_difference_is_not_shown() -> None:
    found, _, users = compared(Metric.PROPENSITY, actors(1000, 20000), actors(1060, 20000))
    assert found.difference == pytest.approx(0.003)
    assert found.variance == printed("4.88455e-6")
    rho = rho_squared(0.05, 40_000)
    assert half_width(found.variance, users, rho, 0.05) == printed(".0067081209")
    assert p_look(found.difference, found.variance, users, rho) == 1.0
    assert half_width(found.variance, users, rho_squared(0.05, 40_000, 1), 0.05, 1) == printed(".0061420812")


def test_the_lift_has_a_sequence_too() -> None:
    _, relative, users = compared(Metric.PROPENSITY, actors(1396, 3000), actors(2422, 3461))
    half = half_width(relative.std_error**2, users, rho_squared(0.05, 5000), 0.05)
    assert half == printed(".1028848550")
    assert (relative.value - half, relative.value + half) == (printed(".4009784967"), printed(".6067482067"))


def test_one_sided_bounds_of_a_volume_and_its_lift() -> None:
    averages = sums(3000, 1396.87, 52377.9767), sums(3461, 2422.7, 134698.29)
    found, relative, users = compared(Metric.VOLUME, *averages)
    rho = rho_squared(0.05, 5000, sides=1)
    assert found.difference - half_width(found.variance, users, rho, 0.05, 1) == printed("-.1265684417")
    squared = relative.std_error**2
    assert relative.value - half_width(squared, users, rho, 0.05, 1) == printed("-.4235645460")
    assert half_width(squared, users, rho_squared(0.05, 1000), 0.05) == printed("1.0618015910")


@pytest.mark.parametrize(
    ("share", "width"),
    [
        (0.01, "4.635"), (0.05, "2.4076"), (0.1, "1.9669"), (0.25, "1.6655"), (0.5, "1.5733"), (1, "1.5486"),
        (2, "1.5620"), (5, "1.6087"), (10, "1.6540"), (100, "1.8172"),
    ],
)  # fmt: skip
def test_intervals_are_narrowest_at_the_expected_users(share: float, width: str) -> None:
    expected = 1_000_000
    half = half_width(1.0, int(share * expected), rho_squared(0.05, expected), 0.05)
    assert half / Z_95 == printed(width)


@pytest.mark.parametrize("sides", [1, 2])
def test_p_is_alpha_where_the_interval_touches_zero(sides: int) -> None:
    for alpha in (0.2, 0.05, 1e-6):
        rho = rho_squared(0.05, 10_000, sides)
        edge = half_width(0.3, 7_000, rho, alpha, sides)
        assert p_look(edge, 0.3, 7_000, rho, sides) == pytest.approx(alpha, rel=1e-9)


def test_two_sided_both_directions_count_alike_and_one_sided_only_the_upper() -> None:
    rho = rho_squared(0.05, 10_000)
    assert p_look(-3.0, 0.5, 9_000, rho) == p_look(3.0, 0.5, 9_000, rho) < 0.05
    assert p_look(-3.0, 0.5, 9_000, rho, sides=1) == 1.0
    assert p_look(3.0, 0.5, 9_000, rho, sides=1) < p_look(3.0, 0.5, 9_000, rho)


def test_p_is_a_number_at_the_ends_of_the_scale() -> None:
    for sides in (1, 2):
        assert p_look(0.0, 0.5, 9_000, 1e-4, sides) == 1.0
        assert p_look(1e-200, 0.5, 9_000, 1e-4, sides) == 1.0
        assert p_look(1e9, 1e-9, 9_000, 1e-4, sides) == 1e-300
        assert p_look(1.0, 0.0, 2, 1e-4, sides) == 1.0


def test_plans_and_looks_without_users_or_levels_are_refused() -> None:
    for expected in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="how many users"):
            rho_squared(0.05, expected)
    with pytest.raises(ValueError, match=r"alpha is 0\.5"):
        rho_squared(0.5, 100)
    with pytest.raises(ValueError, match="alpha is 0"):
        half_width(1.0, 10, 0.1, 0.0)
    for variance, users, rho in [(-1.0, 10, 0.1), (1.0, 0, 0.1), (1.0, 10, 0.0)]:
        with pytest.raises(ValueError, match="at least one user"):
            p_look(1.0, variance, users, rho)
