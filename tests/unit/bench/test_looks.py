"""The section `looks`: what it measures happens, within the budget's order of magnitude."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.bench import looks
from rtexp.bench.looks import measure_looks

if TYPE_CHECKING:
    import pytest


def test_every_strong_comparison_falls_at_the_look_that_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "COMPARISONS", 10)
    monkeypatch.setattr(looks, "LOOKS", 24)
    for found in measure_looks():
        assert (found.comparisons, found.looks, found.falling) == (10, 24, 3)
        # On any machine a look costs less than its whole history; and the budget of 80 comparisons is one second.
        assert 0 < found.warm_seconds < min(found.cold_seconds, 1.0)
