"""`rtexp check` on a real broker where things are really wrong, and where they are not; it leaves no trace."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.brokers import PrivateBroker
from tests.unit.commands.command_line import CommandLine
from tests.unit.store.databases import SqliteFile, open_database

from rtexp.local.broker_files import free_port
from rtexp.local.checks.kafka import kafka
from rtexp.local.topics import create_topics
from rtexp.settings import KafkaSettings, PipelineSettings, Settings
from rtexp.store.engine import writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rtexp.local.checks.findings import Finding

pytestmark = pytest.mark.integration


class TwoDoors(PrivateBroker):
    """A broker that also listens where it tells clients to go somewhere else, as behind Docker's ports."""

    def __init__(self, directory: Path) -> None:
        inside, self.outside, controller = free_port(), free_port(), free_port()
        super().__init__(
            directory,
            port=inside,
            options={
                "listeners": f"PLAINTEXT://127.0.0.1:{inside},OUTSIDE://127.0.0.1:{self.outside},"
                f"CONTROLLER://127.0.0.1:{controller}",
                "advertised.listeners": f"PLAINTEXT://127.0.0.1:{inside},OUTSIDE://127.0.0.1:{free_port()}",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name": "PLAINTEXT",
                "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            },
        )


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoDoors]:
    with TwoDoors(tmp_path_factory.mktemp("doors") / "kafka") as broker:
        yield broker


def settings_at(address: str, *, clock: str = "live") -> Settings:
    prefix = f"c{uuid4().hex[:8]}"
    return Settings.model_validate(
        {
            "kafka": KafkaSettings(brokers=(address,), prefix=prefix, partitions=2),
            "actions": {"topic": f"{prefix}-actions"},
            "activations": {"topic": f"{prefix}-activations"},
            "pipeline": PipelineSettings(clock=clock),  # type: ignore[arg-type]
        }
    )


def told(found: list[Finding]) -> list[str]:
    return [f"{finding.level} {finding.check}: {finding.text}" for finding in found]


def clocks_of(found: list[Finding]) -> Finding:
    (finding,) = [finding for finding in found if finding.check == "clocks"]
    return finding


async def make(settings: Settings, *topics: NewTopic) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=list(settings.kafka.brokers))
    await client.start()
    try:
        await client.create_topics(list(topics))
    finally:
        await client.close()


async def topics_of(broker: TwoDoors) -> set[str]:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await client.start()
    try:
        return set(await client.list_topics())
    finally:
        await client.close()


@pytest.mark.parametrize("clock", ["live", "records"])
async def test_a_broker_with_rtexps_topics_is_well(doors: TwoDoors, clock: str) -> None:
    settings = settings_at(doors.address, clock=clock)
    await create_topics(settings)
    found = await kafka(settings)
    levels = {finding.check: finding.level for finding in found}
    assert list(levels) == ["kafka", "listeners", "topics", "transactions", "clocks", "input"]
    # Nobody has sent anything: before a replay that is as it should be.
    assert levels.pop("input") == ("ok" if clock == "records" else "warn"), told(found)
    assert set(levels.values()) == {"ok"}, told(found)
    assert "Kafka's controller and this machine agree" in clocks_of(found).text


