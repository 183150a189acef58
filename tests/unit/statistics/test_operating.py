"""What the rules do with Gaussian scores: exactly, and by simulation of 20,000 paths. Peeking must fail both."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rtexp.statistics.operating import bounds, equal_looks, operating, passages
from rtexp.statistics.simulation.gaussian import first_crossings, scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtexp.statistics.operating import Rule

DRIFT = 2.8015852  # a single test at 5 % finds this with a power of 80 %
RUNS = 20_000
ALPHA = 0.05
# By rule and number of looks: error, power, mean share of the window; to the digits that are given.
FIGURES: dict[tuple[Rule, int], tuple[str, str | None, str | None]] = {
    ("obf", 5): ("0.0500", "0.790", None),
    ("obf", 12): ("0.0500", "0.784", "0.768"),
    ("obf", 72): ("0.0500", "0.779", "0.745"),
    ("obf", 288): ("0.0500", "0.778", "0.741"),
    ("pocock", 5): ("0.0500", "0.715", None),
    ("pocock", 12): ("0.0500", "0.699", "0.687"),
    ("pocock", 72): ("0.0500", "0.689", "0.675"),
    ("pocock", 288): ("0.0500", "0.687", "0.674"),
    ("bonferroni", 12): ("0.0234", "0.561", "0.767"),
    ("bonferroni", 72): ("0.0096", "0.382", "0.847"),
    ("bonferroni", 288): ("0.0041", "0.260", "0.904"),
    ("confidence-sequence", 5): ("0.0066", None, None),
    ("confidence-sequence", 12): ("0.0093", "0.480", "0.832"),
    ("confidence-sequence", 72): ("0.0140", "0.517", "0.791"),
    ("confidence-sequence", 288): ("0.0163", "0.532", "0.777"),
    ("unadjusted", 12): ("0.2075", None, None),
    ("unadjusted", 72): ("0.3487", None, None),
    ("unadjusted", 288): ("0.4497", None, None),
    ("bayesian", 12): ("0.363", None, None),
    ("bayesian", 72): ("0.560", None, None),
    ("bayesian", 288): ("0.680", None, None),
}
BONFERRONI_ERRORS = {
    1: 0.0500, 2: 0.0428, 3: 0.0384, 5: 0.0327, 10: 0.0253, 12: 0.0234,
    20: 0.0186, 24: 0.0171, 50: 0.0117, 72: 0.0096, 100: 0.0079, 288: 0.0041,
}  # fmt: skip
PEEKING_ERRORS = {
    1: 0.0500, 2: 0.0831, 3: 0.1073, 5: 0.1417, 10: 0.1934, 12: 0.2075,
    20: 0.2479, 24: 0.2624, 50: 0.3205, 72: 0.3487, 100: 0.3736, 288: 0.4497,
}  # fmt: skip


@cache
def paths(looks: int) -> NDArray[np.float64]:
    return scores(np.random.default_rng(20_261_125), RUNS, equal_looks(looks))


@cache
def bounds_of(rule: Rule, looks: int) -> list[float]:
    return bounds(rule, equal_looks(looks), ALPHA)


def is_within(found: float, expected: float, runs: int = RUNS) -> bool:
    return bool(abs(found - expected) <= 3 * np.sqrt(expected * (1 - expected) / runs))


@pytest.mark.parametrize(("rule", "looks"), FIGURES)
def test_error_power_and_stop_are_the_exact_ones(rule: Rule, looks: int) -> None:
    error, power, stop = FIGURES[rule, looks]
    t, found = equal_looks(looks), bounds_of(rule, looks)
    looks_of = passages(found, t)
    without, with_effect = operating(looks_of), operating(looks_of, DRIFT)
    assert without.crossing == pytest.approx(float(error), abs=0.51 * 10 ** (2 - len(error)))
    assert power is None or with_effect.crossing == pytest.approx(float(power), abs=0.00051)
    assert stop is None or with_effect.mean_t == pytest.approx(float(stop), abs=0.00051)


@pytest.mark.parametrize("looks", BONFERRONI_ERRORS)
def test_bonferroni_is_conservative_and_peeking_is_not(looks: int) -> None:
    t = equal_looks(looks)
    for rule, errors in (("bonferroni", BONFERRONI_ERRORS), ("unadjusted", PEEKING_ERRORS)):
        assert operating(passages(bounds_of(rule, looks), t)).crossing == pytest.approx(
            errors[looks], abs=0.000051
        )


@pytest.mark.parametrize(("rule", "looks"), FIGURES)
def test_simulated_paths_err_as_often_as_computed(rule: Rule, looks: int) -> None:
    error, power, stop = FIGURES[rule, looks]
    t, found = np.asarray(equal_looks(looks)), bounds_of(rule, looks)
    crossed = float((first_crossings(paths(looks), found) < looks).mean())
    assert is_within(crossed, float(error))
    # That simulation can tell a rule that holds its level from one that doesn't.
    holds = crossed <= ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / RUNS)
    assert holds == (rule not in {"unadjusted", "bayesian"})
    if power is not None:
        first = first_crossings(paths(looks) + DRIFT * np.sqrt(t), found)
        assert is_within(float((first < looks).mean()), float(power))
        stopped = float(np.append(t, 1.0)[first].mean())
        assert stop is None or stopped == pytest.approx(float(stop), abs=0.008)
