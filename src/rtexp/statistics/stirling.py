"""Stirling's series: what evidence from millions of users needs where log-gamma functions would lose its digits.

``gammaln(1e9)`` is 2e10, so differences of such values are good to 1e-5 only. In likelihoods their great parts cancel
on paper: write lnG(x) as (x - 1/2) ln x - x + ln(2 pi)/2 + `remainder(x)`, and only logarithms of quotients stay.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_SERIES_FROM = 16.0  # from here on the terms below leave out less than 1e-17
_HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2


def remainder(x: ArrayLike) -> NDArray[np.float64]:
    """Return lnG(x) less its Stirling approximation, for x > 0, elementwise; about 1 / (12 x)."""
    x = np.asarray(x, np.float64)
    small, great = np.minimum(x, _SERIES_FROM), np.maximum(x, _SERIES_FROM)
    direct = gammaln(small) - ((small - 0.5) * np.log(small) - small + _HALF_LOG_TWO_PI)
    square = 1 / great**2
    series = 1 / 1188 - square * (691 / 360360 - square / 156)
    series = 1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square * series)))
    return np.asarray(np.where(x < _SERIES_FROM, direct, series / great), np.float64)
