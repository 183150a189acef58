"""Golden values as they are printed, and the counts that several of them are about."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from rtexp.statistics.counts import Counts

Z_95 = 1.959963984540054  # two-sided 5 %


def printed(digits: str) -> Any:
    """The number that rounds to these digits: half a unit of the last one, or 1e-9 relative where there are more."""
    exponent = Decimal(digits).as_tuple().exponent
    assert isinstance(exponent, int)
    return pytest.approx(float(digits), rel=1e-9, abs=0.5000001 * 10.0**exponent)


def actors(acted: int, users: int) -> Counts:
    """Users of whom some acted, each once."""
    return Counts(users, acted, acted, acted)


def sums(n: int, s1: float, s2: float, a: int | None = None) -> Counts:
    """Sums that needn't be whole numbers, for golden values of packages that average other things than actions."""
    return Counts(n, s1, s2, min(n, int(s1)) if a is None else a)  # type: ignore[arg-type]  # that is the point
