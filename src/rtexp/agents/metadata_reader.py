"""Reading the compacted topic of snapshots: every worker that needs metadata reads it whole, outside any group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition

from rtexp.records import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rtexp.records.snapshot import Snapshot


async def follow_snapshots(
    connection: Mapping[str, Any],
    topic: str,
    take: Callable[[Snapshot], object],
    *,
    make_consumer: Callable[..., Any] = AIOKafkaConsumer,
) -> None:
    """Give ``take`` the snapshots of ``topic``, those that exist and those to come; ends only by an error.

    ``connection`` are the client's keyword arguments that say where the broker is. Raises what the client
    raises, UnsupportedVersion and StateError: without metadata no activation can be judged, so whoever awaits
    this ends the worker.
    """
    # Without a group there is no committed offset, so the client's own reset puts it to the beginning.
    consumer = make_consumer(
        **connection, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([ClientPartition(topic, 0)])
        while True:
            fetched = await consumer.getmany(timeout_ms=1_000)
            values = [
                record.value
                for records in fetched.values()
                for record in records
                if record.key == snapshot.KEY and record.value is not None
            ]
            # Of a long backlog only the last one of each fetch: should it be older than another one (two
            # leaders for a moment), the next is at most a poll away, and nothing is judged too early meanwhile.
            if values:
                take(snapshot.decode(values[-1]))
    finally:
        await consumer.stop()
