"""From watermarks of what was published to delays by minute."""

from __future__ import annotations

import json

import pytest

from rtexp.agents.freshness import MINUTE_MS, REPORTED_MINUTES, Freshness, delays_of

START_MS = 1_700_000_040_000
assert START_MS % MINUTE_MS == 0


class Clock:
    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> float:
        return self.now_ms / 1000


def measured(*publishes: tuple[int, int], partition: int = 0) -> tuple[Freshness, Clock]:
    """After publishes of (wall clock, watermark), both in ms after the start."""
    clock = Clock()
    freshness = Freshness(clock=clock)
    for now_ms, watermark_ms in publishes:
        clock.now_ms = START_MS + now_ms
        freshness.published(partition, START_MS + watermark_ms)
    return freshness, clock


def reported(freshness: Freshness, partition: int = 0) -> dict[int, int | None]:
    """Median by minute, as it is after it went through a status."""
    report = json.loads(json.dumps(freshness.report(partition)))
    return {at - START_MS: delays.percentile_ms(0.5) for at, delays in delays_of(report).items()}


def test_what_arrived_between_two_watermarks_became_visible_with_the_second() -> None:
    #  arrivals   0 ........ 1,000
    #  visible                        13,000      so 12,000 to 13,000 later
    freshness, _ = measured((12_500, 0), (13_000, 1_000))
    assert reported(freshness) == {0: pytest.approx(12_500, rel=0.02)}


def test_a_first_publish_says_only_where_it_begins() -> None:
    freshness, _ = measured((12_000, 0))
    assert freshness.report(0) == {}


def test_an_unknown_watermark_and_one_that_stands_still_say_nothing() -> None:
    freshness, _ = measured((1_000, -START_MS), (2_000, 500), (3_000, 500))
    assert freshness.report(0) == {}


def test_while_nothing_is_published_there_is_no_minute_and_then_one_with_all_of_it() -> None:
    freshness, _ = measured((0, -12_000), (10 * MINUTE_MS, 10 * MINUTE_MS - 12_000))
    assert reported(freshness) == {10 * MINUTE_MS: pytest.approx(5 * MINUTE_MS + 12_000, rel=0.02)}


def test_a_delay_counts_in_the_minute_in_which_it_ended_and_only_the_newest_are_reported() -> None:
    freshness, _ = measured(*((minute * MINUTE_MS, minute * MINUTE_MS - 1_000) for minute in range(9)))
    assert list(reported(freshness)) == [minute * MINUTE_MS for minute in range(9 - REPORTED_MINUTES, 9)]


def test_a_partition_that_was_lost_and_comes_back_begins_anew() -> None:
    freshness, clock = measured((0, -1_000), (1_000, 0))
    before = freshness.report(0)
    freshness.keep([1])
    clock.now_ms += MINUTE_MS
    freshness.published(0, clock.now_ms - 1_000)
    assert freshness.report(0) == before, "what someone else published meanwhile isn't ours"
    freshness.published(0, clock.now_ms - 500)
    assert len(freshness.report(0)) == 2


def test_what_is_no_report_gives_nothing() -> None:
    assert delays_of(None) == {}
