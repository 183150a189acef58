"""How fast a changelog is read into a local store: the engine's own recovery, on a changelog made for it.

In a worker's start, reading takes less than what varies from one start to the next, so it is measured alone.
"""

from __future__ import annotations

import random
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from rtexp.bench.pipeline import PREFIX, bench_settings, running
from rtexp.engine import changelog
from rtexp.engine.config import EngineConfig
from rtexp.engine.recovery import recover
from rtexp.engine.sensors import TaskSensors
from rtexp.engine.store import PartitionStore
from rtexp.engine.transactions import FencedProducer
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rtexp.bench.pipeline import Stage
    from rtexp.settings import Settings

BATCH_BYTES = 900_000
BATCHES_A_TRANSACTION = 10


class Kind(NamedTuple):
    """What a changelog holds: so many pages of so many bytes each."""

    pages: int
    page_bytes: int


KINDS = {"small_records": Kind(1_000_000, 100), "pages": Kind(10_000, 30_000)}


class ReadingFigures(NamedTuple):
    """A second is one of CPU time, of all threads, RocksDB's included."""

    records: int
    megabytes: float
    cpu_seconds: float
    wall_seconds: float
    records_a_second: float
    mb_a_second: float


async def measure_reading(stage: Stage, kind: str, *, share: float = 1.0) -> ReadingFigures:
    """Write a changelog of one of `KINDS`, or ``share`` of it, and read it into an empty store."""
    pages = max(1, int(KINDS[kind].pages * share))
    directory = stage.directory / kind
    settings = bench_settings(directory)
    topic = f"{PREFIX}.{kind}-changelog"
    config = EngineConfig(group=f"{PREFIX}-{kind}", brokers=settings.kafka.brokers)
    sensors = TaskSensors()
    # No worker: nothing else is to use this process's time, or the broker's.
    async with running(settings, stage.environ, workers={"ingest": 0, "aggregate": 0, "results": 0}):
        stage.say(f"recovery: writing a changelog of {pages:,} {kind.replace('_', ' ')}")
        await _make(settings, topic)
        await _fill(settings, topic, _pages(pages, KINDS[kind].page_bytes))
        stage.say("recovery: reading it")
        producer = FencedProducer(config, f"{PREFIX}-{kind}-0")
        await producer.start()
        store = PartitionStore(directory / "store")
        began_cpu, began = time.process_time(), time.monotonic()
        await recover(config, topic, 0, store=store, producer=producer, sensors=sensors)
        cpu_seconds, wall_seconds = time.process_time() - began_cpu, time.monotonic() - began
        found = sum(1 for _ in store.pages())
        store.close()
        await producer.stop()
    assert found == pages, f"{found} pages of {pages} are in the store"
    megabytes = sensors.changelog_bytes / 1e6
    return ReadingFigures(
        records=sensors.changelog_records,
        megabytes=megabytes,
        cpu_seconds=cpu_seconds,
        wall_seconds=wall_seconds,
        records_a_second=sensors.changelog_records / cpu_seconds,
        mb_a_second=megabytes / cpu_seconds,
    )


async def _make(settings: Settings, topic: str) -> None:
    client = AIOKafkaAdminClient(**client_options(settings.kafka))
    await client.start()
    try:
        made = await client.create_topics(
            [NewTopic(topic, 1, 1, topic_configs={"cleanup.policy": "compact"})]
        )
        assert not made.topic_errors[0][1], made
    finally:
        await client.close()


def _pages(count: int, page_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the records of a changelog: its incarnation, then distinct pages that don't compress."""
    yield changelog.INCARNATION, b"bench"
    noise = random.Random(1).randbytes(4 * page_bytes)  # noqa: S311 - no secret depends on it
    for number in range(count):
        start = number * 7919 % (3 * page_bytes)
        yield changelog.PAGE + b"%012d" % number, noise[start : start + page_bytes]


async def _fill(settings: Settings, topic: str, records: Iterator[tuple[bytes, bytes]]) -> None:
    """Write records, some thousand to a transaction."""
    producer: Any = AIOKafkaProducer(
        transactional_id=f"{topic}-writer", max_batch_size=BATCH_BYTES, **client_options(settings.kafka)
    )
    await producer.start()
    try:
        batches = _batches(producer, records)
        while transaction := list(islice(batches, BATCHES_A_TRANSACTION)):
            async with producer.transaction():
                sent = [await producer.send_batch(batch, topic, partition=0) for batch in transaction]
                for confirmation in sent:
                    await confirmation
    finally:
        await producer.stop()


def _batches(producer: Any, records: Iterator[tuple[bytes, bytes]]) -> Iterator[Any]:
    batch = producer.create_batch()
    for key, value in records:
        if batch.append(key=key, value=value, timestamp=None) is None:
            yield batch
            batch = producer.create_batch()
            assert batch.append(key=key, value=value, timestamp=None) is not None
    yield batch
