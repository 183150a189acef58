from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom
from tests.unit.statistics.golden import printed

from rtexp.statistics.srm import chi_square_p, log_e, p_value

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("counts", "weights", "by_strength", "chi_square"),
    [
        ((1000, 1000), (1, 1), ("-1.52464213", "-.54947281", "-.09116495"), "1.00000000"),
        ((5000, 5300), (1, 1), ("2.00326823", "2.77049215", "1.86290810"), ".0031166938"),
        ((821588, 815482), (1, 1), ("6.53236767", "7.67937929", "8.76597229"), "1.8217929e-6"),
        ((5000, 5300, 4950), (1, 1, 1), ("1.91919925", "3.78756618", "3.31475830"), ".00086812"),
        ((9500, 500), (19, 1), ("-2.32408336", "-1.20046675", "-.34665714"), "1.00000000"),
        ((9350, 650), (19, 1), ("19.08267083", "18.58133198", "10.90731743"), "5.8823e-12"),
        ((0, 10), (1, 1), (".41146593", ".04457717", ".00449573"), ".0015654"),
        ((1, 0), (1, 1), (".00000000", ".00000000", ".00000000"), ".3173105"),
    ],
)
def test_evidence_equals_its_golden_values_for_every_prior_strength(
    counts: tuple[int, ...], weights: tuple[int, ...], by_strength: tuple[str, ...], chi_square: str
) -> None:
    for strength, expected in zip((100, 1000, 10_000), by_strength, strict=True):
        assert log_e(counts, weights, strength) == printed(expected)
    assert log_e(counts, weights) == log_e(counts, weights, 1000)
    assert chi_square_p(counts, weights) == printed(chi_square)


@pytest.mark.parametrize(
    ("counts", "strength", "expected"),
    [
        ((5000, 5300), 1000, ".062631173"), ((5000, 5300), 10_000, ".15522058"), ((821588, 815482), 1000, ".00046226"),
        ((5000, 5300, 4950), 1000, ".022650663"), ((350, 450), 1000, ".083179848"), ((500, 620), 1000, ".048615772"),
    ],
)  # fmt: skip
def test_p_is_one_over_the_evidence(counts: tuple[int, ...], strength: float, expected: str) -> None:
    assert p_value(log_e(counts, [1] * len(counts), strength)) == printed(expected)


def test_the_same_evidence_on_actors_replaces_gamblers_ruin() -> None:
    assert log_e((350, 450), (1, 1)) == printed("2.48675017")
    assert log_e((500, 620), (1, 1)) == printed("3.02380727")


def test_the_running_p_falls_to_an_alarm() -> None:
    looks = [(500, 520), (1000, 1100), (2000, 2250), (4000, 4420), (8000, 8700)]
    running = list(itertools.accumulate((p_value(log_e(look, (1, 1))) for look in looks), min))
    assert running == [
        1.0, printed(".35069677"), printed(".0059375934"), printed(".00026243268"), printed("4.0809415e-6"),
    ]  # fmt: skip
    assert [p < 0.001 for p in running] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        (100, (215, 50.3, 11.7, 1.768, 0.469)),
        (1000, (192, 45.2, 11.1, 2.183, 0.807)),
        (10_000, (177, 47.3, 15.3, 4.557, 2.059)),
    ],
)
def test_a_mismatch_alarms_after_so_many_thousand_users(strength: float, expected: tuple[float, ...]) -> None:
    for share, thousands in zip((0.505, 0.51, 0.52, 0.55, 0.60), expected, strict=True):

        def short_of_alarm(users: float, share: float = share) -> float:
            split = [share * users, (1 - share) * users]
            return log_e(split, (1, 1), strength) - math.log(1000)  # type: ignore[arg-type]  # expected, so not whole

        assert brentq(short_of_alarm, 100, 1e6) / 1000 == pytest.approx(thousands, rel=0.005)


def chance_to_alarm(alarms: Callable[[int, int], bool]) -> float:
    """How often 72 looks, 277 users of a fair split apart, ever alarm: exact, by all counts that one group may have."""
    step = binom.pmf(np.arange(278), 277, 0.5)
    mass, alarmed = np.ones(1), 0.0
    for users in range(277, 277 * 72 + 1, 277):
        mass = np.convolve(mass, step)
        # Alarms begin at some surplus and are symmetric: bisect for it.
        quiet, alarming = users // 2, users
        while alarming - quiet > 1:
            middle = (quiet + alarming) // 2
            quiet, alarming = (quiet, middle) if alarms(users - middle, middle) else (middle, alarming)
        alarmed += mass[alarming:].sum() + mass[: users - alarming + 1].sum()
        mass[alarming:] = mass[: users - alarming + 1] = 0.0
    return float(alarmed)


@pytest.mark.parametrize(("alarm", "exact"), [(0.05, ".0195"), (0.001, ".000252")])
def test_evidence_alarms_more_seldom_than_its_level_however_often_it_is_looked_at(
    alarm: float, exact: str
) -> None:
    assert chance_to_alarm(lambda *counts: p_value(log_e(counts, (1, 1))) < alarm) == printed(exact)


def test_chi_squared_alarms_too_often_if_it_is_looked_at_hourly() -> None:
    assert chance_to_alarm(lambda *counts: chi_square_p(counts, (1, 1)) < 0.001) == printed(".0136")


def test_evidence_from_a_billion_users_keeps_its_digits() -> None:
    assert log_e((500_100_000, 499_900_000), (1, 1)) == printed("13.0919743747")  # mpmath, 50 digits


def test_evidence_from_a_few_users_of_unequal_groups_is_right() -> None:
    assert log_e((3, 0, 2), (5, 1, 4), 100) == printed("-.0148165205043")  # mpmath, 50 digits


def test_groups_that_have_no_weight_are_left_out() -> None:
    assert log_e((5000, 7, 5300), (1, 0, 1)) == log_e((5000, 5300), (50, 50))
    assert chi_square_p((5000, 7, 5300), (1, 0, 1)) == chi_square_p((5000, 5300), (1, 1))


@pytest.mark.parametrize(
    ("counts", "weights"), [((0, 0), (1, 1)), ((5,), (1,)), ((5, 3), (0, 1)), ((5, 3), (0, 0)), ((), ())]
)
def test_where_nothing_is_split_there_is_no_evidence(
    counts: tuple[int, ...], weights: tuple[int, ...]
) -> None:
    assert log_e(counts, weights) == 0.0
    assert p_value(log_e(counts, weights)) == chi_square_p(counts, weights) == 1.0


def test_p_stays_within_its_scale() -> None:
    assert p_value(-1e9) == 1.0
    assert p_value(1e9) == 1e-300


def test_counts_and_weights_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="2 counts but 3 weights"):
        log_e((1, 2), (1, 1, 1))
    for counts, weights in [
        ((-1, 2), (1, 1)),
        ((1, 2), (-1, 1)),
        ((1, 2), (math.nan, 1)),
        ((1, 2), (math.inf, 1)),
    ]:
        with pytest.raises(ValueError, match="negative"):
            log_e(counts, weights)
    for strength in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="prior_strength"):
            log_e((1, 2), (1, 1), strength)


def test_a_group_that_lacks_all_of_countless_users_has_finite_evidence() -> None:
    found = log_e([0, 2**62], [0.5, 0.5], 1e-6)
    assert found == pytest.approx(2**62 * math.log(2), rel=1e-9)
