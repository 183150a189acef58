from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.unit.statistics.golden import Z_95, actors, printed, sums

from rtexp.statistics.counts import Counts
from rtexp.statistics.effects import (
    Effect,
    Lift,
    LiftMethod,
    Metric,
    effect,
    information,
    interval,
    lift,
)
from rtexp.statistics.levels import critical_value
from rtexp.statistics.undefined import Reason, Undefined

if TYPE_CHECKING:
    from collections.abc import Callable

AVERAGES = sums(3407, 1396.87, 52377.9767), sums(3461, 2422.7, 134698.29)
FEW = Counts(4, 6, 14, 3), Counts(5, 10, 34, 4)  # users with 0, 1, 2, 3 actions; with 1, 2, 2, 5, 0


def compared(metric: Metric, control: Counts, treatment: Counts) -> Effect:
    result = effect(metric, control, treatment)
    assert isinstance(result, Effect)
    return result


def lifted(found: Effect, critical_z: float = Z_95) -> Lift:
    result = lift(found, critical_z)
    assert isinstance(result, Lift)
    return result


def test_volume_is_compared_by_welchs_t() -> None:
    found = compared(Metric.VOLUME, *AVERAGES)
    assert found.difference == pytest.approx(0.29, rel=1e-12)
    assert found.std_error == printed(".1247836316")
    assert found.difference / found.std_error == printed("2.3240227609")
    assert found.dof == printed("5841.742032")
    assert found.p_value == printed(".0201584026")
    assert found.z == printed("2.3233864263")
    assert interval(found, Z_95) == (printed(".0453778926"), printed(".5346221074"))
    assert found.variance == found.variance_control + found.variance_treatment


def test_a_lift_over_an_uncertain_mean_has_fiellers_interval() -> None:
    found = compared(Metric.VOLUME, *AVERAGES)
    result = lifted(found)
    assert (result.method, result.reason) == (LiftMethod.FIELLER, None)
    assert (result.value, result.std_error) == (printed(".7073170732"), printed(".3787943617"))
    assert (result.low, result.high) == (printed(".0940619708"), printed("1.7086899442"))
    assert g_of(found) == printed(".1020623426")


def test_the_delta_interval_that_fieller_replaces_would_have_been_lower() -> None:
    found = compared(Metric.VOLUME, *AVERAGES)
    result = lifted(found)
    for critical, low, high in [
        (Z_95, printed("-.035106"), printed("1.449740")),
        (critical_value(Z_95, found.dof), printed("-.0352600891"), printed("1.4498942354")),
    ]:
        assert (result.value - critical * result.std_error, result.value + critical * result.std_error) == (
            low,
            high,
        )


def g_of(found: Effect, critical_z: float = Z_95) -> float:
    return critical_value(critical_z, found.dof) ** 2 * found.variance_control / found.mean_control**2


def test_a_handful_of_users_has_an_effect_but_no_interval_of_the_lift() -> None:
    found = compared(Metric.VOLUME, *FEW)
    assert found.difference == 0.5
    assert found.difference / found.std_error == printed(".4731602234")
    assert found.dof == printed("6.9132443532")
    assert (found.p_value, found.z) == (printed(".6506740362"), printed(".4528260053"))
    assert interval(found, Z_95) == (printed("-2.0051271571"), printed("3.0051271571"))
    assert g_of(found) == printed("1.0407")
    result = lifted(found)
    assert result.value == pytest.approx(1 / 3)
    assert (result.low, result.high, result.method) == (None, None, None)
    assert result.reason is Reason.CONTROL_MEAN_NEAR_ZERO


def test_propensity_is_tested_pooled_and_its_interval_is_not() -> None:
    found = compared(Metric.PROPENSITY, actors(1000, 20000), actors(1080, 20000))
    assert found.difference == pytest.approx(0.004)
    assert found.variance_pooled is not None
    assert math.sqrt(found.variance_pooled) == printed(".0022202703")
    assert (found.z, found.p_value) == (printed("1.8015824844"), printed(".0716111191"))
    assert found.std_error == printed(".0022201802")
    assert interval(found, Z_95) == (printed("-.0003514732"), printed(".0083514732"))
    assert found.dof is None


def test_a_lift_over_a_well_known_share_has_the_delta_interval() -> None:
    result = lifted(compared(Metric.PROPENSITY, actors(1000, 20000), actors(1080, 20000)))
    assert result.value == pytest.approx(0.08)
    assert result.std_error == printed(".0461493229")
    assert (result.low, result.high) == (printed("-.0104510107"), printed(".1704510107"))
    assert (result.method, result.reason) == (LiftMethod.DELTA, None)


def test_a_thousand_users_give_fiellers_interval() -> None:
    found = compared(Metric.PROPENSITY, actors(40, 1000), actors(60, 1000))
    assert (found.z, found.p_value) == (printed("2.0519567042"), printed(".0401738703"))
    assert interval(found, Z_95) == (printed(".0009167535"), printed(".0390832465"))
    assert g_of(found) == printed(".0921950")
    result = lifted(found)
    assert (result.low, result.high) == (printed(".0191894998"), printed("1.2854850048"))
    assert result.method is LiftMethod.FIELLER


