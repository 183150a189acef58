"""The local broker on real Kafka: first start, kill -9, a clean stop, and what is kept over all of them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from tests.brokers import PrivateBroker

from rtexp.errors import StateError, StoreUnavailable
from rtexp.local.broker import prepare
from rtexp.local.topics import create_topics, topics_of
from rtexp.settings import KafkaSettings, PipelineSettings, Settings

pytestmark = pytest.mark.integration

LONG_AGO_MS = 1_000_000_000_000
FAR_AHEAD_MS = 4_000_000_000_000


def settings_for(broker: str, prefix: str, *, partitions: int = 2, clock: str = "live") -> Settings:
    return Settings.model_validate(
        {
            "kafka": KafkaSettings(brokers=(broker,), prefix=prefix, partitions=partitions),
            "actions": {"topic": f"{prefix}-actions"},
            "activations": {"topic": f"{prefix}-activations"},
            "pipeline": PipelineSettings(clock=clock),  # type: ignore[arg-type]
        }
    )


async def send(broker: str, topic: str, value: bytes, *, at_ms: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker, acks="all") as producer:
        await producer.send_and_wait(topic, value, partition=0, timestamp_ms=at_ms)


async def read_all(broker: str, topic: str) -> list[tuple[int, bytes]]:
    async with AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest") as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        records: list[tuple[int, bytes]] = []
        while len(records) < end:
            record = await asyncio.wait_for(consumer.getone(), 20)
            records.append((record.timestamp, record.value))
        return records


async def config_of(broker: str, topic: str) -> dict[str, str]:
    client = AIOKafkaAdminClient(bootstrap_servers=broker)
    await client.start()
    try:
        (response,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {entry[0]: entry[1] for entry in response.resources[0][4]}
    finally:
        await client.close()


async def make_topic(broker: str, name: str, partitions: int) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=broker)
    await client.start()
    try:
        await client.create_topics([NewTopic(name, partitions, 1)])
        async with asyncio.timeout(20):
            while name not in await client.list_topics():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
    finally:
        await client.close()


def test_what_was_written_survives_a_kill_and_a_clean_stop(tmp_path: Path) -> None:
    private = PrivateBroker(tmp_path / "kafka")
    settings = settings_for(private.address, "kept", clock="records")
    try:
        private.start()
        asyncio.run(create_topics(settings))
        # The record times of a replay: long ago, and (a marker's) ahead of the clock.
        asyncio.run(send(private.address, "kept-actions", b"before the kill", at_ms=LONG_AGO_MS))
        killed = private.pid
        private.kill()
        private.start()
        assert private.pid != killed
        asyncio.run(send(private.address, "kept-actions", b"before the stop", at_ms=FAR_AHEAD_MS))
        private.stop()
        private.start()
        assert asyncio.run(read_all(private.address, "kept-actions")) == [
            (LONG_AGO_MS, b"before the kill"),
            (FAR_AHEAD_MS, b"before the stop"),
        ]
    finally:
        private.stop()


def test_it_listens_on_the_loopback_interface_alone(broker: str) -> None:
    port = int(broker.rpartition(":")[2])
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == port
    ]
    assert listening, "nobody listens"
    for address in listening:
        assert re.match(r"0100007F:|0000000000000000FFFF00000100007F:", address), address


async def test_a_directory_that_kafka_cannot_use_is_told_with_its_own_words(tmp_path: Path) -> None:
    files = PrivateBroker(tmp_path / "kafka", options={"log.dirs": "/proc/nowhere"}).files
    with pytest.raises(StoreUnavailable, match=r"can't use .*kafka; it said:\n(.|\n)*/proc/nowhere"):
        await prepare(files)
    assert not files.formatted


async def test_topics_are_made_once_and_then_left_alone(broker: str) -> None:
    settings = settings_for(broker, "twice")
    names = [topic.name for topic in topics_of(settings)]
    assert await create_topics(settings) == dict.fromkeys(names, True)
    assert await create_topics(settings) == dict.fromkeys(names, False)


async def test_topics_have_the_configuration_that_they_were_meant_to_have(broker: str) -> None:
    settings = settings_for(broker, "configured", clock="records")
    await create_topics(settings)
    for topic in topics_of(settings):
        found = await config_of(broker, topic.name)
        assert {key: found[key] for key in topic.config} == dict(topic.config), topic.name


async def test_other_partition_counts_are_refused_and_nothing_is_made(broker: str) -> None:
    await make_topic(broker, "other.filtered-actions", 3)
    with pytest.raises(StateError, match=r"other\.filtered-actions has 3 partitions, but .* is 2"):
        await create_topics(settings_for(broker, "other"))
    await make_topic(broker, "other.partials", 1)  # would fail if the refusal had come after making topics
    assert (await config_of(broker, "other.partials"))["cleanup.policy"] == "delete"


async def test_raw_topics_of_the_users_own_are_taken_as_they_are(broker: str) -> None:
    await make_topic(broker, "own-actions", 5)
    made = await create_topics(settings_for(broker, "own", clock="records"))
    assert (made["own-actions"], made["own-activations"]) == (False, True)
    assert (await config_of(broker, "own-actions"))["retention.ms"] != "-1"


def test_a_format_that_was_broken_off_is_done_again(tmp_path: Path) -> None:
    files = PrivateBroker(tmp_path / "kafka").files
    asyncio.run(prepare(files))
    assert files.formatted
    (files.directory / "log" / "meta.properties").unlink()
    asyncio.run(prepare(files))
    assert files.formatted
