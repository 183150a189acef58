"""Which worker has a partition now: whoever has said so last on the `status` topic, on which all speak every 5 s."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import KafkaError

from rtexp.records import status as records
from rtexp.worker_web.answers import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from rtexp.records.status import Status

RECENT_MS = 30_000
"""So far back it is read: who is silent for so long may be dead."""
KEPT_SECONDS = 2.0
"""For so long what was read serves others who ask."""
_MOST_RECORDS = 500


class Owner(NamedTuple):
    """A worker that has a partition."""

    worker: str
    url: str
    """Where it serves state; empty: nowhere."""


class Owners:
    """Asks the topic when someone asks for an owner, and then only for its newest end."""

    def __init__(
        self,
        read: Callable[[], Awaitable[Iterable[Status]]],
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """``read`` returns what was said lately, oldest first."""
        self._read = read
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._found: Mapping[tuple[str, int], Owner] = {}
        self._read_at = -KEPT_SECONDS

    async def find(self, job: str, partition: int) -> Owner:
        """Return who has a partition; Problem if nobody says so, or the topic can't be read."""
        async with self._lock:
            if self._seconds() - self._read_at >= KEPT_SECONDS:
                self._found = {
                    (said.job, said.partition): Owner(said.worker, said.process.url if said.process else "")
                    for said in await self._read()
                }
                self._read_at = self._seconds()
        owner = self._found.get((job, partition))
        if owner is None:
            raise Problem(
                503,
                "no-owner",
                f"no {job} worker says that it has partition {partition}: see whether one runs, with `rtexp tables`",
            )
        return owner


async def read_recent(connection: Mapping[str, Any], topic: str) -> list[Status]:
    """Return what was said on ``topic`` within `RECENT_MS`, oldest first; Problem if the broker doesn't answer.

    ``connection`` are the client's keyword arguments that say where the broker is.
    """
    consumer = AIOKafkaConsumer(**connection, group_id=None, enable_auto_commit=False)
    tp = ClientPartition(topic, 0)
    said: list[Status] = []
    try:
        await consumer.start()
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        first = (await consumer.offsets_for_times({tp: int(time.time() * 1000) - RECENT_MS}))[tp]
        if first is None:
            return said
        consumer.seek(tp, first.offset)
        while await consumer.position(tp) < end:
            fetched = await consumer.getmany(tp, timeout_ms=500, max_records=_MOST_RECORDS)
            values = (message.value for messages in fetched.values() for message in messages)
            said += [records.decode(value) for value in values if value is not None]
    except (KafkaError, TimeoutError) as error:
        raise Problem(503, "broker", "the broker doesn't say who has it: try again") from error
    finally:
        await consumer.stop()
    return said
