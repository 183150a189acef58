"""The section `decode`: nothing is refused, and where fields lie matters little."""

from __future__ import annotations

from rtexp.bench.decode import measure_decode

MOST_TIMES_FLAT = 2.0
"""1.2 to 1.3 on a machine that is free or busy; before columns were read by compiled code, 1.4."""


def test_nested_records_cost_hardly_more_than_flat_ones() -> None:
    flat, nested, with_text = measure_decode(records=2_000, rounds=9)
    assert (flat.shape, flat.times_flat) == ("flat", 1.0)
    assert nested.shape == "nested"
    assert nested.us_a_record > 0
    assert nested.times_flat < MOST_TIMES_FLAT
    assert with_text.us_a_record > 0
