"""Sending to the raw topics of a real broker: order, partitions, record times, markers; and what was counted."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from click.testing import CliRunner

from rtexp.cli import cli
from rtexp.commands.wait import wait_for_all
from rtexp.errors import FatalError, UsageError
from rtexp.local.generator import Generator
from rtexp.local.positions import kafka_observer
from rtexp.local.raw_records import RawRecord, partition_of
from rtexp.local.raw_writer import raw_writer
from rtexp.local.story import Story
from rtexp.local.topics import create_topics
from rtexp.local.truth import Rules
from rtexp.settings import (
    ActionSettings,
    ActivationSettings,
    KafkaSettings,
    PipelineSettings,
    Settings,
    as_toml,
)

if TYPE_CHECKING:
    from pathlib import Path

    from aiokafka import ConsumerRecord

pytestmark = pytest.mark.integration

PARTITIONS = 3
START_MS = 1_420_416_000_000


@pytest.fixture
def settings(broker: str) -> Settings:
    """Settings whose topics exist, and no other test's."""
    prefix = f"t{uuid4().hex[:12]}"
    return Settings(
        kafka=KafkaSettings(brokers=(broker,), prefix=prefix, partitions=PARTITIONS),
        actions=ActionSettings(topic=f"{prefix}-actions"),
        activations=ActivationSettings(topic=f"{prefix}-activations"),
        pipeline=PipelineSettings(clock="records"),
    )


async def read_all(settings: Settings, topic: str) -> dict[int, list[ConsumerRecord]]:
    """Everything in a topic, by partition."""
    found: dict[int, list[ConsumerRecord]] = defaultdict(list)
    consumer = AIOKafkaConsumer(bootstrap_servers=list(settings.kafka.brokers), enable_auto_commit=False)
    await consumer.start()
    try:
        tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        consumer.assign(tps)
        for tp in tps:
            consumer.seek(tp, 0)
        ends = await consumer.end_offsets(tps)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for tp, messages in (await consumer.getmany(timeout_ms=500)).items():
                found[tp.partition] += messages
    finally:
        await consumer.stop()
    return found


async def test_records_keep_their_order_times_and_partitions_and_a_marker_ends_each(
    settings: Settings,
) -> None:
    await create_topics(settings)
    rules = Rules.of(settings)
    story = Story(START_MS, rules.period_ms)
    generator = Generator(story, rules, users=50, records_per_cycle=20_000)
    end_ms = story.cycle_start_ms(1)
    records = [told.record for told in generator.cycle(0)]
    async with raw_writer(settings) as writer:
        await writer.send(records)
        await writer.mark(end_ms)
    for kind, topic in (("actions", settings.actions.topic), ("activations", settings.activations.topic)):
        found = await read_all(settings, topic)
        assert sorted(found) == list(range(PARTITIONS))
        for partition, messages in found.items():
            *data, marker = messages
            assert [(m.timestamp, m.key, m.value) for m in data] == [
                (record.arrival_ms, record.key, record.value)
                for record in records
                if record.kind == kind and partition_of(record.key, PARTITIONS) == partition
            ]
            assert (marker.key, marker.value) == (None, None)
            assert marker.headers == (("rtexp-watermark", b"%d" % end_ms),)
            assert marker.timestamp == records[-1].arrival_ms


async def test_a_record_as_large_as_a_replay_sends_any_is_taken(settings: Settings) -> None:
    await create_topics(settings)
    large = [RawRecord(START_MS + n, "actions", b"u", b"x" * 999_999) for n in range(3)]
    async with raw_writer(settings) as writer:
        await writer.send([RawRecord(START_MS, "actions", b"u", b"small"), *large])
    sizes = [len(m.value) for m in (await read_all(settings, settings.actions.topic))[partition_of(b"u", 3)]]
    assert sizes == [5, 999_999, 999_999, 999_999]


async def test_what_a_broker_refuses_is_an_error(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=list(settings.kafka.brokers))
    await admin.start()
    small = {"max.message.bytes": "1000"}
    await admin.create_topics([NewTopic(settings.actions.topic, PARTITIONS, 1, topic_configs=small)])
    await admin.close()
    await create_topics(settings)
    with pytest.raises(FatalError, match="didn't take a batch"):
        async with raw_writer(settings) as writer:
            await writer.send([RawRecord(START_MS, "actions", b"u", b"x" * 1001)])


