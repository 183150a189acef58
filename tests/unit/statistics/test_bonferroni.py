from __future__ import annotations

import pytest
from tests.unit.statistics.golden import printed
from tests.unit.statistics.repeated_looks import chance_to_cross

from rtexp.statistics.bonferroni import adjusted_p, critical_z, level_of_one
from rtexp.statistics.levels import critical_value
from rtexp.statistics.undefined import Reason, Undefined


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        (5, "2.575829"),
        (10, "2.807034"),
        (12, "2.865260"),
        (24, "3.078088"),
        (72, "3.391763"),
        (288, "3.754611"),
    ],
)
def test_critical_values_share_alpha_over_the_looks(looks: int, expected: str) -> None:
    assert critical_z(0.05, looks) == printed(expected)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [(5, "2.580755"), (12, "2.871871"), (24, "3.086168"), (72, "3.402396"), (288, "3.768830")],
)
def test_critical_values_of_students_t_are_a_little_greater(looks: int, expected: str) -> None:
    assert critical_value(critical_z(0.05, looks), 1000) == printed(expected)


@pytest.mark.parametrize(
    ("looks", "error", "unadjusted"),
    [
        (1, ".0500", ".0500"), (2, ".0428", ".0831"), (3, ".0384", ".1073"), (5, ".0327", ".1417"),
        (10, ".0253", ".1934"), (12, ".0234", ".2075"), (20, ".0186", ".2479"), (24, ".0171", ".2624"),
        (50, ".0117", ".3205"), (72, ".0096", ".3487"), (100, ".0079", ".3736"), (288, ".0041", ".4497"),
    ],
)  # fmt: skip
def test_looks_that_share_alpha_err_less_than_alpha_and_others_far_more(
    looks: int, error: str, unadjusted: str
) -> None:
    assert chance_to_cross(critical_z(0.05, looks), looks) == printed(error)
    assert chance_to_cross(critical_z(0.05, 1), looks) == printed(unadjusted)


def test_the_adjusted_p_is_the_least_so_far_times_all_tests() -> None:
    assert adjusted_p([0.2, 0.001, 0.7], looks=12) == pytest.approx(0.012)
    assert adjusted_p([0.2, 0.001, 0.7], looks=12, treatments=2) == pytest.approx(0.024)
    assert adjusted_p([0.2], looks=12) == 1.0
    assert adjusted_p([], looks=12) == 1.0


def test_a_look_beyond_the_planned_ones_is_refused() -> None:
    assert adjusted_p([0.5] * 3, looks=3) == 1.0
    assert adjusted_p([0.5] * 4, looks=3) == Undefined(Reason.PLAN_EXHAUSTED)


def test_a_look_rejects_just_where_the_adjusted_p_is_below_alpha() -> None:
    level = level_of_one(0.05, looks=7, treatments=3)
    for p, rejected in [(level * (1 - 1e-12), True), (level * (1 + 1e-12), False)]:
        adjusted = adjusted_p([p], looks=7, treatments=3)
        assert isinstance(adjusted, float)
        assert (p < level, adjusted < 0.05) == (rejected, rejected)


def test_plans_without_looks_or_with_an_impossible_level_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one of each"):
        critical_z(0.05, looks=0)
    with pytest.raises(ValueError, match="at least one of each"):
        adjusted_p([], looks=1, treatments=0)
    with pytest.raises(ValueError, match=r"alpha is 0\.5"):
        level_of_one(0.5, looks=1)
