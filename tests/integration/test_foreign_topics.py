"""Topics as others have them, through the whole pipeline: nested, cut as they like, compressed, in transactions."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4
from zlib import crc32

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.faults.cluster import make_settings
from tests.faults.compare import differences, stored, truth
from tests.integration.pipelines import GROUPS, Pipeline, experiment

from rtexp.settings import ActionSettings, ActivationSettings, client_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.oracle.cells import RawRecord

    from rtexp.settings import Settings

pytestmark = pytest.mark.integration

START_MS = 1_420_416_000_000
SECOND_MS, MINUTE_MS, HOUR_MS = 1_000, 60_000, 3_600_000
BUCKET_MS = 15 * MINUTE_MS
ACTION_PARTITIONS, ACTIVATION_PARTITIONS = 3, 5
NAME = "new-feed"
TRACKED = ("search", "click")
CODECS = (None, "gzip", "snappy", "lz4", "zstd")
CHUNK = 40
"""Records sent by one producer before the next one has its turn."""
AT_HOME = "at home"
SCATTERED = "scattered"
"""Users whose records lie in all partitions: they do nothing whose count would depend on its order."""
NOISE = {
    "id": "not me",
    "user": {"id": {"id": 1}},
    "tags": [{"user": {"id": "nor me"}}],
    "deep": [[[{"a": None}]]],
}


class Sent(NamedTuple):
    at_ms: int
    partition: int
    key: bytes | None
    value: bytes


def foreign_settings(directory: Path, broker: str) -> Settings:
    prefix = f"f{uuid4().hex[:8]}"
    made = make_settings(directory, broker, prefix, partitions=4)
    return made.model_copy(
        update={
            "actions": ActionSettings(
                topic=f"site.events.{prefix}",
                user="context.user.id",
                event="event.name",
                time="context.sent.at",
                time_format="iso8601",
                tracked=TRACKED,
                cap_per_hour=20,
            ),
            "activations": ActivationSettings(
                topic=f"site.triggers.{prefix}",
                user="who.id",
                experiment="ab.test.name",
                group="ab.test.arm",
                time="us",
                time_format="us",
            ),
        }
    )


# --- What others send


def iso8601(at_ms: int, rng: Random) -> str:
    """One of the ways to write it, some of them finer than a millisecond."""
    at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at_ms, microseconds=rng.randrange(1000))
    zone = rng.choice([None, UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=8))])
    if zone is None:
        return at.replace(tzinfo=None).isoformat()
    text = at.astimezone(zone).isoformat()
    return text.replace("+00:00", "Z") if rng.random() < 0.5 else text


def name_of(kind: str, number: int, rng: Random) -> str | int:
    """Integers and their decimal texts are one user."""
    if kind == AT_HOME:
        return number if rng.random() < 0.5 else str(number)
    return f"{kind}-{number}"


def action(user: str | int, event: str, at_ms: int, rng: Random) -> bytes:
    sent = {"id": 9, "at": iso8601(at_ms, rng), "zone": "Z"}
    document = {
        "before": NOISE,
        "context": {"page": NOISE, "user": {"name": {"id": "x"}, "id": user, "plan": NOISE}, "sent": sent},
        "event": {"of": NOISE, "name": event},
    }
    return json.dumps(document, ensure_ascii=rng.random() < 0.5).encode()


def activation(user: str | int, group: str, at_ms: int, rng: Random) -> bytes:
    test = {"arm": group, "salt": NOISE, "name": NAME}
    us = at_ms * 1000 + rng.randrange(1000)
    return json.dumps(
        {"who": {"is": NOISE, "id": user}, "us": us, "ab": {"more": NOISE, "test": test}}
    ).encode()


def partition_for(kind: str, number: int, partitions: int, rng: Random) -> int:
    return rng.randrange(partitions) if kind == SCATTERED else crc32(b"%d" % number) % partitions


def key_for(rng: Random) -> bytes | None:
    """Anything but the user."""
    return rng.choice([None, b"", b"same", rng.randbytes(8)])


def streams(rng: Random) -> tuple[list[Sent], list[Sent]]:
    """Actions and activations in order of time; the users of each kind are numbered from 0."""
    actions, activations = [], []
    for kind, users in ((AT_HOME, 60), (SCATTERED, 40)):
        for number in range(users):
            joined_ms = START_MS + rng.randrange(HOUR_MS)
            for _ in range(1 if kind == SCATTERED else rng.randint(1, 3)):
                group = rng.choice(GROUPS)
                at_ms = joined_ms + rng.randrange(MINUTE_MS) if kind == AT_HOME else joined_ms
                value = activation(name_of(kind, number, rng), group, at_ms, rng)
                home = partition_for(kind, number, ACTIVATION_PARTITIONS, rng)
                activations.append(Sent(at_ms, home, key_for(rng), value))
            bucket_ms = START_MS + 2 * HOUR_MS + number % 8 * BUCKET_MS
            for step in range(rng.randint(3, 12)):
                at_ms = bucket_ms + step * MINUTE_MS + rng.randrange(MINUTE_MS)
                if kind == AT_HOME:
                    at_ms = START_MS + rng.randrange(5 * HOUR_MS)
                event = rng.choice([*TRACKED, "scroll"])
                home = partition_for(kind, number, ACTION_PARTITIONS, rng)
                actions.append(
                    Sent(at_ms, home, key_for(rng), action(name_of(kind, number, rng), event, at_ms, rng))
                )
    for at_ms in range(START_MS, START_MS + HOUR_MS, 5 * MINUTE_MS):
        bad = rng.choice(
            [
                b'{"context": {"user": "u1", "sent": {"at": "2015-01-05"}}, "event": {"name": "search"}}',
                b'{"context": {"user": {"id": "u1"}, "sent": {}}, "event": {"name": "search"}}',
                b'{"context": {"user": {"id": "u1"}, "sent": {"at": "noon"}}, "event": {"name": "search"}}',
                b'{"context": {"user": {"id": null}, "sent": {"at": "2015-01-05"}}, "event": {"name": "search"}}',
                b'{"context": {"user": {"id": "u1"}}',
            ]
        )
        actions.append(Sent(at_ms, rng.randrange(ACTION_PARTITIONS), key_for(rng), bad))
    return sorted(actions), sorted(activations)


async def send(settings: Settings, topic: str, records: Sequence[Sent], rng: Random) -> int:
    """Send them by several producers in turn, one codec each, some in transactions; return how many were aborted."""
    aborted = 0
    async with AsyncExitStack() as stack:
        producers = [
            await stack.enter_async_context(
                AIOKafkaProducer(
                    compression_type=codec,
                    transactional_id=f"{topic}-{codec}" if is_transactional else None,
                    **client_options(settings.kafka),
                )
            )
            for codec in CODECS
            for is_transactional in (False, True)
        ]
        for number, first in enumerate(range(0, len(records), CHUNK)):
            chunk = records[first : first + CHUNK]
            producer = producers[number % len(producers)]
            if number % 2 == 0:
                await deliver(producer, topic, chunk)
                continue
            # What is aborted would count if it were read: other events of the same users, at other times.
            await producer.begin_transaction()
            await deliver(producer, topic, [sent._replace(value=moved(sent.value, rng)) for sent in chunk])
            await producer.abort_transaction()
            aborted += len(chunk)
            async with producer.transaction():
                await deliver(producer, topic, chunk)
    return aborted


async def deliver(producer: AIOKafkaProducer, topic: str, records: Iterable[Sent]) -> None:
    for sent in records:
        await producer.send(
            topic, sent.value, key=sent.key, partition=sent.partition, timestamp_ms=sent.at_ms
        )
    await producer.flush()


def moved(value: bytes, rng: Random) -> bytes:
    return value.replace(b'"scroll"', b'"search"').replace(b'"treatment"', b'"control"').replace(b"T0", b"T1")


def settled(records: list[RawRecord]) -> list[RawRecord]:
    """Give each scattered user a partition of their own, in order of time, as their order counts for nothing."""
    found = []
    scattered = [record for record in records if SCATTERED.encode() in (record.value or b"")]
    for number, record in enumerate(sorted(scattered, key=lambda record: record.timestamp_ms)):
        user = (record.value or b"").partition(SCATTERED.encode() + b"-")[2].partition(b'"')[0]
        found.append(replace(record, partition=1_000 + int(user), offset=number))
    return [record for record in records if SCATTERED.encode() not in (record.value or b"")] + found


async def make_topics(settings: Settings) -> None:
    client = AIOKafkaAdminClient(**client_options(settings.kafka))
    await client.start()
    try:
        kept = {"retention.ms": "-1"}
        cuts = {settings.actions.topic: ACTION_PARTITIONS, settings.activations.topic: ACTIVATION_PARTITIONS}
        await client.create_topics([NewTopic(name, cut, 1, topic_configs=kept) for name, cut in cuts.items()])
    finally:
        await client.close()


async def test_nested_foreign_topics_count_like_the_oracle(broker: str, tmp_path: Path) -> None:
    settings = foreign_settings(tmp_path, broker)
    rng = Random(7)
    actions, activations = streams(rng)
    pipeline = Pipeline(tmp_path / "workers", settings, {"ingest": 1, "aggregate": 1, "results": 1})
    try:
        await make_topics(settings)
        await pipeline.begin([experiment(NAME, START_MS)])
        aborted = await send(settings, settings.activations.topic, activations, rng)
        aborted += await send(settings, settings.actions.topic, actions, rng)
        await pipeline.send([], marker_ms=START_MS + 6 * HOUR_MS)
        assert (await pipeline.counted()).held_actions == 0
        expected = await truth(settings, settled)
        compared = differences(expected, stored(settings))
        assert not compared.differing, compared
        assert compared.volume > 200
        assert aborted > 200
        dead = Counter((letter.topic, letter.reason) for letter in await pipeline.dead_letters())
        topics = {"actions": settings.actions.topic, "activations": settings.activations.topic}
        assert dead == {(topics[kind], reason): count for (kind, reason), count in expected.dead.items()}
        assert {reason for _, reason in dead} == {"wrong-type", "missing-field", "invalid-json"}
    finally:
        pipeline.stop()
