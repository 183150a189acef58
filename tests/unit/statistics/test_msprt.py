from __future__ import annotations

import math

import pytest
from tests.unit.statistics.golden import actors, printed

from rtexp.statistics import confidence_sequence
from rtexp.statistics.effects import Effect, Metric, effect
from rtexp.statistics.msprt import half_width, log_likelihood_ratio, p_look


@pytest.fixture
def found() -> Effect:
    result = effect(Metric.PROPENSITY, actors(1000, 20000), actors(1060, 20000))
    assert isinstance(result, Effect)
    return result


@pytest.mark.parametrize(
    ("mixing_std", "log_ratio", "p_value", "half"),
    [
        (0.001, ".06343124", ".93853865", ".0133254823"),
        (0.0025, ".10513686", ".90020131", ".0077011497"),
        (0.005, "-.13493954", "1.00000000", ".0067497688"),
    ],
)
def test_evidence_and_interval_depend_on_the_effects_that_are_expected(
    found: Effect, mixing_std: float, log_ratio: str, p_value: str, half: str
) -> None:
    mixing = mixing_std**2
    assert log_likelihood_ratio(found.difference, found.variance, mixing) == printed(log_ratio)
    assert p_look(found.difference, found.variance, mixing) == printed(p_value)
    assert half_width(found.variance, mixing, 0.05) == printed(half)


@pytest.mark.parametrize("difference", [0.003, -0.008, 0.02])
def test_with_the_same_tuning_it_is_the_confidence_sequence(found: Effect, difference: float) -> None:
    users, rho = 40_000, confidence_sequence.rho_squared(0.05, 40_000)
    mixing = users * found.variance * rho
    assert p_look(difference, found.variance, mixing) == pytest.approx(
        confidence_sequence.p_look(difference, found.variance, users, rho), rel=1e-12
    )
    assert half_width(found.variance, mixing, 0.05) == pytest.approx(
        confidence_sequence.half_width(found.variance, users, rho, 0.05), rel=1e-12
    )


def test_without_variance_there_is_no_evidence() -> None:
    assert log_likelihood_ratio(1.0, 0.0, 1.0) == 0.0
    assert p_look(1.0, 0.0, 1.0) == 1.0
    assert half_width(0.0, 1.0, 0.05) == 0.0


def test_overwhelming_evidence_stays_a_number() -> None:
    assert p_look(1e9, 1e-9, 1.0) == 1e-300


def test_variances_that_are_none_are_refused() -> None:
    for variance, mixing in [(-1.0, 1.0), (1.0, 0.0), (math.nan, 1.0)]:
        with pytest.raises(ValueError, match="the second above 0"):
            log_likelihood_ratio(0.1, variance, mixing)
    with pytest.raises(ValueError, match="alpha is 1"):
        half_width(1.0, 1.0, 1.0)
