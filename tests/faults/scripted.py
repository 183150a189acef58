"""Scripted runs that reach one step of the engine by construction; and what SQL says afterwards."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from tests.faults.cluster import Cluster, make_settings
from tests.faults.compare import Comparison, compare
from tests.faults.worker import STOP_BEFORE_COMMIT

from rtexp.local.raw_records import RawRecord
from rtexp.local.raw_writer import raw_writer
from rtexp.local.readiness import wait_for_snapshot
from rtexp.local.status_board import Report, StatusFollower
from rtexp.records.snapshot import Allocation
from rtexp.store.definitions import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

START_MS = 1_420_416_000_000
USERS = 100
EXPERIMENT = Experiment(
    name="scripted",
    control="control",
    groups=("control", "treatment"),
    allocations=(Allocation("control", 50.0, START_MS), Allocation("treatment", 50.0, START_MS)),
)
NEVER_SECONDS = 3600.0
"""Between checkpoints: so all that a worker has counted must be rewound by the next."""
REPORTS_HELD = 3
"""Reports come further apart than flushes do."""
FINAL_MS = START_MS + 400 * 3_600_000


def activations() -> list[RawRecord]:
    return [
        RawRecord(
            START_MS + user,
            "activations",
            b"u%d" % user,
            json.dumps(
                {
                    "user_id": f"u{user}",
                    "experiment": "scripted",
                    "group": ("control", "treatment")[user % 2],
                    "ts": START_MS + user,
                }
            ).encode(),
        )
        for user in range(USERS)
    ]


def actions(minutes: Iterable[int]) -> list[RawRecord]:
    """One action of every user in each of these minutes after the start."""
    return [
        RawRecord(
            at_ms,
            "actions",
            b"u%d" % user,
            json.dumps({"user_id": f"u{user}", "event": "search", "ts": at_ms}).encode(),
        )
        for minute in minutes
        for user in range(USERS)
        if (at_ms := START_MS + minute * 60_000 + user * 7)
    ]


class Script:
    """A cluster with one experiment; an async context manager."""

    def __init__(self, directory: Path, broker: str, *, aggregates: int = 1, sabotage: str = "") -> None:
        settings = make_settings(
            directory, broker, f"s{uuid4().hex[:8]}", partitions=1, checkpoint_seconds=NEVER_SECONDS
        )
        jobs = {"ingest": 1, "aggregate": aggregates, "results": 1}
        self.settings = settings
        self.cluster = Cluster(directory / "workers", settings, jobs)
        self.aggregate = self.cluster.workers["aggregate-1"]
        self.sabotage = sabotage

    async def __aenter__(self) -> Self:
        await self.cluster.prepare([EXPERIMENT])
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cluster.stop()

    async def start(self, *names: str) -> None:
        self.cluster.start(*names)
        await wait_for_snapshot(self.settings.kafka, 0, timeout_seconds=120)

    async def send(self, records: list[RawRecord], *, marker_ms: int | None = None) -> None:
        async with raw_writer(self.settings) as writer:
            await writer.send(records)
            if marker_ms is not None:
                await writer.mark(marker_ms)

    async def counted(self) -> None:
        await self.cluster.command("wait", "--timeout", "120")

    async def finish(self) -> Comparison:
        """Let nothing wait any more, and compare."""
        await self.send([], marker_ms=FINAL_MS)
        await self.counted()
        return await compare(self.settings)

    async def actions_report(self, holds: Callable[[Report], bool]) -> Report:
        """Wait for a report of the one partition of actions."""
        topic = self.settings.kafka.topic("filtered-actions")
        async with asyncio.timeout(120), StatusFollower(self.settings.kafka) as follower:
            while True:
                report = (await follower.read()).reports("aggregate", topic).get(0)
                if report is not None and holds(report):
                    return report


async def killed_after_counting(directory: Path, broker: str, sabotage: str) -> Comparison:
    """All that the first worker has counted, the second must run again, and send nothing of it."""
    async with Script(directory, broker) as script:
        await script.start()
        await script.send([*activations(), *actions(range(1, 20))], marker_ms=START_MS + 20 * 60_000)
        await script.counted()
        assert await asyncio.to_thread(script.aggregate.end, signal.SIGKILL) == -signal.SIGKILL
        script.aggregate.sabotage = sabotage
        script.aggregate.start()
        await script.send(actions(range(21, 40)))
        comparison = await script.finish()
        if sabotage != "marker":  # which is said to be where the checkpoint is: nothing to rewind
            assert script.cluster.rewinds() > 0
        return comparison


async def zombie_before_commit(directory: Path, broker: str, sabotage: str) -> tuple[Comparison, list[int]]:
    """A worker sleeps with a transaction open, another counts the same rows, then the first wakes up.

    Returns the exit codes of the first as well.
    """
    async with Script(directory, broker, aggregates=2) as script:
        for name in ("aggregate-1", "aggregate-2"):
            script.cluster.workers[name].sabotage = sabotage
        await script.start("ingest-1", "results-1", "aggregate-1")
        await script.send([*activations(), *actions(range(1, 10))], marker_ms=START_MS + 10 * 60_000)
        await script.counted()
        before = await script.actions_report(lambda report: report.position > 0)
        zombie = script.aggregate
        zombie.arm(STOP_BEFORE_COMMIT)
        await script.send(actions(range(11, 20)), marker_ms=START_MS + 20 * 60_000)
        await _until(lambda: not zombie.is_armed(STOP_BEFORE_COMMIT), "the worker stops before a commit")
        script.cluster.start("aggregate-2")
        # The other one has the rows of the transaction that is open, and all that followed.
        await script.actions_report(
            lambda report: report.position > before.position and report.held_rows == 0
        )
        assert zombie.process is not None
        zombie.process.send_signal(signal.SIGCONT)
        comparison = await script.finish()
        zombie.ended()
        return comparison, zombie.exits


async def actions_first(directory: Path, broker: str, sabotage: str) -> tuple[Comparison, int]:
    """Actions are there before any activation. Returns how many were held back then, as well.

    Rows that were fetched a moment ago look like held ones until the next flush: what tells them apart is that
    they are there in one report after the other.
    """
    held_in: set[int] = set()

    def is_settled(report: Report) -> bool:
        if report.held_rows == 0:
            return report.position > 0
        held_in.add(report.at_ms)
        return len(held_in) >= REPORTS_HELD

    async with Script(directory, broker) as script:
        script.aggregate.sabotage = sabotage
        await script.start()
        await script.send(actions(range(1, 10)))
        report = await script.actions_report(is_settled)
        await script.send(activations())
        return await script.finish(), report.held_rows


async def _until(holds: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        await asyncio.sleep(0.05)
