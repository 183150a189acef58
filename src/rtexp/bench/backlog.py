"""Sending a workload so that it shows all at once: one transaction, of which readers see nothing before its end."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer

from rtexp.local.raw_records import RawRecord
from rtexp.local.raw_writer import RawWriter
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rtexp.local.raw_records import Kind
    from rtexp.settings import Settings

BATCH_BYTES = 200_000
TRANSACTION_SECONDS = 900
MARK_ROWS = 50_000


@asynccontextmanager
async def backlog(settings: Settings) -> AsyncIterator[RawWriter]:
    """Open a writer whose records stand in the topics when the block ends, and not before.

    Workers read committed records only, so they idle meanwhile: all that they use from the end on is for this.
    """
    producer: Any = AIOKafkaProducer(
        transactional_id=f"{settings.kafka.prefix}-bench",
        transaction_timeout_ms=TRANSACTION_SECONDS * 1000,
        max_batch_size=BATCH_BYTES,
        **client_options(settings.kafka),
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        topics: dict[Kind, str] = {
            "actions": settings.actions.topic,
            "activations": settings.activations.topic,
        }
        partitions = {kind: len(await producer.partitions_for(topic)) for kind, topic in topics.items()}
        writer = RawWriter(producer, topics, partitions)
        yield writer
        await writer.flush()
        await producer.commit_transaction()
    finally:
        await producer.stop()


async def send_all(writer: RawWriter, records: Iterator[tuple[int, bytes, bytes]], kind: Kind) -> int:
    """Send records of one kind, with markers on the way and one behind the last; return how many there were."""
    sent, newest_ms = 0, 0
    chunk: deque[RawRecord] = deque()
    for at_ms, key, value in records:
        chunk.append(RawRecord(at_ms, kind, key, value))
        newest_ms = at_ms
        if len(chunk) == MARK_ROWS:
            await writer.send(chunk)
            await writer.mark(newest_ms)
            sent += len(chunk)
            chunk.clear()
    await writer.send(chunk)
    return sent + len(chunk)
