"""A run in which the disks of workers and of SQLite are full while input flows, and of which one is damaged as well."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4
from zlib import crc32

from tests.faults.cluster import Cluster, make_settings
from tests.faults.compare import Comparison, compare
from tests.faults.scripted import FINAL_MS, START_MS
from tests.faults.small_disk import SmallDisk, small_disk

from rtexp.engine.failstop import EXIT_FATAL
from rtexp.local.raw_records import RawRecord
from rtexp.local.raw_writer import raw_writer
from rtexp.local.readiness import wait_for_snapshot
from rtexp.records.partials import PARTITIONS
from rtexp.records.snapshot import Allocation
from rtexp.settings import StoreSettings
from rtexp.store.definitions import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.cluster import Worker

USERS = 2000
EXPERIMENTS = [name for n in range(200) if crc32((name := f"e{n}").encode()) % PARTITIONS == 0][:20]
"""All in one partition, and all users in all of them: so a few checkpoints write more than RocksDB keeps in memory."""
MEGABYTES = 64
GROUPS = ("control", "treatment")
MINUTE_MS = 60_000
FULL = "No space left on device"
NOT_AS_IT_IS = ("doesn't verify, replaying", "can't be opened, replaying", "wiped")
"""How a worker says that it can't go on with its local store."""


@dataclass
class FullDiskReport:
    last_words: dict[str, list[str]] = field(default_factory=dict)
    """What each worker said of why it ended, at each of its ends."""
    began: dict[str, str] = field(default_factory=dict)
    """With what each began once there was room."""
    comparison: Comparison | None = None

    def __str__(self) -> str:
        ends = {name: len(said) for name, said in self.last_words.items()}
        return f"ends on a full disk {ends}; {self.comparison}"


def experiments() -> list[Experiment]:
    allocations = tuple(Allocation(group, 50.0, START_MS) for group in GROUPS)
    return [Experiment(name, "control", GROUPS, allocations) for name in EXPERIMENTS]


def activations() -> list[RawRecord]:
    return [
        _record("activations", user, START_MS + user, experiment=name, group=GROUPS[(user + n) % 2])
        for user in range(USERS)
        for n, name in enumerate(EXPERIMENTS)
    ]


def actions(minute: int) -> list[RawRecord]:
    """One action of every user."""
    return [
        _record("actions", user, START_MS + minute * MINUTE_MS + user * 7, event="search")
        for user in range(USERS)
    ]


def _record(kind: str, user: int, at_ms: int, **fields: str) -> RawRecord:
    value = json.dumps({"user_id": f"u{user}", "ts": at_ms, **fields}).encode()
    return RawRecord(at_ms, kind, b"u%d" % user, value)  # type: ignore[arg-type]


class FullDiskRun:
    def __init__(self, directory: Path, broker: str) -> None:
        self.report = FullDiskReport()
        self.settings = make_settings(
            directory,
            broker,
            f"d{uuid4().hex[:8]}",
            partitions=1,
            checkpoint_seconds=1.0,
            store=StoreSettings(url=f"sqlite:///{directory}/sql/rtexp.db"),
        )
        self.sql = directory / "sql"
        self.cluster = Cluster(
            directory / "workers", self.settings, {"ingest": 1, "aggregate": 1, "results": 1}
        )
        self.minute = 0

    async def run(self) -> FullDiskReport:
        workers = self.cluster.workers
        aggregate, results = workers["aggregate-1"], workers["results-1"]
        with ExitStack() as mounted:
            sql = mounted.enter_context(small_disk(self.sql, MEGABYTES))
            disk = {
                w.name: mounted.enter_context(small_disk(w.datadir, MEGABYTES)) for w in (aggregate, results)
            }
            try:
                await self.cluster.prepare(experiments())
                self.cluster.start()
                await wait_for_snapshot(self.settings.kafka, 0, timeout_seconds=150)
                await self._send(activations())
                await self._until_files(aggregate, results)
                await self._until_it_ends(aggregate, disk[aggregate.name])
                await self._live(aggregate)
                await self._until_it_ends(results, disk[results.name])
                self._damage(results)
                await self._live(results)
                await self._fill_sql(sql, results)
                await self._send([], FINAL_MS)
                await self._counted()
                self.report.began = {w.name: self._beginning(w) for w in (aggregate, results)}
                self.report.comparison = await compare(self.settings)
            finally:
                self.cluster.stop()
        return self.report

    async def _until_files(self, *workers: Worker) -> None:
        """Let events flow until local stores hold something that would be missed."""
        deadline = time.monotonic() + 120
        while not all([*worker.datadir.rglob("*.sst")] for worker in workers):
            assert time.monotonic() < deadline, "RocksDB writes no files"
            await self._act()
            await asyncio.sleep(1)

    async def _until_it_ends(self, worker: Worker, disk: SmallDisk) -> None:
        """Fill a worker's disk while events flow; it ends, and again when it is started before there is room."""
        self.report.last_words[worker.name] = []
        async with disk.full():
            await self._ended(worker)
            worker.start()
            await self._ended(worker)

    def _damage(self, worker: Worker) -> None:
        """Zero a block in the middle of its largest file: in there are pages."""
        largest = max(worker.datadir.rglob("*.sst"), key=lambda path: path.stat().st_size)
        with largest.open("r+b") as file:
            file.seek(largest.stat().st_size // 2)
            file.write(bytes(4096))

    async def _ended(self, worker: Worker) -> None:
        deadline = time.monotonic() + 120
        while worker.ended() is None:
            assert time.monotonic() < deadline, f"{worker.name} goes on, on a full disk"
            if worker.is_live:
                await self._act()
            await asyncio.sleep(1)
        assert worker.exits[-1] == EXIT_FATAL, worker.said[worker.said_before :]
        self.report.last_words[worker.name] += self._last_words(worker)

    def _last_words(self, worker: Worker) -> list[str]:
        lines = [
            json.loads(line)
            for line in worker.said[worker.said_before :].splitlines()
            if line.startswith("{")
        ]
        return [
            line["event"] for line in lines if line["level"] in {"critical", "error"} or "exception" in line
        ]

    async def _live(self, worker: Worker) -> None:
        worker.start()
        await self._until(lambda: worker.is_live, f"{worker.name} is live")

    def _beginning(self, worker: Worker) -> str:
        began = worker.said[worker.said_before :]
        return next((words for words in NOT_AS_IT_IS if words in began), "from its own files")

    async def _fill_sql(self, disk: SmallDisk, results: Worker) -> None:
        before = results.said.count("disk is full")
        async with disk.full():
            deadline = time.monotonic() + 150
            while results.said.count("disk is full") == before:
                assert time.monotonic() < deadline, "SQLite takes rows, on a full disk"
                await self._act()
                await asyncio.sleep(1)

    # -- the flow -----------------------------------------------------------------------------------------

    async def _act(self) -> None:
        self.minute += 5
        await self._send(actions(self.minute))

    async def _send(self, records: list[RawRecord], marker_ms: int | None = None) -> None:
        async with raw_writer(self.settings) as writer:
            await writer.send(records)
            await writer.mark(marker_ms or START_MS + self.minute * MINUTE_MS + USERS * 7)

    async def _counted(self) -> None:
        await self.cluster.command("wait", "--timeout", "120")

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 90
        while not holds():
            assert time.monotonic() < deadline, f"waited in vain until {what}"
            await asyncio.sleep(0.1)
