from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtexp.core.periods import periods_of, ramps_of

PERIOD_MS = 100
TIMES = st.lists(st.integers(0, 1_000), max_size=30)


@pytest.mark.parametrize(
    ("allocations", "ramps"),
    [
        pytest.param([("t", 5, 10)], [("t", 10)], id="the first allocation above 0 is a ramp"),
        pytest.param([("t", 0, 10)], [], id="a first allocation of 0 is none"),
        pytest.param([("t", 0, 10), ("t", 5, 20)], [("t", 20)], id="from 0 to 5"),
        pytest.param([("t", 5, 10), ("t", 5, 20)], [("t", 10)], id="the same again"),
        pytest.param([("t", 5, 10), ("t", 2, 20), ("t", 3, 30)], [("t", 10), ("t", 30)], id="down, then up"),
        pytest.param([("t", 5, 10), ("c", 5, 20)], [("t", 10), ("c", 20)], id="each group by itself"),
        pytest.param([("t", 9, 20), ("t", 5, 10)], [("t", 10), ("t", 20)], id="ids out of order of time"),
        pytest.param([("t", 5, 10), ("t", 2, 10), ("t", 3, 10)], [("t", 10), ("t", 10)], id="ids break ties"),
    ],
)
def test_an_increase_is_a_ramp(
    allocations: list[tuple[str, float, int]], ramps: list[tuple[str, int]]
) -> None:
    assert ramps_of(allocations) == ramps


@pytest.mark.parametrize(
    ("ramps", "periods"),
    [
        pytest.param([], [], id="no ramp"),
        pytest.param([7], [(7, 107)], id="the first ramp opens a period"),
        pytest.param([7, 106], [(7, 107)], id="a ramp inside changes nothing"),
        pytest.param([7, 107], [(7, 107), (107, 207)], id="a ramp exactly at the end opens the next"),
        pytest.param([7, 50, 150], [(7, 107), (150, 250)], id="a ramp inside doesn't extend"),
        pytest.param([150, 7], [(7, 107), (150, 250)], id="order of time, not of mention"),
    ],
)
def test_a_ramp_outside_every_period_opens_one(ramps: list[int], periods: list[tuple[int, int]]) -> None:
    assert periods_of(ramps, PERIOD_MS) == periods


@settings(max_examples=100, deadline=None)
@given(TIMES)
def test_every_ramp_lies_in_exactly_one_period(ramps: list[int]) -> None:
    periods = periods_of(ramps, PERIOD_MS)
    for ramp in ramps:
        assert sum(start <= ramp < end for start, end in periods) == 1
    assert all(end - start == PERIOD_MS and start in ramps for start, end in periods)


@settings(max_examples=100, deadline=None)
@given(TIMES, TIMES)
def test_later_ramps_change_no_earlier_period(ramps: list[int], later: list[int]) -> None:
    newest = max(ramps, default=0)
    periods = periods_of(ramps, PERIOD_MS)
    assert periods_of([*ramps, *(newest + at for at in later)], PERIOD_MS)[: len(periods)] == periods
