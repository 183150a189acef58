from __future__ import annotations

import pytest

from rtexp.core.buckets import HOUR_MS, bucket_start_ms, hour_of, oldest_slot, slot_of

QUARTER_MS = 900_000
T0 = 472_222 * HOUR_MS


@pytest.mark.parametrize(
    ("at_ms", "start_ms"),
    [
        pytest.param(T0, T0, id="a bucket's start belongs to it"),
        pytest.param(T0 + QUARTER_MS - 1, T0, id="as does its last millisecond"),
        pytest.param(T0 + QUARTER_MS, T0 + QUARTER_MS, id="its end opens the next"),
    ],
)
def test_buckets_are_half_open(at_ms: int, start_ms: int) -> None:
    assert bucket_start_ms(at_ms, QUARTER_MS) == start_ms


def test_slots_and_hours_of_arrival_are_half_open_too() -> None:
    assert [slot_of(at, 300_000) for at in (299_999, 300_000, 599_999, 600_000)] == [0, 1, 1, 2]
    assert [hour_of(at) for at in (HOUR_MS - 1, HOUR_MS)] == [0, 1]


def test_a_slot_may_be_forgotten_when_the_watermark_reaches_the_end_of_its_successor() -> None:
    #  0        300        600
    #  [ slot 0 )[ slot 1 )[ slot 2
    #                     ^ at 599,999 an arrival in slot 1 may still repeat one of slot 0
    assert oldest_slot(599_999, 300_000) == 0
    assert oldest_slot(600_000, 300_000) == 1
