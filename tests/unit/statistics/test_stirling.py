from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import gammaln

from rtexp.statistics.stirling import remainder


def test_the_approximation_and_its_remainder_give_log_gamma() -> None:
    x = np.geomspace(1e-3, 1e4, 500)
    stirling = (x - 0.5) * np.log(x) - x + math.log(2 * math.pi) / 2
    assert stirling + remainder(x) == pytest.approx(gammaln(x), rel=1e-13, abs=1e-13)


def test_series_and_difference_meet_without_a_jump() -> None:
    below, above = remainder([16 * (1 - 1e-12), 16.0])
    assert below == pytest.approx(above, abs=1e-13)


def test_the_remainder_of_a_billion_has_all_its_digits() -> None:
    assert float(remainder(1e9)) == pytest.approx(1 / 12e9 - 1 / 360e27, rel=1e-15)
