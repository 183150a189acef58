"""Bands around means: as wide as the confidence sequence says, and undefined where nothing is known."""

from __future__ import annotations

import math

import pytest

from rtexp.statistics.bands import band
from rtexp.statistics.confidence_sequence import rho_squared
from rtexp.statistics.counts import Counts, recounted
from rtexp.statistics.effects import Metric
from rtexp.statistics.undefined import Reason, Undefined

RHO = rho_squared(0.05, 10_000)
ACTIONS = [0, 0, 1, 3, 2, 0, 0, 1]


def expected(variance: float, users: int) -> float:
    """Return the formula of statistics.md, section 3e, written down anew."""
    kappa = users * RHO
    return math.sqrt(variance * 2 * (kappa + 1) / kappa * math.log(math.sqrt(kappa + 1) / 0.05))


def test_the_band_of_a_share_rests_on_its_binomial_variance() -> None:
    share = 4 / 8
    found = band(Metric.PROPENSITY, recounted(ACTIONS), RHO, 0.05)
    assert found == pytest.approx(expected(share * (1 - share) / 8, 8), rel=1e-12)


def test_the_band_of_a_volume_rests_on_the_variance_between_users() -> None:
    mean = sum(ACTIONS) / 8
    variance = sum((x - mean) ** 2 for x in ACTIONS) / 7 / 8
    assert band(Metric.VOLUME, recounted(ACTIONS), RHO, 0.05) == pytest.approx(
        expected(variance, 8), rel=1e-12
    )


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (Counts(0, 0, 0, 0), Reason.EMPTY_GROUP),
        (Counts(1, 3, 9, 1), Reason.GROUP_TOO_SMALL),
        (Counts(9, 0, 0, 0), Reason.ZERO_VARIANCE),
        (Counts(9, 9, 9, 9), Reason.ZERO_VARIANCE),
    ],
)
def test_where_users_say_nothing_of_the_variance_there_is_no_band(
    metric: Metric, counts: Counts, reason: Reason
) -> None:
    assert band(metric, counts, RHO, 0.05) == Undefined(reason)
