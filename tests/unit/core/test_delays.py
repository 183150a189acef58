"""Histograms of delays: percentiles within 2 %, and sums that don't depend on who counted what."""

from __future__ import annotations

import pytest

from rtexp.core.delays import GROWTH, Delays


def of(*ranges: tuple[float, float]) -> Delays:
    made = Delays()
    for low_ms, high_ms in ranges:
        made.add(low_ms, high_ms)
    return made


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 1.0])
@pytest.mark.parametrize(("low_ms", "high_ms"), [(0, 1_000), (12_000, 14_000), (500, 3_600_000), (0, 0.5)])
def test_percentiles_of_an_even_range_are_within_a_bin(low_ms: float, high_ms: float, share: float) -> None:
    found = of((low_ms, high_ms)).percentile_ms(share)
    exact = low_ms + share * (high_ms - low_ms)
    assert found is not None
    assert exact / GROWTH - 1 <= found <= exact * GROWTH + 1


def test_ranges_weigh_by_their_width() -> None:
    #  0 .. 10 s weighs nine times as much as 100 .. 101.1 s
    found = of((0, 9_900), (100_000, 101_100))
    assert found.percentile_ms(0.85) == pytest.approx(9_350, rel=0.02)
    assert found.percentile_ms(0.95) == pytest.approx(100_550, rel=0.02)


def test_the_weight_is_the_time_in_which_things_arrived() -> None:
    assert sum(of((0.2, 7_777), (12_000, 12_001)).weights.values()) == pytest.approx(7_777.8)


def test_delays_below_zero_count_as_none() -> None:
    assert of((-500, -100)).weights == {}
    assert sum(of((-500, 100)).weights.values()) == pytest.approx(100)


def test_nothing_counted_has_no_percentile() -> None:
    assert of().percentile_ms(0.5) is None
    assert of((5, 5)).percentile_ms(0.5) is None


def test_what_two_counted_adds_up_to_what_one_would_have() -> None:
    first, second = of((0, 3_000)), of((1_000, 9_000))
    both = Delays(first.weights)
    both.merge(second)
    assert both.weights == pytest.approx(of((0, 3_000), (1_000, 9_000)).weights)
    assert first.weights == of((0, 3_000)).weights