async def test_a_missing_raw_topic_is_said_to_be_missing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtexp.local.raw_writer.METADATA_TIMEOUT_SECONDS", 1.0)
    with pytest.raises(UsageError, match="rtexp topics create"):
        async with raw_writer(settings):
            pass


async def test_a_wait_for_what_was_never_set_up_says_so_at_once(settings: Settings) -> None:
    """The client asked the broker again for 40 s, whatever the time-out."""
    with pytest.raises(
        UsageError, match=rf"no topic {settings.kafka.prefix}\.status: run `rtexp topics create`"
    ):
        async with asyncio.timeout(20):
            await wait_for_all(settings, 5)


async def test_the_last_record_of_a_transactional_topic_is_found_behind_the_marks(settings: Settings) -> None:
    """Ends count the marks of transactions; `published` in the status never does."""
    await create_topics(settings)
    topic = settings.kafka.topic("partials")
    producer = AIOKafkaProducer(bootstrap_servers=list(settings.kafka.brokers), transactional_id=uuid4().hex)
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait(topic, b"one", partition=0)
            await producer.send_and_wait(topic, b"one", partition=1)
        for _ in range(20):  # more marks than the first look back reaches over
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"never", partition=1)
            await producer.abort_transaction()
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"never", partition=2)
            await producer.abort_transaction()
    finally:
        await producer.stop()
    async with kafka_observer(settings) as observer:
        assert await observer.partials_ends() == {f"{topic}/0": 1, f"{topic}/1": 1}
        assert await observer.raw_ends() == {}
        assert await observer.ingested() == {}


def configured(settings: Settings, directory: Path, *, lines: int, step_ms: int) -> tuple[list[str], Path]:
    """Return how the command line begins, and a file of actions that lie ``step_ms`` apart."""
    config = directory / "rtexp.toml"
    config.write_text(as_toml(settings))
    actions = directory / "actions.csv"
    rows = "".join(f"u{n % 7},search,{START_MS + n * step_ms}\n" for n in range(lines))
    actions.write_text(f"user_id,event,ts\n{rows}")
    return ["--config", str(config)], actions


async def make_raw_topics(settings: Settings, **config: str) -> None:
    """Make them as somebody else has, with a configuration of their own."""
    admin = AIOKafkaAdminClient(bootstrap_servers=list(settings.kafka.brokers))
    await admin.start()
    names = (settings.actions.topic, settings.activations.topic)
    their = {key.replace("_", "."): value for key, value in config.items()}
    await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=their) for name in names])
    await admin.close()
    await create_topics(settings)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        pytest.param(
            {"retention_ms": str(7 * 86_400_000)},
            r"keeps records for 7 days, but the oldest row is of 2015-01-05T00:00:00\+00:00: .* retention.ms=-1",
            id="retention",
        ),
        pytest.param(
            {"message_timestamp_type": "LogAppendTime"},
            "message.timestamp.type=CreateTime",
            id="times of its own",
        ),
    ],
)
async def test_topics_that_would_not_keep_the_rows_are_refused_before_anything_is_done(
    settings: Settings, tmp_path: Path, config: dict[str, str], told: str
) -> None:
    await make_raw_topics(settings, **config)
    start, actions = configured(settings, tmp_path, lines=10, step_ms=1)
    experiments = tmp_path / "experiments.yaml"
    experiments.write_text("experiments: nothing that could be loaded")
    words = [*start, "replay", "--actions", str(actions), "--experiments", str(experiments)]
    result = await asyncio.to_thread(CliRunner().invoke, cli, words)
    assert isinstance(result.exception, UsageError)
    assert re.search(told, str(result.exception))
    assert result.stdout == ""
    assert await read_all(settings, settings.actions.topic) == {}


