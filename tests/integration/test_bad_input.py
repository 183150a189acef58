"""Bad input through the whole pipeline: counted, dropped and refused together are what was sent, to the record.

A tenth of the stream is bad, in every way that the contract names. Then the dead letters are repaired and sent again by
the command line itself, which is killed in the middle.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from click.testing import CliRunner
from starlette.testclient import TestClient
from tests import bad_records
from tests.bad_records import EVENTS, EXPERIMENTS, PLAIN_EXPERIMENT, PLAIN_GROUP, STEP_MS
from tests.faults.cluster import ROOT, make_settings
from tests.faults.compare import differences, stored, truth
from tests.integration.pipelines import Pipeline

from rtexp.cli import cli
from rtexp.local.readiness import wait_for_snapshot
from rtexp.records.letters import MAX_VALUE_BYTES
from rtexp.records.snapshot import Allocation
from rtexp.settings import MASK
from rtexp.store.definitions import Experiment
from rtexp.store.engine import opened, reading
from rtexp.store.operations import read_counters, read_workers
from rtexp.web.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiokafka import ConsumerRecord
    from tests.bad_records import Sent
    from tests.integration.conftest import NewStore
    from tests.oracle import cells as oracle

    from rtexp.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

SEED = 7
RECORDS = {"sqlite": 5_000, "server": 100_000}
PARTITIONS = 4
HOUR_MS = 3_600_000
START_MS = 1_420_416_000_000
SENT_BY_MS = START_MS + 60 * HOUR_MS
"""Beyond the last arrival, and within the period."""
WAIT_SECONDS = 400.0
MOST_RSS_BYTES = 800_000_000
GIVEN_UP = "null-value"

REPAIR = f"""
    [ "$LETTER_REASON" = {GIVEN_UP} ] && {{ echo 'a tombstone' >&2; exit 1; }}
    offset=${{LETTER_ORIGIN##*/}} place=${{LETTER_ORIGIN%/*}}
    user=repaired-${{place##*/}}-$((offset % 500))
    case $LETTER_TOPIC in
        *-actions) printf '{{"user_id":"%s","event":"search","ts":%s}}' $user $(({SENT_BY_MS} + offset));;
        *) printf '{{"user_id":"%s","experiment":"{PLAIN_EXPERIMENT}","group":"{PLAIN_GROUP}","ts":%s}}' \\
            $user {SENT_BY_MS};;
    esac
"""
"""Who they were is lost; a user of their own for each partition shows that each counts, and where."""


class Letter(NamedTuple):
    origin: str
    topic: str
    partition: int
    reason: str
    value: bytes | None
    original_bytes: int


@dataclass
class Ran:
    """The pipeline after the stream, and what was sent."""

    pipeline: Pipeline
    sent: list[Sent]
    origins: list[str]
    """Where each record of ``sent`` stands."""
    letters: list[Letter]
    truth: oracle.Result
    counters: Counter[str]

    @property
    def settings(self) -> Settings:
        return self.pipeline.settings


def odd_settings(directory: Path, broker: str, new_store: NewStore) -> Settings:
    prefix = f"b{uuid4().hex[:8]}"
    made = make_settings(directory, broker, prefix, partitions=PARTITIONS, store=new_store())
    return made.model_copy(update={"actions": made.actions.model_copy(update={"tracked": EVENTS})})


async def make_raw_topics(settings: Settings) -> None:
    config = {"retention.ms": "-1", "max.message.bytes": str(12_000_000)}
    admin = AIOKafkaAdminClient(bootstrap_servers=list(settings.kafka.brokers))
    await admin.start()
    names = (settings.actions.topic, settings.activations.topic)
    await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=config) for name in names])
    await admin.close()


async def send(settings: Settings, records: list[Sent]) -> list[str]:
    """Send all; return where each stands."""
    producer = AIOKafkaProducer(
        bootstrap_servers=list(settings.kafka.brokers),
        enable_idempotence=True,
        max_request_size=12_000_000,
        max_batch_size=200_000,
    )
    await producer.start()
    topics = {"actions": settings.actions.topic, "activations": settings.activations.topic}
    try:
        sent = [
            await producer.send(
                topics[record.kind],
                record.value,
                key=record.key,
                partition=record.partition,
                timestamp_ms=record.arrival_ms,
                headers=list(record.headers),
            )
            for record in records
        ]
        stood = await asyncio.gather(*sent)
    finally:
        await producer.stop()
    return [f"{at.topic}/{at.partition}/{at.offset}" for at in stood]


def as_letter(record: ConsumerRecord) -> Letter:
    headers = {name: value.decode() for name, value in record.headers if name != "key"}
    size = int(headers.get("original-bytes", len(record.value or b"")))
    return Letter(
        record.key.decode(),
        headers["topic"],
        int(headers["partition"]),
        headers["reason"],
        record.value,
        size,
    )


def experiments() -> list[Experiment]:
    return [
        Experiment(name, "control", groups, tuple(Allocation(group, 50.0, START_MS) for group in groups))
        for name, groups in EXPERIMENTS.items()
    ]


def counters_in_sql(settings: Settings) -> Counter[str]:
    """What aggregate counted, by ``kind/reason``."""
    found: Counter[str] = Counter()
    with opened(settings.store) as engine, reading(engine) as connection:
        for row in read_counters(connection):
            if row.job == "aggregate":
                found[row.reason] += row.counted
    return +found


def expected_counters(expected: oracle.Result) -> dict[str, int]:
    return {f"{kind}/{reason}": n for (kind, reason), n in (expected.dropped + expected.dead).items()}


async def settled(pipeline: Pipeline, expected: dict[str, int]) -> Counter[str]:
    """Return the counters once they are as expected, or when they have had time enough."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (found := counters_in_sql(pipeline.settings)) != expected and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def ran(
    broker: str, new_store: NewStore, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ran]:
    directory = tmp_path_factory.mktemp("bad")
    settings = odd_settings(directory, broker, new_store)
    is_sqlite = settings.store.url.startswith("sqlite")
    records = RECORDS["sqlite" if is_sqlite else "server"]
    assert START_MS + records * STEP_MS < SENT_BY_MS
    pipeline = Pipeline(directory / "workers", settings, {"ingest": 1, "aggregate": 1, "results": 1})

    async def run() -> Ran:
        await make_raw_topics(settings)
        await pipeline.prepare(experiments())
        pipeline.start()
        await wait_for_snapshot(settings.kafka, 0, timeout_seconds=WAIT_SECONDS)
        sent = list(bad_records.stream(records, partitions=PARTITIONS, start_ms=START_MS, seed=SEED))
        origins = await send(settings, sent)
        await pipeline.send([], marker_ms=SENT_BY_MS)
        await counted(pipeline)
        expected = await truth(settings)
        letters = [as_letter(record) for record in await pipeline.records("dead-letters")]
        counters = await settled(pipeline, expected_counters(expected))
        return Ran(pipeline, sent, origins, letters, expected, counters)

    try:
        yield asyncio.run(run())
    finally:
        pipeline.stop()


async def counted(pipeline: Pipeline) -> None:
    await pipeline.command("wait", "--timeout", str(WAIT_SECONDS), within_s=WAIT_SECONDS + 60)


def test_each_bad_record_is_one_dead_letter_with_its_reason_and_its_bytes(ran: Ran) -> None:
    letters = {letter.origin: letter for letter in ran.letters}
    assert len(letters) == len(ran.letters)
    bad = {origin: sent for origin, sent in zip(ran.origins, ran.sent, strict=True) if sent.reason}
    assert {origin: letter.reason for origin, letter in letters.items()} == {
        origin: sent.reason for origin, sent in bad.items()
    }
    assert 0.08 < len(bad) / len(ran.sent) < 0.13
    for origin, sent in bad.items():
        value = sent.value and sent.value[:MAX_VALUE_BYTES]
        assert letters[origin].value == value, origin
        assert letters[origin].original_bytes == len(sent.value or b"")
    assert max(letter.original_bytes for letter in ran.letters) == bad_records.LARGE_BYTES


def test_the_reasons_are_those_of_an_independent_judge(ran: Ran) -> None:
    kinds = {ran.settings.actions.topic: "actions", ran.settings.activations.topic: "activations"}
    assert Counter((kinds[letter.topic], letter.reason) for letter in ran.letters) == ran.truth.dead
    assert len({reason for _, reason in ran.truth.dead}) == 7


def test_counted_and_dropped_and_refused_together_are_what_was_sent(ran: Ran) -> None:
    assert ran.counters == expected_counters(ran.truth)
    cells = stored(ran.settings).values()
    kept = {"actions": sum(cell[0] for cell in cells), "activations": sum(cell[3] for cell in cells)}
    for kind, counted_once in kept.items():
        not_kept = sum(
            n
            for name, n in ran.counters.items()
            if name.startswith(f"{kind}/") and not name.endswith("/marker")
        )
        assert counted_once + not_kept == sum(sent.kind == kind for sent in ran.sent)


def test_the_cells_are_the_oracles_under_names_with_quotes_nul_and_four_bytes(ran: Ran) -> None:
    comparison = differences(ran.truth, stored(ran.settings))
    assert comparison.differing == {}
    cells = ran.truth.cells
    assert {key[0] for key in cells} == set(EXPERIMENTS)
    assert {key[2] for key in cells} == {group for groups in EXPERIMENTS.values() for group in groups}
    assert {key[3] for key in cells} == {"", *EVENTS}


def test_ingest_stays_small_whatever_the_size_of_the_records(ran: Ran) -> None:
    with opened(ran.settings.store) as engine, reading(engine) as connection:
        (ingest,) = [row for row in read_workers(connection) if row.job == "ingest"]
    assert ingest.rss_bytes < MOST_RSS_BYTES


def command(ran: Ran, *words: str) -> str:
    ended = CliRunner().invoke(cli, ["--config", str(ran.pipeline.config), *words])
    assert ended.exit_code == 0, (ended.output, ended.exception)
    return ended.stdout


def test_exports_have_every_name_as_it_is(ran: Ran) -> None:
    keys = set(stored(ran.settings))
    table = command(ran, "export", "cells", "--format", "csv")
    header, *rows = csv.reader(io.StringIO(table, newline=""))
    at = [
        header.index(name)
        for name in ("experiment", "period_start_ms", "group_name", "event", "bucket_start_ms")
    ]
    found = {tuple(row[place] for place in at) for row in rows}
    assert found == {tuple(map(str, key)) for key in keys}
    lines = command(ran, "export", "cells", "--format", "jsonl").split("\n")
    names = {(o["experiment"], o["group_name"], o["event"]) for o in map(json.loads, filter(None, lines))}
    assert names == {(key[0], key[2], key[3]) for key in keys}


@pytest.mark.parametrize("words", [("results",), ("dead-letters", "list")], ids=" ".join)
def test_no_name_reaches_the_terminal_as_a_command_to_it(ran: Ran, words: tuple[str, ...]) -> None:
    said = command(ran, *words)
    assert len(said.splitlines()) > 1
    assert all(line.isprintable() for line in said.split("\n"))


def test_pages_and_api_show_every_experiment(ran: Ran) -> None:
    with TestClient(create_app(ran.settings, token=None), base_url="http://127.0.0.1:8000") as client:
        listed = client.get("/api/v1/experiments").json()["items"]
        assert {item["name"] for item in listed} == set(EXPERIMENTS)
        for name in EXPERIMENTS:
            for path in (
                f"/experiments/{quote(name, safe='')}",
                f"/api/v1/experiments/{quote(name, safe='')}",
            ):
                answer = client.get(path)
                # Pages don't look up a name with a zero byte; they say so, as for any name that can't be.
                assert answer.status_code == (422 if "\x00" in name else 200), (name, path, answer.text)
        assert client.get("/").status_code == 200


def test_repaired_letters_count_once_though_the_replay_is_killed_and_run_again(ran: Ran) -> None:
    words = [sys.executable, "-m", "rtexp", "--config", str(ran.pipeline.config), "dead-letters", "replay"]
    words += ["--edit", REPAIR, "--json"]
    repairable = sum(letter.reason != GIVEN_UP for letter in ran.letters)
    given_up = len(ran.letters) - repairable

    process = subprocess.Popen(words, cwd=ROOT, env=ran.pipeline.environ, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + WAIT_SECONDS
    while not asyncio.run(ran.pipeline.records("replayed")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = len(asyncio.run(ran.pipeline.records("replayed")))
    assert 0 < before < repairable, "it wasn't in the middle"

    reports = []
    for _ in range(2):
        run = subprocess.run(words, cwd=ROOT, env=ran.pipeline.environ, capture_output=True, check=False)
        assert run.returncode == 1, run.stderr.decode()  # as some are skipped
        assert MASK not in run.stderr.decode()
        reports.append(json.loads(run.stdout))
    second, third = reports
    assert (second["replayed"], second["already_replayed"]) == (repairable - before, before)
    assert (third["replayed"], third["already_replayed"]) == (0, repairable)
    assert second["skipped"] == third["skipped"] == given_up
    assert second["late"] == 0
    assert {letter["why"] for letter in third["letters"]} == {"the command ended with 1: a tombstone"}

    asyncio.run(ran.pipeline.send([], marker_ms=SENT_BY_MS + HOUR_MS))
    asyncio.run(counted(ran.pipeline))
    expected = asyncio.run(truth(ran.settings))
    comparison = differences(expected, stored(ran.settings))
    assert comparison.differing == {}
    assert expected.dead == ran.truth.dead, "a repaired record was refused again"
    repaired = {
        user
        for (experiment, *_), cell in expected.cells.items()
        if experiment == PLAIN_EXPERIMENT
        for user in cell.users
        if user.startswith("repaired-")
    }
    assert len(repaired) > 20
    assert comparison.volume > sum(cell.volume for cell in ran.truth.cells.values())
