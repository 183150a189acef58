from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import norm

from rtexp.statistics.gamblers_ruin import design
from rtexp.statistics.operating import bounds, equal_looks
from rtexp.statistics.power import METHODS, Aim, Baseline, least_lift, required_drift, requirement
from rtexp.statistics.simulation.gaussian import first_crossings, scores

if TYPE_CHECKING:
    from rtexp.statistics.power import PowerMethod

WITH_SCORES: tuple[PowerMethod, ...] = (
    "fixed", "obf", "pocock", "bonferroni", "confidence-sequence",
)  # fmt: skip


def test_one_look_at_the_end_needs_what_the_textbook_says() -> None:
    found = requirement("fixed", Aim(), Baseline(10.0, 25.0), lift=0.1)
    textbook = 2 * 25 * (norm.ppf(0.975) + norm.ppf(0.8)) ** 2 / 1**2
    assert found.users_per_group == pytest.approx(textbook, abs=1)


@pytest.mark.parametrize("method", WITH_SCORES)
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_the_drift_is_found_with_the_power_that_was_asked_for(method: Any, power: float) -> None:
    aim = Aim(alpha=0.01, power=power, looks=12)
    drift, found = required_drift(method, aim)
    assert found.crossing == pytest.approx(power, abs=1e-8)
    if method != "fixed":
        z = scores(np.random.default_rng(4), 20_000, equal_looks(12)) + drift * np.sqrt(equal_looks(12))
        crossed = (first_crossings(z, bounds(method, equal_looks(12), 0.01)) < 12).mean()
        assert crossed == pytest.approx(power, abs=3 * np.sqrt(power * (1 - power) / 20_000))


def test_looks_cost_users_and_pay_with_time() -> None:
    found = {method: requirement(method, Aim(), Baseline(0.1), lift=0.1) for method in WITH_SCORES}
    users = [found[method].users_per_group for method in ("fixed", "obf", "pocock", "confidence-sequence")]
    assert users == sorted(users)
    assert found["fixed"].mean_share == 1
    shares = [found[method].mean_share for method in ("obf", "pocock")]
    assert all(share is not None and share < 0.8 for share in shares)
    # Unbiased in both directions: what is lost is as far from nothing as what is gained, but for the variance.
    assert requirement("obf", Aim(), Baseline(10, 25), -0.1) == requirement(
        "obf", Aim(), Baseline(10, 25), 0.1
    )


def test_gamblers_ruin_needs_the_users_who_bring_its_conversions() -> None:
    found = requirement("gamblers-ruin", Aim(), Baseline(0.05), lift=0.2)
    assert found.looks == design(0.2).conversions == 1003
    assert found.users_per_group == 9119  # 1003 / (0.05 + 0.06), rounded up
    assert found.mean_share is None


@pytest.mark.parametrize("method", METHODS)
def test_the_least_lift_of_the_users_that_a_lift_needs_is_that_lift(method: PowerMethod) -> None:
    for lift in (0.03, 0.2):
        users = requirement(method, Aim(), Baseline(0.1), lift).users_per_group
        assert least_lift(method, Aim(), Baseline(0.1), users) == pytest.approx(lift, rel=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_too_few_users_can_show_nothing(method: PowerMethod) -> None:
    assert least_lift(method, Aim(), Baseline(0.5), 3) == inf


@pytest.mark.parametrize(
    ("method", "baseline", "lift", "message"),
    [
        pytest.param("obf", Baseline(0.5), 0.0, "worth finding", id="no lift"),
        pytest.param("obf", Baseline(0.5), -1.0, "worth finding", id="nothing left"),
        pytest.param("obf", Baseline(0.5), 1.2, "between 0 and 1", id="a rate above 1"),
        pytest.param("gamblers-ruin", Baseline(2.0, 3.0), 0.1, "give a rate", id="ruin of a volume"),
        pytest.param("gamblers-ruin", Baseline(0.5), -0.1, "worth finding", id="ruin downwards"),
    ],
)
def test_what_no_users_can_show_is_refused(
    method: PowerMethod, baseline: Baseline, lift: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        requirement(method, Aim(), baseline, lift)


def test_contradictory_values_are_refused() -> None:
    with pytest.raises(ValueError, match="share of users"):
        Baseline(1.0)
    with pytest.raises(ValueError, match="above 0"):
        Baseline(1.0, 0.0)
    with pytest.raises(ValueError, match="alpha < power"):
        Aim(alpha=0.5, power=0.4)
    with pytest.raises(ValueError, match="not a drift"):
        required_drift("gamblers-ruin", Aim())
    with pytest.raises(ValueError, match="at least one"):
        least_lift("obf", Aim(), Baseline(0.5), 0)
