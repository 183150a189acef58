"""`rtexp dead-letters` on a real broker: what it lists, shows and sends again, through kills and rivals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from click.testing import CliRunner
from tests.brokers import PrivateBroker
from tests.faults.cluster import ROOT
from tests.unit.agents.raw_records import Raw

from rtexp.agents.dead_letters import dead_letter
from rtexp.cli import cli
from rtexp.engine import api
from rtexp.errors import ContractError, FatalError
from rtexp.letters import sending
from rtexp.letters.sending import Ready, letter_sender
from rtexp.local.topics import create_topics
from rtexp.records.letters import MAX_VALUE_BYTES, Letter, Origin
from rtexp.settings import (
    ActionSettings,
    ActivationSettings,
    KafkaSettings,
    PipelineSettings,
    Settings,
    StoreSettings,
    as_toml,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aiokafka import ConsumerRecord

pytestmark = pytest.mark.integration

PARTITIONS = 3
WAIT_SECONDS = 60.0
NOW_MS = time.time_ns() // 1_000_000


@dataclass
class Place:
    """Topics of one's own, and the command line on them."""

    settings: Settings
    config: Path

    @property
    def actions(self) -> str:
        return self.settings.actions.topic

    def run(self, *words: str, code: int = 0) -> str:
        ended = CliRunner().invoke(cli, ["--config", str(self.config), "dead-letters", *words])
        if code == 0:
            assert ended.exit_code == 0, (ended.output, ended.exception)
        else:
            assert ended.exit_code != 0 or ended.exception
        return ended.stdout

    def replay(self, *words: str, code: int = 0) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.run("replay", "--json", *words, code=code))
        return report

    def produce(self, records: Sequence[api.Output]) -> None:
        asyncio.run(self._produce(records))

    async def _produce(self, records: Sequence[api.Output]) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=list(self.settings.kafka.brokers), max_request_size=8 << 20
        )
        await producer.start()
        try:
            for out in records:
                await producer.send_and_wait(
                    out.topic, out.value, key=out.key, partition=out.partition, headers=list(out.headers)
                )
        finally:
            await producer.stop()

    def refuse(
        self, *raws: Raw, topic: str | None = None, partition: int = 1, reason: str = "wrong-type"
    ) -> None:
        """Send dead letters as ingest does."""
        origin = api.TopicPartition(topic or self.actions, partition)
        error = ContractError(reason, "a detail")
        self.produce(
            [dead_letter(self.settings.kafka.topic("dead-letters"), origin, raw, error) for raw in raws]
        )

    def read(self, topic: str, partitions: int = PARTITIONS) -> list[ConsumerRecord]:
        """Return committed records."""
        return asyncio.run(self._read(topic, partitions))

    async def _read(self, topic: str, partitions: int) -> list[ConsumerRecord]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=list(self.settings.kafka.brokers),
            isolation_level="read_committed",
            enable_auto_commit=False,
        )
        await consumer.start()
        found: list[ConsumerRecord] = []
        try:
            tps = [TopicPartition(topic, partition) for partition in range(partitions)]
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

    def sent(self) -> list[tuple[int, bytes | None, bytes | None]]:
        """Return what stands in the raw topic of actions."""
        return [(record.partition, record.key, record.value) for record in self.read(self.actions)]

    def noted(self) -> list[str]:
        """Return the origins that count as replayed."""
        return [record.key.decode() for record in self.read(self.settings.kafka.topic("replayed"), 1)]


def place_with(settings: Settings, directory: Path) -> Place:
    asyncio.run(create_topics(settings))
    config = directory / "rtexp.toml"
    config.write_text(as_toml(settings))
    return Place(settings, config)


def settings_on(broker: str, directory: Path) -> Settings:
    prefix = f"t{uuid4().hex[:12]}"
    return Settings(
        kafka=KafkaSettings(brokers=(broker,), prefix=prefix, partitions=PARTITIONS),
        actions=ActionSettings(topic=f"{prefix}-actions", max_message_bytes=800_000),
        activations=ActivationSettings(topic=f"{prefix}-activations"),
        store=StoreSettings(url=f"sqlite:///{directory}/none.db"),
    )


@pytest.fixture
def place(broker: str, tmp_path: Path) -> Place:
    return place_with(settings_on(broker, tmp_path), tmp_path)


def good(user: str = "u1", at_ms: int = NOW_MS) -> bytes:
    return json.dumps({"user_id": user, "event": "search", "ts": at_ms}).encode()


def bad(user: str = "u1") -> bytes:
    return json.dumps({"user_id": user, "event": "search", "time": NOW_MS}).encode()