async def test_times_that_are_moved_to_now_are_kept_by_a_week_and_begin_now(
    settings: Settings, tmp_path: Path
) -> None:
    await make_raw_topics(settings, retention_ms=str(7 * 86_400_000))
    start, actions = configured(settings, tmp_path, lines=5, step_ms=100)
    before_ms = int(time.time() * 1000)
    words = [*start, "replay", "--actions", str(actions), "--now", "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, cli, words)
    assert (result.exit_code, json.loads(result.stdout)["sent"]) == (0, 5)
    found = await read_all(settings, settings.actions.topic)
    times = sorted(m.timestamp for messages in found.values() for m in messages if m.value)
    assert before_ms <= times[0] <= int(time.time() * 1000)
    assert [at_ms - times[0] for at_ms in times] == [0, 100, 200, 300, 400]
    assert times == sorted(
        json.loads(m.value)["ts"] for messages in found.values() for m in messages if m.value
    )


async def test_a_speed_is_times_real_time_and_marks_go_on_with_it(settings: Settings, tmp_path: Path) -> None:
    await create_topics(settings)
    start, actions = configured(settings, tmp_path, lines=7, step_ms=1000)
    began = time.monotonic()
    words = [*start, "replay", "--actions", str(actions), "--speed", "2"]
    result = await asyncio.to_thread(CliRunner().invoke, cli, words)
    assert result.exit_code == 0, result.output
    assert time.monotonic() - began >= 3.0
    for topic in (settings.actions.topic, settings.activations.topic):
        for messages in (await read_all(settings, topic)).values():
            marks = [int(m.headers[0][1]) for m in messages if m.value is None]
            assert len(set(marks)) > 2
            assert marks == sorted(marks)
            assert marks[-1] == START_MS + 6000


async def test_interrupted_it_says_what_was_sent_which_stands_there_with_a_marker_behind(
    settings: Settings, tmp_path: Path
) -> None:
    await create_topics(settings)
    start, actions = configured(settings, tmp_path, lines=100_000, step_ms=10)
    words = [
        sys.executable,
        "-m",
        "rtexp",
        *start,
        "replay",
        "--actions",
        str(actions),
        "--speed",
        "1",
        "--final",
    ]
    environ = os.environ | {"RTEXP_STORE__URL": f"sqlite:///{tmp_path}/x.db"}
    await asyncio.to_thread(subprocess.run, [*words[:5], "db", "upgrade"], env=environ, check=True)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, env=environ, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(150):
            while not await read_all(settings, settings.actions.topic):  # noqa: ASYNC110 - the topic alone tells
                await asyncio.sleep(0.2)
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, out) == (130, b"")
    told = re.fullmatch(
        r"interrupted: ([\d,]+) of 100,000 rows sent, .* up to (\S+); .*", err.decode().splitlines()[-1]
    )
    assert told, err
    found = await read_all(settings, settings.actions.topic)
    sent = int(told[1].replace(",", ""))
    assert sum(m.value is not None for messages in found.values() for m in messages) == sent
    newest_ms = START_MS + (sent - 1) * 10
    assert datetime.fromisoformat(told[2]).timestamp() * 1000 == newest_ms
    for messages in found.values():
        assert messages[-1].headers == (("rtexp-watermark", b"%d" % newest_ms),)  # nothing is closed


def test_the_command_sends_files_and_reports_what_it_refused(settings: Settings, tmp_path: Path) -> None:
    config = tmp_path / "rtexp.toml"
    config.write_text(as_toml(settings))
    actions = tmp_path / "actions.csv"
    actions.write_text(
        "who,event,ts\n" + "".join(f"u{n % 7},search,{START_MS + n}\n" for n in range(1000)) + "u1,oops\n"
    )
    activations = tmp_path / "activations.jsonl"
    activations.write_text(
        "".join(
            f'{{"who":"u{n}","experiment":"e","group":"g","ts":{START_MS + 100 * n}}}\n' for n in range(7)
        )
    )
    run = CliRunner().invoke
    made = run(cli, ["--config", str(config), "topics", "create"])
    assert made.exit_code == 0, made.output
    arguments = [
        "--activations",
        str(activations),
        "--actions",
        str(actions),
        "--columns",
        "user=who",
        "--json",
    ]
    result = run(cli, ["--config", str(config), "replay", *arguments])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "sent": 1007,
        "refused": {f"{actions}.refused.jsonl": 1},
    }
    assert re.search("1,001 rows|1,000 rows, sorted", result.stderr)
    assert json.loads((tmp_path / "actions.csv.refused.jsonl").read_text())["row"] == 1001
