"""A peer's results topic: made empty before, read to the end after."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bench.peers.results import Results

PARTITIONS = 8
QUIET_MS = 2000
_PARTITION_BYTES = 4 << 20


async def make_topic(broker: str, name: str) -> None:
    """Make a topic; its messages keep the times of the broker."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    finally:
        await admin.close()


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads what has been committed, from the beginning; made by `reading`."""

    results: Results
    _consumer: Any

    async def read(self) -> bool:
        """Take over what has come; False if nothing has for some seconds."""
        batches = await self._consumer.getmany(timeout_ms=QUIET_MS)
        for records in batches.values():
            for record in records:
                self.results.take(record.value)
        return bool(batches)

    async def read_until(self, volume: int, *, within_seconds: float) -> None:
        """Read on until all cells together have so much, or the time is over."""
        until = time.monotonic() + within_seconds
        while self.results.volume < volume and time.monotonic() < until:
            await self.read()

    async def read_rest(self) -> None:
        """Read until nothing comes any more; nobody may write meanwhile."""
        while await self.read():
            pass


@asynccontextmanager
async def reading(broker: str, topic: str, results: Results) -> AsyncIterator[Reader]:
    """Open a reader which adds to ``results``."""
    consumer: Any = AIOKafkaConsumer(
        bootstrap_servers=broker,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_PARTITION_BYTES,
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        yield Reader(results, consumer)
    finally:
        await consumer.stop()
