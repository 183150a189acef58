from __future__ import annotations

import math

import pytest
from tests.unit.statistics.golden import printed

from rtexp.statistics.levels import (
    LEAST_P,
    checked_level,
    checked_sides,
    critical_value,
    critical_z,
    signed_score,
    two_sided_p,
)


def test_p_of_student_statistics_and_their_normal_scores_keep_their_digits() -> None:
    assert (p := two_sided_p(3, 10)) == printed(".0133436550")
    assert signed_score(p, 1) == printed("2.4744632448")
    assert (p := two_sided_p(8, 50)) == printed("1.66329660e-10")
    assert signed_score(p, -1) == printed("-6.3895913409")


def test_scores_stay_finite_where_p_vanishes() -> None:
    assert two_sided_p(60) == two_sided_p(-60) == LEAST_P
    assert signed_score(0.0, -1) == -signed_score(LEAST_P, 1) == pytest.approx(-37.06, abs=0.01)


def test_no_effect_has_the_score_zero() -> None:
    assert (two_sided_p(0.0), signed_score(1.0, 0.0)) == (1.0, 0.0)
    assert math.copysign(1, signed_score(1.0, -0.0)) == 1
    assert signed_score(0.3, 0.0) == 0.0


def test_five_per_cent_is_the_score_that_everybody_knows() -> None:
    assert critical_z(0.05) == printed("1.95996398454")


@pytest.mark.parametrize("dof", [1, 1.5, 5, 199, 6e4, 1e9])
def test_a_student_critical_value_has_the_tail_of_the_normal_one(dof: float) -> None:
    for score in (0.5, 1.96, 5, 9, 20):
        assert two_sided_p(critical_value(score, dof), dof) == pytest.approx(two_sided_p(score), rel=1e-9)


@pytest.mark.parametrize("dof", [1, 1.5, 2, 3, 5, 50, 199, 6e4, 1e9])
def test_critical_values_are_finite_and_above_the_normal_ones_up_to_thirty_standard_errors(
    dof: float,
) -> None:
    values = [critical_value(score, dof) for score in (0, 1, 10, 20, 25, 30)]
    assert values == sorted(values)
    assert values[-1] >= 30 * (1 - 1e-9)
    assert values[-1] <= critical_value(100, dof) < math.inf


@pytest.mark.parametrize("alpha", [0.0, -0.01, 0.5, 1.0, math.nan])
def test_levels_that_are_none_are_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"choose a level above 0 and below 0\.5"):
        checked_level(alpha)


def test_a_test_has_one_side_or_two() -> None:
    assert [checked_sides(sides) for sides in (1, 2)] == [1, 2]
    with pytest.raises(ValueError, match="1 for a one-sided test"):
        checked_sides(3)


@pytest.mark.parametrize("score", [-0.1, math.inf, math.nan])
def test_critical_values_that_are_none_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match="finite number of standard errors"):
        critical_value(score, None)
