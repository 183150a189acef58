"""What the raw topics must have become, by the oracle, beside what stands in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from tests.oracle import cells as oracle

from rtexp.settings import client_options
from rtexp.store.cells import read_cells
from rtexp.store.engine import opened, reading
from rtexp.store.metadata import read_experiments

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtexp.settings import Settings

Counts = tuple[int, int, int, int, int]


class Comparison(NamedTuple):
    cells: int
    volume: int
    differing: dict[oracle.CellKey, tuple[Counts | None, Counts | None]]
    """By cell: what the oracle says, and what SQL says."""

    def __str__(self) -> str:
        return f"{len(self.differing)} of {self.cells} cells differ ({self.volume} counted actions)"


async def read_raw(settings: Settings, topic: str) -> list[oracle.RawRecord]:
    """All committed records of a raw topic, each partition's in order."""
    consumer = AIOKafkaConsumer(
        enable_auto_commit=False, isolation_level="read_committed", **client_options(settings.kafka)
    )
    await consumer.start()
    records = []
    try:
        tps = [TopicPartition(topic, partition) for partition in range(await _partitions(settings, topic))]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            consumer.seek(tp, 0)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for tp, got in (await consumer.getmany(timeout_ms=500)).items():
                records += [
                    oracle.RawRecord(tp.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
                    for r in got
                ]
    finally:
        await consumer.stop()
    return records


async def _partitions(settings: Settings, topic: str) -> int:
    client = AIOKafkaAdminClient(**client_options(settings.kafka))
    await client.start()
    try:
        (found,) = await client.describe_topics([topic])
        return len(found["partitions"])
    finally:
        await client.close()


def oracle_rules(settings: Settings) -> oracle.Rules:
    pipeline = settings.pipeline
    return oracle.Rules(
        tracked=frozenset(settings.actions.tracked),
        cap_per_hour=settings.actions.cap_per_hour,
        period_ms=pipeline.period_hours * 3_600_000,
        bucket_ms=pipeline.bucket_minutes * 60_000,
        dedup_ms=pipeline.dedup_minutes * 60_000,
        join_delay_ms=round(pipeline.join_delay_seconds * 1000),
        out_of_order_ms=round(pipeline.out_of_order_seconds * 1000),
        grace_ms=round(pipeline.grace_minutes * 60_000),
        max_ahead_ms=round(pipeline.max_ahead_seconds * 1000),
        max_message_bytes=settings.actions.max_message_bytes,
        actions=oracle.ActionFields(
            **{key: getattr(settings.actions, key) for key in ("user", "event", "time", "time_format")}
        ),
        activations=oracle.ActivationFields(
            **{
                key: getattr(settings.activations, key)
                for key in ("user", "experiment", "group", "time", "time_format")
            }
        ),
    )


async def truth(
    settings: Settings,
    settled: Callable[[list[oracle.RawRecord]], list[oracle.RawRecord]] = lambda read: read,
) -> oracle.Result:
    """The oracle's answer for what stands in the raw topics, with the experiments as SQL has them.

    ``settled`` puts each topic's records into an order that the oracle can count in.
    """
    with opened(settings.store) as engine, reading(engine) as connection:
        experiments = [
            oracle.Experiment(
                found.name,
                tuple(found.groups),
                tuple(oracle.Allocation(a.group, a.percent, a.at_ms) for a in found.allocations),
            )
            for found in read_experiments(connection)
        ]
    return oracle.recompute(
        settled(await read_raw(settings, settings.actions.topic)),
        settled(await read_raw(settings, settings.activations.topic)),
        experiments,
        oracle_rules(settings),
    )


def stored(settings: Settings) -> dict[oracle.CellKey, Counts]:
    with opened(settings.store) as engine, reading(engine) as connection:
        return {tuple(row[:5]): tuple(row[5:10]) for row in read_cells(connection)}  # type: ignore[misc]


def differences(expected: oracle.Result, found: dict[oracle.CellKey, Counts]) -> Comparison:
    wanted = {
        key: (c.volume, c.actors, c.sum_squares, c.exposures, c.multiple_exposures)
        for key, c in expected.cells.items()
    }
    differing = {
        key: (wanted.get(key), found.get(key))
        for key in wanted.keys() | found.keys()
        if wanted.get(key) != found.get(key)
    }
    return Comparison(len(wanted), sum(counts[0] for counts in wanted.values()), differing)


async def compare(settings: Settings) -> Comparison:
    return differences(await truth(settings), stored(settings))
