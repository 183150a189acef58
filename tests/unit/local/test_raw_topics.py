"""What a raw topic must be like to keep what a replay sends."""

from __future__ import annotations

import pytest

from rtexp.local.raw_topics import unfit

DAY_MS = 86_400_000
NOW_MS = 1_700_000_000_000
WEEK = {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS), "message.timestamp.type": "CreateTime"}


@pytest.mark.parametrize(
    ("config", "days_ago"),
    [
        pytest.param(WEEK, 7, id="just within retention"),
        pytest.param(WEEK | {"retention.ms": "-1"}, 9000, id="kept for ever"),
        pytest.param(WEEK | {"cleanup.policy": "compact"}, 9000, id="time deletes nothing"),
        pytest.param({}, 9000, id="we may not know"),
    ],
)
def test_a_topic_that_keeps_the_oldest_row_will_do(config: dict[str, str], days_ago: int) -> None:
    assert unfit("raw", config, NOW_MS - days_ago * DAY_MS, NOW_MS) is None


@pytest.mark.parametrize(
    ("config", "days_ago", "told"),
    [
        pytest.param(
            WEEK, 7.001, "raw keeps records for 7 days, but the oldest row is of 2023-11-07", id="too old"
        ),
        pytest.param(WEEK | {"cleanup.policy": "compact,delete"}, 8, "--now", id="both policies"),
        pytest.param(
            WEEK | {"message.timestamp.type": "LogAppendTime"}, 0, "CreateTime", id="times of its own"
        ),
    ],
)
def test_a_topic_that_does_not_says_what_to_set(config: dict[str, str], days_ago: float, told: str) -> None:
    assert told in (unfit("raw", config, NOW_MS - int(days_ago * DAY_MS), NOW_MS) or "")
