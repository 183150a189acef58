"""Skewed and grown input, whole: one user who acts for many and is in 300 groups, an experiment that most are in."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tests.faults.cluster import make_settings
from tests.faults.committed import committed_records
from tests.faults.compare import compare
from tests.integration.pipelines import Pipeline

from rtexp.bench.workload import FIRST_ACTION_MS, START_MS, THE_ONE, Workload
from rtexp.bootstrap.sender import Sender
from rtexp.commands.wait import wait_for_all
from rtexp.engine.api import Output
from rtexp.local.raw_records import RawRecord
from rtexp.local.topics import create_topics
from rtexp.records import snapshot
from rtexp.records.snapshot import MOST_BYTES, Allocation, Snapshot
from rtexp.settings import client_options
from rtexp.store.definitions import Experiment

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.faults.cluster import Worker

    from rtexp.local.raw_records import Kind
    from rtexp.settings import Settings

pytestmark = pytest.mark.integration

MIX = Workload(
    users=3_000,
    actions=60_000,
    experiments=10,
    groups=3,
    events=12,
    cap_per_hour=1000,
    hot_experiment=0.9,
    hot_user=0.3,
    hot_hours=2,
    repeats=True,
    triggers=300,
)
A_BROKER_TAKES = 1_000_000
WAIT_SECONDS = 120.0


def settings_of(directory: Path, broker: str) -> Settings:
    made = make_settings(directory, broker, f"g{uuid4().hex[:8]}", partitions=3)
    actions = made.actions.model_copy(update={"tracked": MIX.event_names, "cap_per_hour": MIX.cap_per_hour})
    return made.model_copy(update={"actions": actions})


def experiments() -> list[Experiment]:
    return [
        Experiment(name, groups[0], groups, tuple(Allocation(group, 30.0, START_MS) for group in groups))
        for name, groups in MIX.definitions().items()
    ]


def raw(kind: Kind, records: Iterable[tuple[int, bytes, bytes]]) -> list[RawRecord]:
    return [RawRecord(at_ms, kind, key, value) for at_ms, key, value in records]


async def says(worker: Worker, words: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while words not in worker.said:
        assert time.monotonic() < deadline, f"{worker.name} never said {words!r}"
        await asyncio.sleep(0.1)


async def test_a_mix_of_all_shapes_is_exact_when_workers_are_killed_and_a_disk_is_lost(
    broker: str, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, broker)
    acts = raw("actions", MIX.action_records())
    half = len(acts) // 6  # of the first hour, so that the one user has acted, and will
    made = Pipeline(tmp_path / "workers", settings, {"ingest": 1, "aggregate": 1, "results": 1})
    aggregate, results = made.workers["aggregate-1"], made.workers["results-1"]
    try:
        await made.begin(experiments())
        await made.send(raw("activations", MIX.activation_records()), marker_ms=FIRST_ACTION_MS)
        await made.send(acts[:half], marker_ms=acts[half - 1].arrival_ms)
        await wait_for_all(settings, WAIT_SECONDS)
        await says(aggregate, '"event":"checkpoint"')

        await asyncio.to_thread(aggregate.end, signal.SIGKILL)
        assert aggregate.wipe() > 0
        await asyncio.to_thread(results.end, signal.SIGKILL)
        await made.send(acts[half:], marker_ms=acts[-1].arrival_ms + 3_600_000)
        aggregate.start()
        results.start()
        await wait_for_all(settings, WAIT_SECONDS)

        found = await compare(settings)
        sizes = {topic: await largest(settings, topic) for topic in TOPICS}
    finally:
        made.stop()
    assert found.differing == {}
    assert re.search(r"restored [1-9]\d* changelog", aggregate.said[aggregate.said_before :])
    users, _, _, arrivals = MIX.action_columns()
    mine = arrivals[users == THE_ONE]
    assert len(mine) > 2 * MIX.cap_per_hour, "repeats and a cap, both of them, need something to fall on"
    assert found.cells > 3 * MIX.triggers
    assert sizes == {topic: size for topic, size in sizes.items() if 0 < size <= A_BROKER_TAKES}


TOPICS = (
    "filtered-actions",
    "filtered-activations",
    "partials",
    "aggregate-users-changelog",
    "results-buckets-changelog",
    "status",
)


async def largest(settings: Settings, topic: str) -> int:
    """Return the bytes of the largest record of one of rtexp's own topics."""
    records = await committed_records(settings, topic)
    return max(len(record.key or b"") + len(record.value or b"") for record in records)


async def test_a_broker_takes_a_snapshot_of_thousands_of_experiments_with_plans(
    broker: str, tmp_path: Path
) -> None:
    """The client compares sizes before it compresses: with 8 MB, as brokers are told, 2,000 would be too many."""
    settings = settings_of(tmp_path, broker)
    await create_topics(settings)
    names = [f"experiment-{number}" for number in range(60_000)]
    taken = Snapshot(
        snapshot.VERSION,
        1,
        [
            snapshot.Experiment(
                name, "control", ["control", "treatment"], [], [], [Allocation("control", 5.0, 1)] * 4
            )
            for name in names
        ],
    )
    value = snapshot.encode(taken)
    assert 8 << 20 < len(value) < MOST_BYTES
    sender = Sender(lambda: client_options(settings.kafka))
    try:
        await sender.send(Output(settings.kafka.topic("ramped-groups"), 0, value, key=snapshot.KEY))
        assert await largest(settings, "ramped-groups") == len(value) + len(snapshot.KEY)
    finally:
        await sender.close()
