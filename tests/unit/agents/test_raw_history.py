from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka.errors import KafkaTimeoutError

from rtexp.agents import raw_history
from rtexp.agents.raw_history import check_history, keep_checking
from rtexp.engine.api import TopicPartition
from rtexp.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Mapping

ACTIONS = TopicPartition("actions", 3)
OTHER = TopicPartition("actions", 4)

Ends = dict[TopicPartition, int]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_history, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(raw_history, "AGAIN_SECONDS", 0.0)


@pytest.mark.parametrize("end", [7, 8])
def test_a_topic_that_holds_what_was_counted_is_the_old_one(end: int) -> None:
    check_history({ACTIONS: 7}, {ACTIONS: end})


def test_a_topic_that_ends_before_what_was_counted_was_made_again() -> None:
    with pytest.raises(StateError, match=r"actions/3 ends at 6, but had been counted up to 7: .* made again"):
        check_history({OTHER: 7, ACTIONS: 7}, {ACTIONS: 6, OTHER: 7})


async def answering(*answers: Ends | Exception, counted: Ends) -> int:
    """Check until the answers have run out; return how many were asked for."""
    left = list(answers)

    async def counted_now() -> Mapping[TopicPartition, int]:
        if not left:
            raise asyncio.CancelledError
        return counted

    async def ends_of(tps: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        assert tps == list(counted)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(asyncio.CancelledError):
        await keep_checking(counted_now, ends_of)
    return len(answers) - len(left)


async def test_one_answer_of_a_moment_ago_is_not_believed() -> None:
    assert await answering({ACTIONS: 5}, {ACTIONS: 7}, counted={ACTIONS: 7}) == 2


async def test_the_second_is() -> None:
    with pytest.raises(StateError, match="made again"):
        await answering({ACTIONS: 8}, {ACTIONS: 0}, {ACTIONS: 2}, counted={ACTIONS: 7})


async def test_a_broker_that_does_not_answer_is_asked_again() -> None:
    assert await answering(KafkaTimeoutError(), {ACTIONS: 8}, counted={ACTIONS: 7}) == 2
