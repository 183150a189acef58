"""What a reader of a topic gets that asks for committed records only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition

from rtexp.local.topics import topics_of

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from rtexp.settings import Settings


async def committed_records(settings: Settings, topic: str) -> list[ConsumerRecord]:
    """All committed records of one of rtexp's own topics, each partition's in order."""
    name = settings.kafka.topic(topic)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=list(settings.kafka.brokers),
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    await consumer.start()
    found: list[ConsumerRecord] = []
    try:
        cut = next(wanted.partitions for wanted in topics_of(settings) if wanted.name == name)
        tps = [TopicPartition(name, partition) for partition in range(cut)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            consumer.seek(tp, 0)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
    finally:
        await consumer.stop()
    return found