def test_a_hundred_users_give_a_test_and_no_interval_of_the_lift() -> None:
    found = compared(Metric.PROPENSITY, actors(3, 100), actors(9, 120))
    assert (found.z, found.p_value) == (printed("1.4634981801"), printed(".1433311113"))
    assert g_of(found) == printed("1.2421")
    assert lifted(found).reason is Reason.CONTROL_MEAN_NEAR_ZERO


def test_a_great_effect_keeps_its_digits() -> None:
    found = compared(Metric.PROPENSITY, actors(1396, 3000), actors(2422, 3461))
    assert found.difference == printed(".2344644130")
    result = lifted(found)
    assert (result.value, result.std_error) == (printed(".5038633517"), printed(".0338602148"))


@pytest.mark.parametrize(
    ("metric", "control", "treatment", "reason"),
    [
        pytest.param("propensity", Counts(0, 0, 2, 0), actors(0, 0), "inconsistent_counts", id="counts come first"),
        pytest.param("volume", actors(1, 10), Counts(3, 4, 4, 4), "inconsistent_counts", id="of either group"),
        pytest.param("propensity", actors(0, 0), actors(1, 10), "empty_group", id="no control"),
        pytest.param("volume", actors(1, 10), actors(0, 0), "empty_group", id="no treatment"),
        pytest.param("volume", actors(1, 10), actors(1, 1), "group_too_small", id="volume of one user"),
        pytest.param("propensity", actors(0, 10), actors(0, 9), "zero_variance", id="nobody acted"),
        pytest.param("propensity", actors(10, 10), actors(9, 9), "zero_variance", id="everybody acted"),
        pytest.param("volume", actors(0, 10), actors(9, 9), "zero_variance", id="alike within each group"),
    ],
)  # fmt: skip
def test_what_has_no_value_says_why(metric: str, control: Counts, treatment: Counts, reason: str) -> None:
    assert effect(Metric(metric), control, treatment) == Undefined(Reason(reason))


def test_propensity_of_one_user_each_is_defined() -> None:
    found = compared(Metric.PROPENSITY, actors(0, 1), actors(1, 1))
    assert (found.difference, found.variance) == (1.0, 0.0)
    assert found.z == pytest.approx(math.sqrt(2))
    assert interval(found, Z_95) == (1.0, 1.0)


def test_one_group_without_variance_is_compared_by_the_others() -> None:
    found = compared(Metric.VOLUME, Counts(5, 0, 0, 0), Counts(4, 6, 14, 3))
    assert found.variance_control == 0
    assert found.dof == 3


def test_a_control_that_never_acted_has_no_lift() -> None:
    assert lift(compared(Metric.PROPENSITY, actors(0, 9), actors(3, 9)), Z_95) == Undefined(
        Reason.CONTROL_MEAN_ZERO
    )


def test_the_variance_of_great_counts_does_not_cancel_or_overflow() -> None:
    n, each = 10**9, 10**6  # one user more or less than the rest, whose squares fill 60 bits
    great = Counts(n, n * each, n * each**2 + 2, n)
    found = compared(Metric.VOLUME, Counts(*np.array(great)), great)
    assert found.variance == pytest.approx(2 * 2 / n / (n - 1), rel=1e-14)


def test_wider_bounds_widen_the_interval_with_the_same_middle() -> None:
    found = compared(Metric.VOLUME, *FEW)
    low, high = interval(found, 2.0)
    lower, higher = interval(found, 4.0)
    assert lower < low < found.difference < high < higher
    assert interval(found, 0.0) == (found.difference, found.difference)


def test_information_of_a_propensity_counts_the_odds_of_actors() -> None:
    for control, treatment, expected in [
        ((120, 5000), (130, 5000), "256.41025641"),
        ((320, 9000), (380, 9100), "728.16091954"),
        ((560, 12000), (680, 12100), "1307.26159230"),
        ((800, 14000), (930, 14100), "1843.49639742"),
    ]:
        assert information(Metric.PROPENSITY, actors(*control), actors(*treatment)) == printed(expected)


def test_information_of_a_volume_is_its_sum_of_squares() -> None:
    assert information(Metric.VOLUME, *FEW) == 48.0


@pytest.mark.parametrize("metric", Metric)
def test_where_nobody_acted_nothing_has_been_learnt(metric: Metric) -> None:
    assert (
        information(metric, actors(0, 0), actors(0, 0))
        == information(metric, actors(0, 9), actors(0, 1))
        == 0.0
    )


def test_where_everybody_acted_information_is_as_if_one_had_not() -> None:
    of: Callable[[Counts], float] = lambda treatment: information(Metric.PROPENSITY, actors(5, 5), treatment)  # noqa: E731
    assert of(actors(5, 5)) == 100.0
    assert of(actors(4, 5)) == 90.0
    assert information(Metric.PROPENSITY, actors(1, 1), actors(0, 0)) == 1.0


def test_a_bound_that_hardly_any_users_could_pass_leaves_the_lift_without_an_interval() -> None:
    found = effect(Metric.VOLUME, Counts(2, 3, 5, 2), Counts(2, 4, 8, 2))
    assert isinstance(found, Effect)
    shown = lift(found, 37.0)
    assert isinstance(shown, Lift)
    assert (shown.low, shown.high, shown.reason) == (None, None, Reason.CONTROL_MEAN_NEAR_ZERO)