async def test_newest_records_are_read_by_the_configured_paths(doors: TwoDoors) -> None:
    settings = settings_at(doors.address)
    await create_topics(settings)
    producer = AIOKafkaProducer(bootstrap_servers=doors.address, transactional_id=settings.kafka.prefix)
    await producer.start()
    try:
        async with producer.transaction():  # its mark stands last, where no record is
            for user in range(30):
                value = {"user_id": user, "event": "search", "ts": time.time_ns() // 1_000_000}
                await producer.send(settings.actions.topic, json.dumps(value).encode(), partition=user % 2)
    finally:
        await producer.stop()
    inputs = [finding for finding in await kafka(settings) if finding.check == "input"]
    tracked = f"ok input: the newest 30 records of {settings.actions.topic} ([actions] topic) can be read"
    assert told(inputs)[0] == tracked
    wrong = settings.model_copy(update={"actions": settings.actions.model_copy(update={"user": "user.id"})})
    inputs = [finding for finding in await kafka(wrong) if finding.check == "input"]
    assert told(inputs)[0].startswith("fail input: 30 of the newest 30 records")
    assert "user.id is absent" in inputs[0].text


async def test_an_address_that_leads_nowhere_is_told_and_what_to_set(doors: TwoDoors) -> None:
    began = time.monotonic()
    found = await kafka(settings_at(f"127.0.0.1:{doors.outside}"))
    assert time.monotonic() - began < 60
    assert [f"{finding.level} {finding.check}" for finding in found] == [
        "ok kafka",
        "fail listeners",
        "fail topics",
    ]
    assert "can't be reached from here" in found[1].text
    assert "advertised.listeners" in found[1].text


async def test_a_clock_that_differs_is_told(doors: TwoDoors) -> None:
    settings = settings_at(doors.address)
    await create_topics(settings)
    for wrong_ms, where in ((-60_000, "ahead of"), (60_000, "behind")):
        found = await kafka(settings, lambda by=wrong_ms: time.time_ns() // 1_000_000 + by)  # type: ignore[misc]
        assert clocks_of(found).level == "fail"
        assert f" s {where} this machine's" in clocks_of(found).text


async def test_asking_leaves_nothing_behind(doors: TwoDoors) -> None:
    settings = settings_at(doors.address)
    before = await topics_of(doors)
    await kafka(settings)
    assert await topics_of(doors) == before


def test_everything_that_is_wrong_is_told_at_once(
    doors: TwoDoors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rtexp = CommandLine(tmp_path, monkeypatch, capfd)
    settings = settings_at(doors.address, clock="records")
    prefix = settings.kafka.prefix
    asyncio.run(
        make(
            settings,
            NewTopic(settings.actions.topic, 3, 1, topic_configs={"retention.ms": "86400000"}),
            NewTopic(f"{prefix}.filtered-actions", 5, 1),
            NewTopic(f"{prefix}.partials", 8, 1, topic_configs={"retention.ms": "3600000"}),
            NewTopic(f"{prefix}.status", 1, 1),
        )
    )
    with open_database(SqliteFile(rtexp.database)) as engine, writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0002'")
    token = tmp_path / "token"
    token.write_text("a-token-of-some-length")
    token.chmod(0o644)
    Path("rtexp.toml").write_text(
        f'[kafka]\nbrokers = ["{doors.address}"]\nprefix = "{prefix}"\npartitions = 2\n'
        f'[actions]\ntopic = "{settings.actions.topic}"\n[activations]\ntopic = "{settings.activations.topic}"\n'
        f'[pipeline]\nclock = "records"\n[web]\nport = 0\nworker_port = 0\ntoken_file = "{token}"\n'
    )
    ended = rtexp("check")
    assert ended.code == 1
    for line in (
        "warn  secrets       [web] token_file: others than its owner can read",
        f"fail  topics        there is no topic {prefix}-activations ([activations] topic): correct that (there is ",
        f"fail  topics        {prefix}.ramped-groups,",
        f"fail  topics        {prefix}-actions keeps records for 24 hours by their own time",
        f"fail  topics        {prefix}.filtered-actions has 5 partitions, but [kafka] partitions is 2: set that to 5",
        f"fail  topics        {prefix}.partials keeps records for 60 minutes",
        f"fail  topics        {prefix}.status has cleanup.policy=delete, but rtexp needs compact",
        "ok    clocks        Kafka's controller and this machine agree",
        "is at revision 0002, this version needs",
    ):
        assert line in ended.out, f"{line}\n{ended.out}"
    assert "a-token-of-some-length" not in ended.out + ended.err
