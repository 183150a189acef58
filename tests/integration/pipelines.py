"""Whole pipelines on a real broker: worker processes as the README starts them, records in, SQL out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.faults.cluster import ROOT, Cluster, Worker
from tests.faults.committed import committed_records

from rtexp.bootstrap.common import worker_name
from rtexp.commands.wait import wait_for_all
from rtexp.local.raw_records import RawRecord
from rtexp.local.raw_writer import raw_writer
from rtexp.local.readiness import wait_for_snapshot
from rtexp.local.status_board import StatusFollower
from rtexp.records import status as status_records
from rtexp.records.snapshot import Allocation
from rtexp.store.cells import read_cells
from rtexp.store.definitions import Experiment
from rtexp.store.engine import opened, reading, writing_alone
from rtexp.store.metadata import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aiokafka import ConsumerRecord

    from rtexp.local.status_board import StatusBoard
    from rtexp.local.waiting import Waited
    from rtexp.records.status import Status
    from rtexp.settings import Settings
    from rtexp.store.cells import CellRow

WAIT_SECONDS = 150.0
CONTROL, TREATMENT = GROUPS = ("control", "treatment")


@dataclass
class FaustWorker(Worker):
    """A worker that Faust's own command starts."""

    def start(self) -> None:
        self.datadir.mkdir(parents=True, exist_ok=True)
        self.said_before = len(self.said)
        faust = str(Path(sys.executable).with_name("faust"))
        words = ["-A", f"rtexp.apps.{self.job}", "--datadir", str(self.datadir), "worker", "-l", "info"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [faust, *words], cwd=ROOT, env=self.environ, stdout=log, stderr=subprocess.STDOUT
            )


class DeadLetter(NamedTuple):
    origin: bytes
    topic: str
    reason: str


class Pipeline(Cluster):
    """A cluster of such workers, and what a test does to it: send, wait, and look at what has become of it."""

    def __init__(self, directory: Path, settings: Settings, jobs: dict[str, int]) -> None:
        super().__init__(directory, settings, jobs)
        self.workers = {
            name: FaustWorker(name, worker.job, worker.directory, worker.environ)
            for name, worker in self.workers.items()
        }

    async def begin(self, experiments: Iterable[Experiment], *names: str) -> None:
        """Make topics and tables, start these workers (or all), and return when ingest knows the experiments."""
        await self.prepare(experiments)
        self.start(*names)
        await wait_for_snapshot(self.settings.kafka, 0, timeout_seconds=WAIT_SECONDS)

    def with_failpoints(self, name: str) -> Worker:
        """Start a worker anew, as one that can be made to fail at a chosen step."""
        faust = self.workers[name]
        assert faust.end(signal.SIGTERM) == 0
        made = Worker(name, faust.job, faust.directory, faust.environ)
        self.workers[name] = made
        made.start()
        return made

    def add(self, experiment: Experiment) -> None:
        """Create an experiment in SQL, as a person would while everything runs."""
        with opened(self.settings.store) as engine, writing_alone(engine) as connection:
            load(connection, [experiment], pipeline=self.settings.pipeline, now_ms=now_ms())

    async def send(self, records: Iterable[RawRecord], *, marker_ms: int | None = None) -> None:
        async with raw_writer(self.settings) as writer:
            await writer.send(records)
            if marker_ms is not None:
                await writer.mark(marker_ms)

    async def play(self, records: Sequence[RawRecord], *, rows: int) -> None:
        """Send records in order of arrival, with a marker after every so many."""
        async with raw_writer(self.settings) as writer:
            for first in range(0, len(records), rows):
                chunk = records[first : first + rows]
                await writer.send(chunk)
                await writer.mark(chunk[-1].arrival_ms)
                await writer.flush()

    async def counted(self) -> Waited:
        return await wait_for_all(self.settings, WAIT_SECONDS)

    async def board(self, holds: Callable[[StatusBoard], bool]) -> None:
        """Return when what the workers say of themselves is as wanted; TimeoutError if it never is."""
        async with StatusFollower(self.settings.kafka) as follower:
            deadline = time.monotonic() + WAIT_SECONDS
            while not holds(await follower.read()):
                assert time.monotonic() < deadline, "the workers never said so"

    async def shared(self, *names: str) -> dict[str, set[int]]:
        """Return the partitions of users that each of these workers has, once all are had and none by two.

        Whoever gave a partition up reports no more of it, so this is what they own now, not what they ever had.
        """
        topic = self.settings.kafka.topic("filtered-actions")
        workers = {worker_name(self.workers[name].datadir): name for name in names}
        found: dict[str, set[int]] = {}

        def is_settled(board: StatusBoard) -> bool:
            found.clear()
            found.update({name: set() for name in names})
            for status in board.live_partitions("aggregate", now_ms()):
                if status.ready and any(name.startswith(f"{topic}/") for name in status.inputs):
                    found[workers[status.worker]].add(status.partition)
            owned = sorted(partition for partitions in found.values() for partition in partitions)
            return all(found.values()) and owned == list(range(self.settings.kafka.partitions))

        await self.board(is_settled)
        return found

    def rows(self, experiment: str | None = None) -> list[CellRow]:
        with opened(self.settings.store) as engine, reading(engine) as connection:
            return list(read_cells(connection, experiment=experiment))

    def counts(self, experiment: str, start_ms: int = 0) -> dict[tuple[str, str, int], tuple[int, ...]]:
        """Counts of an experiment's cells by (group, event, bucket), buckets counted from ``start_ms``."""
        return {
            (row.group_name, row.event, row.bucket_start_ms - start_ms): row[5:10]
            for row in self.rows(experiment)
        }

    async def dead_letters(self) -> list[DeadLetter]:
        return [
            DeadLetter(record.key, headers["topic"].decode(), headers["reason"].decode())
            for record in await self.records("dead-letters")
            for headers in [dict(record.headers)]
        ]

    async def drops(self) -> Counter[str]:
        """What was dropped so far, by ``kind/reason``, as the aggregate workers say."""
        newest: dict[int, Status] = {}
        for record in await self.records("status"):
            status = status_records.decode(record.value or b"")
            if status.job == "aggregate" and status.ready:
                newest[status.partition] = status
        total: Counter[str] = Counter()
        for status in newest.values():
            total.update(status.counters)
        return +total  # without zeros

    async def records(self, topic: str) -> list[ConsumerRecord]:
        """All committed records of one of rtexp's own topics, each partition's in order."""
        return await committed_records(self.settings, topic)


def now_ms() -> int:
    return int(time.time() * 1000)


def experiment(name: str, start_ms: int) -> Experiment:
    """One with two groups whose period begins at ``start_ms``."""
    return Experiment(name, CONTROL, GROUPS, tuple(Allocation(group, 50.0, start_ms) for group in GROUPS))


def action(user: str, at_ms: int, event: str = "search", *, arrival_ms: int | None = None) -> RawRecord:
    return _raw("actions", at_ms, arrival_ms, {"user_id": user, "event": event, "ts": at_ms})


def activation(
    user: str, name: str, at_ms: int, group: str = TREATMENT, *, arrival_ms: int | None = None
) -> RawRecord:
    fields = {"user_id": user, "experiment": name, "group": group, "ts": at_ms}
    return _raw("activations", at_ms, arrival_ms, fields)


def _raw(kind: str, at_ms: int, arrival_ms: int | None, fields: Mapping[str, object]) -> RawRecord:
    arrival_ms = at_ms if arrival_ms is None else arrival_ms
    return RawRecord(arrival_ms, kind, str(fields["user_id"]).encode(), json.dumps(fields).encode())  # type: ignore[arg-type]