MEND = "sed s/time/ts/"
LETTERS = 700
"""Several transactions' worth."""


def test_letters_are_counted_by_topic_and_reason_and_each_once(place: Place) -> None:
    place.refuse(Raw(1, NOW_MS, b"x"), Raw(2, NOW_MS, b"y"), Raw(1, NOW_MS, b"x"))
    place.refuse(Raw(1, NOW_MS, None), partition=2, reason="null-value")
    listed = json.loads(place.run("list", "--json"))
    assert [(row["topic"], row["reason"], row["letters"], row["replayed"]) for row in listed["counts"]] == [
        (place.actions, "null-value", 1, 0),
        (place.actions, "wrong-type", 2, 0),
    ]
    assert [letter["offset"] for letter in listed["letters"]] == [1, 2, 1]
    assert place.run("list", "--reason", "null-value").splitlines()[1].split()[:4] == [
        place.actions, "null-value", "1", "0",
    ]  # fmt: skip
    assert place.run("list", "--topic", "another") == "no dead letters\n"
    assert place.run("list", "--since", "2100-01-01") == "no dead letters\n"
    assert len(place.run("list", "--since", "2020-01-01", "--limit", "1").splitlines()) == 6


def test_a_letter_is_shown_with_what_is_known_of_it(place: Place) -> None:
    place.refuse(Raw(7, NOW_MS, b'{"a":1.10,"a":"\x1b[2J"}', key=b"\xff"))
    origin = f"{place.actions}/1/7"
    shown = json.loads(place.run("show", origin, "--json"))
    assert (shown["reason"], shown["detail"], shown["time_ms"]) == ("wrong-type", "a detail", NOW_MS)
    assert (shown["value"], shown["key_base64"], shown["cut"]) == ('{"a":1.10,"a":"\x1b[2J"}', "/w==", False)
    assert place.run("show", origin, "--raw") == '{"a":1.10,"a":"\x1b[2J"}'
    text = place.run("show", origin)
    assert "\x1b" not in text
    assert r"\x1b[2J" in text
    place.run("show", f"{place.actions}/1/8", code=1)


def test_letters_are_sent_to_their_partitions_with_their_keys_and_only_once(place: Place) -> None:
    place.refuse(Raw(1, NOW_MS, good("a"), key=b"A"), Raw(2, NOW_MS, good("b"), key=None), partition=2)
    place.refuse(Raw(1, NOW_MS, good("a"), key=b"A"), partition=2)  # again, as after a crash
    place.refuse(Raw(9, NOW_MS, good("c"), key=b"C"), partition=0)
    report = place.replay()
    assert (report["replayed"], report["already_replayed"], report["skipped"]) == (3, 0, 0)
    assert sorted(place.sent(), key=str) == [(0, b"C", good("c")), (2, None, good("b")), (2, b"A", good("a"))]
    headers = [dict(record.headers) for record in place.read(place.actions)]
    assert {found["rtexp-replayed"].decode() for found in headers} == set(place.noted())
    again = place.replay()
    assert (again["replayed"], again["already_replayed"]) == (0, 3)
    assert len(place.sent()) == 3
    assert "replayed  " in place.run("show", f"{place.actions}/2/1")


def test_activations_go_before_actions(place: Place) -> None:
    place.refuse(Raw(1, NOW_MS, good()))
    activation = json.dumps({"user_id": "u", "experiment": "e", "group": "g", "ts": NOW_MS}).encode()
    place.refuse(Raw(1, NOW_MS, activation), topic=place.settings.activations.topic)
    place.replay()
    assert [origin.split("/")[0] for origin in place.noted()] == [
        place.settings.activations.topic,
        place.actions,
    ]


@pytest.mark.parametrize(("clock", "times"), [("live", [True]), ("records", [False])])
def test_a_record_is_sent_as_of_now_and_by_the_clock_of_records_as_of_its_own_time(
    broker: str, tmp_path: Path, clock: str, times: list[bool]
) -> None:
    settings = settings_on(broker, tmp_path)
    pipeline = PipelineSettings.model_validate({"clock": clock})
    place = place_with(settings.model_copy(update={"pipeline": pipeline}), tmp_path)
    long_ago = 1_500_000_000_000
    place.refuse(Raw(1, long_ago, good(at_ms=long_ago)))
    place.replay()
    assert [record.timestamp > long_ago for record in place.read(place.actions)] == times


