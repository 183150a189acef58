"""Sending to the raw topics: whole batches, in order for each partition, with markers of the watermark.

The record time is the arrival, the key the user, the partition crc32 of the key. A marker is a record with
null key and null value, whose header `rtexp-watermark` promises that no record with an earlier time will
follow in its partition.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from rtexp.errors import FatalError
from rtexp.local.raw_records import KINDS, partition_of
from rtexp.local.unreachable import no_topic, unreachable
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from rtexp.local.raw_records import Kind, RawRecord
    from rtexp.settings import Settings

MARKER_HEADER = "rtexp-watermark"
BATCH_BYTES = 200_000
UNCONFIRMED_BATCHES = 32
METADATA_TIMEOUT_SECONDS = 15.0

MAX_RECORD_BYTES = 1_000_000
"""Key and value together; a broker takes 1 MiB unless told otherwise, its own overhead included."""


@asynccontextmanager
async def raw_writer(settings: Settings) -> AsyncIterator[RawWriter]:
    """Open a writer to the raw topics; what it still has is flushed at the end, unless an error ends it.

    UsageError if a raw topic doesn't exist, StoreUnavailable if no broker answers.
    """
    # Idempotent: a batch that is sent again after a broken connection counts once and keeps its place.
    producer = AIOKafkaProducer(
        enable_idempotence=True, max_batch_size=BATCH_BYTES, **client_options(settings.kafka)
    )
    try:
        await producer.start()
    except KafkaError as exc:
        await producer.stop()
        raise await unreachable(settings.kafka, exc, doing="connecting") from exc
    try:
        topics: dict[Kind, str] = {
            "actions": settings.actions.topic,
            "activations": settings.activations.topic,
        }
        partitions = {kind: await _count_partitions(producer, topic) for kind, topic in topics.items()}
        writer = RawWriter(producer, topics, partitions)
        yield writer
        await writer.flush()
    finally:
        await producer.stop()


async def _count_partitions(producer: Any, topic: str) -> int:
    try:
        found = await asyncio.wait_for(producer.partitions_for(topic), METADATA_TIMEOUT_SECONDS)
    except (TimeoutError, KafkaError) as exc:
        raise no_topic(topic) from exc
    if not found:
        raise no_topic(topic)
    return len(found)


class RawWriter:
    """Collects records by partition and sends them in batches; made by `raw_writer`.

    Nothing is sure to stand in the topics before `flush` returns. Any method raises FatalError when sending
    failed; what was sent before then stands.
    """

    def __init__(self, producer: Any, topics: Mapping[Kind, str], partitions: Mapping[Kind, int]) -> None:
        self._producer = producer
        self._topics = topics
        self._batches = {kind: [producer.create_batch() for _ in range(partitions[kind])] for kind in KINDS}
        self._unconfirmed: deque[asyncio.Future[Any]] = deque()
        self._newest_ms: int | None = None

    async def send(self, records: Iterable[RawRecord]) -> None:
        """Take over records; those of one partition keep their order."""
        for arrival_ms, kind, key, value in records:
            batches = self._batches[kind]
            partition = partition_of(key, len(batches))
            # A full batch refuses, returning None. This is the hot line of a replay: 0.9 us.
            while batches[partition].append(timestamp=arrival_ms, key=key, value=value) is None:
                await self._ship(kind, partition)
            self._newest_ms = arrival_ms

    async def mark(self, watermark_ms: int) -> None:
        """Promise, in every partition, that nothing earlier than ``watermark_ms`` follows what was sent."""
        # The promise may lie in the future, where brokers refuse record times; so the marker has that of what
        # it follows.
        record_time_ms = watermark_ms if self._newest_ms is None else min(watermark_ms, self._newest_ms)
        headers = [(MARKER_HEADER, b"%d" % watermark_ms)]
        for kind, batches in self._batches.items():
            for partition in range(len(batches)):
                marker = {"timestamp": record_time_ms, "key": None, "value": None, "headers": headers}
                while batches[partition].append(**marker) is None:
                    await self._ship(kind, partition)

    async def flush(self) -> None:
        """Send what is left, and return when the broker has confirmed all of it."""
        for kind, batches in self._batches.items():
            for partition, batch in enumerate(batches):
                if batch.record_count():
                    await self._ship(kind, partition)
        await self._confirm(0)

    async def _ship(self, kind: Kind, partition: int) -> None:
        batch = self._batches[kind][partition]
        self._batches[kind][partition] = self._producer.create_batch()
        try:
            sent = await self._producer.send_batch(batch, self._topics[kind], partition=partition)
        except KafkaError as exc:
            raise FatalError(f"sending to {self._topics[kind]} failed: {exc!r}") from exc
        self._unconfirmed.append(sent)
        await self._confirm(UNCONFIRMED_BATCHES)

    async def _confirm(self, most: int) -> None:
        """Wait until at most so many batches are unconfirmed."""
        while len(self._unconfirmed) > most:
            sent = self._unconfirmed.popleft()
            try:
                await sent
            except KafkaError as exc:
                raise FatalError(f"the broker didn't take a batch: {exc!r}") from exc
