"""Replaying a changelog into a local store, in bulk."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaTopicPartition

from rtexp.engine import changelog
from rtexp.engine.api import Output, Page
from rtexp.engine.store import LAYOUT, Head
from rtexp.errors import FatalError, StateError

if TYPE_CHECKING:
    from rtexp.engine.config import EngineConfig
    from rtexp.engine.sensors import TaskSensors
    from rtexp.engine.store import PartitionStore
    from rtexp.engine.transactions import FencedProducer

log = logging.getLogger(__name__)

STALLED_SECONDS = 60.0
"""A changelog that yields nothing for this long, short of its end, is not coming."""


async def recover(
    config: EngineConfig,
    table: str,
    partition: int,
    *,
    store: PartitionStore,
    producer: FencedProducer,
    sensors: TaskSensors,
) -> Head:
    """Bring ``store`` up to the changelog's end and return its head.

    ``producer`` must have been started: then no earlier owner can append any more, so the end stands still.
    A changelog without records gets its incarnation. StateError if the changelog isn't one.
    """
    tp = KafkaTopicPartition(table, partition)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=list(config.brokers),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        request_timeout_ms=int(config.request_timeout * 1000),
        max_partition_fetch_bytes=8 << 20,
        fetch_max_bytes=32 << 20,
        **config.connection(),
    )
    await consumer.start()
    try:
        consumer.assign([tp])
        reader = _Reader(consumer, tp, store, sensors)
        return await reader.run(producer, config.store_max_age)
    finally:
        await consumer.stop()


class _Reader:
    def __init__(
        self, consumer: AIOKafkaConsumer, tp: KafkaTopicPartition, store: PartitionStore, sensors: TaskSensors
    ) -> None:
        self._consumer = consumer
        self._tp = tp
        self._store = store
        self._sensors = sensors

    async def run(self, producer: FencedProducer, max_age: float) -> Head:
        begin, end, incarnation = await self._bounds_and_incarnation(producer)
        store = self._store
        if (why := _unfit(store.head, begin, end, incarnation, max_age)) is not None:
            log.info("%s/%s: local store wiped (%s)", self._tp.topic, self._tp.partition, why)
            store.wipe()
        head = store.head or Head(LAYOUT, incarnation, begin, b"", b"", time.time())
        return await self._replay(head, end)

    async def _bounds_and_incarnation(self, producer: FencedProducer) -> tuple[int, int, str]:
        begin, end = await self._bounds()
        record = await self._first_record(begin, end)
        if record is None and begin == 0:
            # It is new; or whoever began it was killed or fenced before its first commit, and left nothing but marks.
            birth = Output(
                self._tp.topic, self._tp.partition, uuid.uuid4().hex.encode(), changelog.INCARNATION
            )
            await producer.transact([birth])
            begin, end = await self._bounds_beyond(end)
            record = await self._first_record(begin, end)
        if record is None or record.key != changelog.INCARNATION or record.value is None:
            raise StateError(
                f"{self._tp.topic}/{self._tp.partition} doesn't begin with its incarnation: it isn't a changelog "
                "of rtexp, or its first records were deleted. Give rtexp a topic of its own with cleanup.policy=compact"
            )
        return begin, end, record.value.decode()

    async def _first_record(self, begin: int, end: int) -> Any:
        """Return the first committed record; None where there is none."""
        async for batch in self._read(begin, end):
            return batch[0]
        return None

    async def _bounds_beyond(self, before: int) -> tuple[int, int]:
        """Wait until the first record shows: a commit returns before its mark stands in the partition."""
        deadline = time.monotonic() + STALLED_SECONDS
        while time.monotonic() < deadline:
            begin, end = await self._bounds()
            if end > before:
                return begin, end
            await asyncio.sleep(0.01)
        raise FatalError(f"{self._tp.topic}/{self._tp.partition}: its first record doesn't show")

    async def _bounds(self) -> tuple[int, int]:
        begin = (await self._consumer.beginning_offsets([self._tp]))[self._tp]
        end = (await self._consumer.end_offsets([self._tp]))[self._tp]
        return begin, end

    async def _read(self, begin: int, end: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - aiokafka's records
        """Yield committed records below ``end`` in batches."""
        self._consumer.seek(self._tp, begin)
        progressed = time.monotonic()
        position = begin
        while position < end:
            got = await self._consumer.getmany(self._tp, timeout_ms=500)
            if records := got.get(self._tp):
                yield records
            now_at = await self._consumer.position(self._tp)
            if now_at != position:
                position, progressed = now_at, time.monotonic()
            elif time.monotonic() - progressed > STALLED_SECONDS:
                raise FatalError(f"{self._tp.topic}/{self._tp.partition}: no progress at {position} of {end}")

    async def _replay(self, head: Head, end: int) -> Head:
        checkpoint, marker = head.checkpoint, head.marker
        self._sensors.changelog_left = end - head.position
        async for records in self._read(head.position, end):
            pages: dict[bytes, bytes | None] = {}
            for record in records:
                if record.key == changelog.MARKER:
                    marker = record.value or b""
                elif record.key == changelog.CHECKPOINT:
                    checkpoint = record.value or b""
                elif record.key is not None and record.key.startswith(changelog.PAGE):
                    pages[record.key] = record.value
            self._sensors.changelog_records += len(records)
            self._sensors.changelog_bytes += sum(len(record.value or b"") for record in records)
            self._sensors.changelog_left = end - records[-1].offset - 1
            head = Head(LAYOUT, head.incarnation, records[-1].offset + 1, checkpoint, marker, time.time())
            for _ in self._store.write((Page(*item) for item in pages.items()), head):
                await asyncio.sleep(0)
        self._sensors.changelog_left = 0  # what is left are marks of transactions
        return head


def _unfit(head: Head | None, begin: int, end: int, incarnation: str, max_age: float) -> str | None:
    """Say why a store can't be built upon, or None."""
    if head is None:
        return None
    if head.incarnation != incarnation:
        return "it belongs to a changelog that was deleted"
    if not begin <= head.position <= end:
        return f"its position {head.position} is outside of the changelog's {begin} to {end}"
    if time.time() - head.written_at > max_age:
        return "it is older than the changelog keeps tombstones"
    return None