def test_what_an_edit_writes_is_sent_and_what_it_refuses_stays(place: Place) -> None:
    place.refuse(*(Raw(n, NOW_MS, bad(f"u{n}")) for n in range(1, 5)), reason="missing-field")
    edit = f"""
        case $LETTER_ORIGIN in
            */1) echo 'no; not this one' >&2; exit 3;;
            */2) exit 0;;
            */3) echo '{{"user_id": "still"}}';;
            *) {MEND};;
        esac
    """
    dry = place.replay("--edit", edit, "--dry-run", code=1)
    assert place.sent() == []
    report = place.replay("--edit", edit, code=1)
    assert dry == report | {"dry_run": True}
    assert report["replayed"] == 1
    why = {letter["origin"].rpartition("/")[2]: letter["why"] for letter in report["letters"]}
    assert why["1"] == "the command ended with 3: no; not this one"
    assert why["2"] == "the command wrote nothing"
    assert why["3"].startswith("still bad input: missing-field")
    assert [json.loads(value or b"")["ts"] for _, _, value in place.sent()] == [NOW_MS]
    rest = place.replay("--edit", MEND)
    assert (rest["replayed"], rest["already_replayed"], rest["skipped"]) == (3, 1, 0)


def test_a_null_value_may_become_one_and_stays_without_an_edit(place: Place) -> None:
    place.refuse(Raw(1, NOW_MS, None), reason="null-value")
    assert place.replay(code=1)["letters"][0]["why"].startswith("still bad input: null-value")
    assert place.replay("--edit", f"echo '{good().decode()}'")["replayed"] == 1


def test_a_limit_takes_up_so_many(place: Place) -> None:
    place.refuse(*(Raw(n, NOW_MS, good(f"u{n}")) for n in range(5)))
    counts = [
        (r["replayed"], r["already_replayed"]) for r in (place.replay("--limit", "2") for _ in range(4))
    ]
    assert counts == [(2, 0), (2, 2), (1, 4), (0, 5)]


def test_a_letter_of_a_topic_that_is_no_raw_topic_any_more_stays(place: Place) -> None:
    place.refuse(Raw(1, NOW_MS, good()), topic="of-before")
    assert "none of the raw topics" in place.replay(code=1)["letters"][0]["why"]


def test_of_a_value_that_was_cut_the_original_is_read_from_its_raw_topic(broker: str, tmp_path: Path) -> None:
    settings = settings_on(broker, tmp_path)
    asyncio.run(make_topic(settings, settings.actions.topic, {"max.message.bytes": "3000000"}))
    place = place_with(settings, tmp_path)
    large = good()[:-1] + b',"pad":"' + b"x" * (MAX_VALUE_BYTES + 100_000) + b'"}'
    place.produce(
        [api.Output(place.actions, 1, large, b"k"), api.Output(place.actions, 1, large + b" ", b"k")]
    )
    place.refuse(Raw(0, NOW_MS, large), reason="too-large")
    # Of these the topic doesn't have what was refused: another record stands there, or none.
    place.refuse(Raw(1, NOW_MS, large), Raw(2, NOW_MS, large), reason="too-large")
    assert place.run("show", f"{place.actions}/1/0", "--raw") == large.decode()
    assert json.loads(place.run("show", f"{place.actions}/1/1", "--json"))["cut"] is True
    assert place.replay(code=1)["skipped"] == 3  # it is still larger than max_message_bytes
    report = place.replay("--edit", """sed 's/,"pad":"x*"//'""", code=1)
    assert report["replayed"] == 1
    assert [letter["why"] for letter in report["letters"]] == [
        f"only 900000 of its {len(large)} bytes are left"
    ] * 2


def test_a_value_that_the_topic_would_not_take_stays_and_holds_nothing_up(
    broker: str, tmp_path: Path
) -> None:
    settings = settings_on(broker, tmp_path)
    asyncio.run(make_topic(settings, settings.actions.topic, {"max.message.bytes": "5000"}))
    place = place_with(settings, tmp_path)
    place.refuse(*(Raw(n, NOW_MS, good("u" * 30 + str(n))) for n in range(100)))
    place.refuse(Raw(200, NOW_MS, good()[:-1] + b',"pad":"' + b"x" * 5_000 + b'"}'))
    report = place.replay(code=1)
    assert (report["replayed"], report["skipped"]) == (100, 1)
    assert "max.message.bytes is 5000" in report["letters"][0]["why"]


async def make_topic(settings: Settings, topic: str, config: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=list(settings.kafka.brokers))
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs=config)])
    await admin.close()


