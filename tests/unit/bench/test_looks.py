"""The section `looks`: what it measures happens, within the budget."""

from __future__ import annotations

from rtexp.bench.looks import measure_looks


def test_a_look_at_eighty_comparisons_costs_less_than_its_history_and_than_a_second() -> None:
    for found in measure_looks(every_hours=6.0):
        assert (found.comparisons, found.looks) == (80, 12)
        assert 20 <= found.crossed <= 26, "24 have an effect"
        assert 0 < found.warm_seconds < min(found.cold_seconds, 1.0)
