"""A raw topic that was deleted and made again: its offsets begin anew, and all would be taken for repeats.

Kafka forgets what a group has committed of a topic that is deleted, so ingest begins such a topic like a new one. Who
remembers the old one is aggregate: it knows how far each raw partition has been counted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from rtexp.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from rtexp.engine.api import TopicPartition

    Offsets = Mapping[TopicPartition, int]

INTERVAL_SECONDS = 5.0
AGAIN_SECONDS = 1.0
"""A partition that has just changed its leader may tell an end of a moment ago: only the second time is believed."""

log = structlog.get_logger(__name__)


def check_history(counted: Offsets, ends: Offsets) -> None:
    """StateError if a raw partition ends before what has been ``counted`` of it (next offsets, as are ``ends``)."""
    for tp in sorted(counted):
        if ends[tp] < counted[tp]:
            raise StateError(
                f"{tp.topic}/{tp.partition} ends at {ends[tp]}, but had been counted up to {counted[tp]}: the topic "
                "was deleted and made again, and its records would be dropped as repeats. Start with a new [kafka] "
                "prefix and a new database"
            )


async def keep_checking(
    counted: Callable[[], Awaitable[Offsets]], ends_of: Callable[[list[TopicPartition]], Awaitable[Offsets]]
) -> None:
    """Compare now and then, for good; StateError as `check_history`. A broker that doesn't answer is asked later."""
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        try:
            await _check(counted, ends_of)
        except KafkaError as exc:
            log.warning("raw_topics_not_compared", error=repr(exc))


async def _check(
    counted: Callable[[], Awaitable[Offsets]], ends_of: Callable[[list[TopicPartition]], Awaitable[Offsets]]
) -> None:
    known = await counted()  # first: ends that are asked for later can't be less
    if not known:
        return  # no task is live yet
    try:
        check_history(known, await ends_of(list(known)))
    except StateError:
        await asyncio.sleep(AGAIN_SECONDS)
        check_history(known, await ends_of(list(known)))