def test_topics_of_an_earlier_version_can_be_listed_and_are_told_to_be_completed(
    broker: str, tmp_path: Path
) -> None:
    settings = settings_on(broker, tmp_path)
    config = tmp_path / "rtexp.toml"
    config.write_text(as_toml(settings))
    for name in (settings.actions.topic, settings.activations.topic):
        asyncio.run(make_topic(settings, name, {}))
    admin_topic = settings.kafka.topic("dead-letters")
    asyncio.run(make_topic_of_letters(settings, admin_topic))
    place = Place(settings, config)
    place.refuse(Raw(1, NOW_MS, b"x"))
    assert "wrong-type" in place.run("list")
    ended = CliRunner().invoke(cli, ["--config", str(config), "dead-letters", "replay"])
    assert "run `rtexp topics create`" in str(ended.exception)


async def make_topic_of_letters(settings: Settings, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=list(settings.kafka.brokers))
    await admin.start()
    await admin.create_topics([NewTopic(topic, 4, 1)])
    await admin.close()


def letter(place: Place, offset: int) -> Letter:
    return Letter(Origin(place.actions, 1, offset), "r", "d", NOW_MS, NOW_MS, b"k", good(), len(good()))


def test_what_a_killed_replay_had_not_committed_counts_nothing_and_is_sent_by_the_next(place: Place) -> None:
    place.refuse(Raw(1, NOW_MS, good()), Raw(2, NOW_MS, good("u2")))

    async def die_before_the_commit() -> None:
        """Leave a transaction open, records and all, as a process does that is killed."""
        producer = AIOKafkaProducer(
            bootstrap_servers=list(place.settings.kafka.brokers),
            transactional_id=f"{place.settings.kafka.prefix}-dead-letters-replay",
        )
        await producer.start()
        await producer.begin_transaction()
        await producer.send_and_wait(place.actions, good(), partition=1)
        note = place.settings.kafka.topic("replayed")
        await producer.send_and_wait(note, b"{}", key=f"{place.actions}/1/1".encode(), partition=0)
        await producer._sender.close()
        await producer.client.close()
        producer._closed = True

    asyncio.run(die_before_the_commit())
    report = place.replay()
    assert (report["replayed"], report["already_replayed"]) == (2, 0)
    assert place.sent() == [(1, b"key", good()), (1, b"key", good("u2"))]


def test_a_second_replay_ends_the_first_and_sends_nothing_twice(place: Place) -> None:
    place.refuse(Raw(1, NOW_MS, good()), Raw(2, NOW_MS, good("u2")))
    kafka = place.settings.kafka

    async def two() -> None:
        async with letter_sender(kafka, limits=[1_000_000], keeps_times=False) as first:
            await first.send([Ready(letter(place, 1), good(), 1)])
            async with letter_sender(kafka, limits=[1_000_000], keeps_times=False):
                with pytest.raises(FatalError, match="another `rtexp dead-letters replay` has begun"):
                    await first.send([Ready(letter(place, 2), good("u2"), 1)])

    asyncio.run(two())
    assert place.noted() == [f"{place.actions}/1/1"]
    assert (place.replay()["replayed"], len(place.sent())) == (1, 2)


def test_a_replay_ends_when_its_broker_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TRANSACTION_SECONDS", 5.0)
    private = PrivateBroker(tmp_path / "kafka")
    private.start()
    try:
        place = place_with(settings_on(private.address, tmp_path), tmp_path)

        async def send_to_nobody() -> None:
            async with letter_sender(place.settings.kafka, limits=[1_000_000], keeps_times=False) as sender:
                await asyncio.to_thread(private.kill)
                with pytest.raises(FatalError, match=r"unknown \(no answer within 5 s\): run it again"):
                    await sender.send([Ready(letter(place, 1), good(), 1)])

        asyncio.run(asyncio.wait_for(send_to_nobody(), WAIT_SECONDS))
    finally:
        private.stop()


def test_a_replay_that_is_killed_in_the_middle_goes_on_where_it_was(place: Place) -> None:
    place.refuse(*(Raw(n, NOW_MS, bad(f"u{n}")) for n in range(LETTERS)), reason="missing-field")
    words = [sys.executable, "-m", "rtexp", "--config", str(place.config), "dead-letters", "replay"]
    edit = "sleep 0.05; sed s/time/ts/"
    process = subprocess.Popen([*words, "--edit", edit], cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + WAIT_SECONDS
    while not place.noted():
        assert process.poll() is None
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = len(place.noted())
    assert 0 < before < LETTERS, "it wasn't in the middle"
    report = place.replay("--edit", MEND)
    assert (report["replayed"], report["already_replayed"]) == (LETTERS - before, before)
    users = [json.loads(value or b"")["user_id"] for _, _, value in place.sent()]
    assert sorted(users) == sorted(f"u{n}" for n in range(LETTERS))
    assert users == [f"u{n}" for n in range(LETTERS)], "the order of the partition that they come from"
    assert place.replay("--edit", MEND)["replayed"] == 0
