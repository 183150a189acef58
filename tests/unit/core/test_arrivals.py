from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtexp.core.arrivals import Arrivals, arrivals_of, metadata_of, watermark_of
from rtexp.errors import StateError

NOW_MS = 1_000_000
OUT_OF_ORDER_MS = 100


def arrive(
    *timestamps_ms: int, watermark_ms: int = 0, markers_ms: dict[int, int | None] | None = None
) -> Arrivals:
    return arrivals_of(
        np.array(timestamps_ms, np.int64),
        watermark_ms=watermark_ms,
        now_ms=NOW_MS,
        out_of_order_ms=OUT_OF_ORDER_MS,
        markers_ms=markers_ms or {},
    )


@pytest.mark.parametrize(
    ("timestamps", "arrivals"),
    [
        pytest.param([500, 400], [500, 400], id="as far back as out of order allows"),
        pytest.param([500, 399], [500, 400], id="further back is raised"),
        pytest.param([500, 100, 450], [500, 400, 450], id="a raised one raises nothing"),
        pytest.param([NOW_MS + 1], [NOW_MS], id="not after the reader's clock"),
        pytest.param(
            [NOW_MS + 500, 0], [NOW_MS, NOW_MS - 100], id="a clock ahead raises by the reader's clock"
        ),
        pytest.param([-1], [0], id="no time stamp"),
    ],
)
def test_a_record_arrives_at_its_time_stamp_within_limits(timestamps: list[int], arrivals: list[int]) -> None:
    assert arrive(*timestamps).arrivals_ms.tolist() == arrivals


def test_the_watermark_is_the_newest_arrival_less_out_of_order() -> None:
    result = arrive(500, 700, 650)
    assert result.watermarks_ms.tolist() == [0, 400, 600]
    assert result.watermark_ms == 600


def test_a_marker_announces_its_own_value_and_takes_nothing_off() -> None:
    result = arrive(500, 3, 450, 950, markers_ms={1: 900})
    assert result.arrivals_ms[[0, 2, 3]].tolist() == [500, 900, 950]
    assert result.watermark_ms == 900


def test_a_marker_may_lie_in_the_future() -> None:
    assert arrive(3, 5, markers_ms={0: NOW_MS * 2}).arrivals_ms[1] == NOW_MS * 2


def test_an_ignored_marker_moves_nothing() -> None:
    assert arrive(NOW_MS, markers_ms={0: None}, watermark_ms=7).watermark_ms == 7


def test_a_watermark_that_was_announced_raises_what_comes_later() -> None:
    assert arrive(500, watermark_ms=800).arrivals_ms.tolist() == [800]


RECORDS = st.lists(st.tuples(st.integers(-1, 2_000), st.none() | st.integers(0, 2_000)), max_size=20)


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.integers(0, 20))
def test_any_cut_gives_the_same_arrivals(records: list[tuple[int, int | None]], cut: int) -> None:
    whole = take(records, 0)
    first = take(records[:cut], 0)
    second = take(records[cut:], watermark_of(metadata_of(first.watermark_ms)))
    assert whole.watermark_ms == second.watermark_ms
    assert whole.arrivals_ms.tolist() == first.arrivals_ms.tolist() + second.arrivals_ms.tolist()
    assert whole.watermarks_ms.tolist() == first.watermarks_ms.tolist() + second.watermarks_ms.tolist()


@settings(max_examples=100, deadline=None)
@given(RECORDS)
def test_the_watermark_never_falls_and_nothing_arrives_below_it(
    records: list[tuple[int, int | None]],
) -> None:
    result = take(records, 0)
    watermarks = [*result.watermarks_ms.tolist(), result.watermark_ms]
    assert watermarks == sorted(watermarks)
    for position, arrival_ms in enumerate(result.arrivals_ms.tolist()):
        assert arrival_ms >= watermarks[position]


@settings(max_examples=100, deadline=None)
@given(RECORDS)
def test_it_equals_the_rule_told_record_by_record(records: list[tuple[int, int | None]]) -> None:
    """Newest before it less what may be out of order, and what markers announced."""
    newest, announced, expected = 0, 0, []
    for timestamp, marker in records:
        if marker is None:
            arrival = max(timestamp, newest - OUT_OF_ORDER_MS, announced)
            newest = max(newest, arrival)
        else:
            announced = arrival = max(announced, marker)
        expected.append((marker, arrival))
    found = take(records, 0).arrivals_ms.tolist()
    for (marker, arrival), actual in zip(expected, found, strict=True):
        assert marker is not None or actual == arrival


def take(records: list[tuple[int, int | None]], watermark_ms: int) -> Arrivals:
    markers: dict[int, int | None] = {
        at: marker for at, (_, marker) in enumerate(records) if marker is not None
    }
    return arrive(*(timestamp for timestamp, _ in records), watermark_ms=watermark_ms, markers_ms=markers)


def test_an_offset_that_was_reset_by_hand_has_no_metadata() -> None:
    assert watermark_of("") == 0


@pytest.mark.parametrize("metadata", ["2:5", "1:", "1:-3", "hello", "1:5 "])
def test_foreign_metadata_is_refused(metadata: str) -> None:
    with pytest.raises(StateError, match="metadata"):
        watermark_of(metadata)
