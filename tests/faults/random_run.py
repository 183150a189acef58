"""A run in which everything dies, at random, while input flows; afterwards every cell and look must be right."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import signal
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.brokers import PrivateBroker
from tests.faults.cluster import SESSION_SECONDS, Cluster, make_settings
from tests.faults.compare import Comparison, compare
from tests.faults.compare_looks import LooksComparison, compare_looks
from tests.faults.worker import EXIT_CODES

from rtexp.engine.failstop import EXIT_FATAL
from rtexp.local.generator import Generator
from rtexp.local.pacing import stream
from rtexp.local.raw_writer import raw_writer
from rtexp.local.readiness import wait_for_snapshot
from rtexp.local.story import CONTROL, EXPERIMENTS, GROUPS, Story
from rtexp.local.truth import Rules
from rtexp.records.snapshot import Allocation
from rtexp.store.definitions import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.cluster import Worker

    from rtexp.local.raw_records import RawRecord

START_MS = 1_420_416_000_000
CYCLE_SECONDS = 150.0
"""Real time in which the generator's 80 hours pass."""
RECORDS_PER_SECOND = 1000
CYCLES = 40
JOBS = {"ingest": 2, "aggregate": 3, "results": 1}
SQLITE_LOCKED_SECONDS = 30.0

ALWAYS = (
    "kill", "wiped-disk", "before-commit", "stop", "after-commit", "term", "broker", "before-store",
    "kill", "stop", "before-commit", "kill-ingest", "kill-results", "term",
)  # fmt: skip
"""Every run has these, in a random order; a longer one goes on with more of them."""


@dataclass
class Report:
    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    rewound: int = 0
    incomplete_rewinds: list[str] = field(default_factory=list)
    comparison: Comparison | None = None
    looks: LooksComparison | None = None

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.faults.total()} faults ({dict(self.faults)}), "
            f"{self.rewound} records rewound, {self.comparison}; {self.looks}"
        )


def experiments_of(story: Story, cycles: int) -> list[Experiment]:
    changes = [a for cycle in range(cycles) for a in story.allocations(cycle)]
    return [
        Experiment(
            name=e.name,
            control=CONTROL,
            groups=tuple(GROUPS),
            allocations=tuple(
                sorted(
                    (Allocation(a.group, a.percent, a.at_ms) for a in changes if a.experiment == e.name),
                    key=lambda a: a.at_ms,
                )
            ),
        )
        for e in EXPERIMENTS
    ]


class RandomRun:
    def __init__(
        self,
        directory: Path,
        seed: int,
        *,
        seconds: float | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``seconds`` None: each fault of `ALWAYS` once; otherwise faults go on for as long."""
        self.say = say
        self.directory = directory
        self.random = random.Random(seed)
        self.report = Report(seed)
        self.seconds = seconds
        self.broker = PrivateBroker(directory / "kafka")
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # ours: it is without a broker on purpose
        self.stopping = False

    async def run(self) -> Report:
        await asyncio.to_thread(self.broker.start)
        settings = make_settings(self.directory, self.broker.address, "faults")
        self.cluster = Cluster(self.directory / "workers", settings, JOBS)
        try:
            story = Story(START_MS, settings.pipeline.period_hours * 3_600_000)
            await self.cluster.prepare(experiments_of(story, CYCLES))
            self.cluster.start()
            await wait_for_snapshot(settings.kafka, 0)
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(self._feed(story))
                reviving = group.create_task(self._revive())
                await self._let_it_flow()
                locking = group.create_task(self._lock_sqlite())
                await self._inject_all()
                await locking
                self.stopping = True
                await feeding
                await self.cluster.command("wait", "--timeout", "150")
                reviving.cancel()
            self.report.rewound = self.cluster.rewinds()
            self.report.incomplete_rewinds = self.cluster.incomplete_rewinds()
            self.report.comparison = await compare(settings)
            self.report.looks = await compare_looks(settings)
        finally:
            self.cluster.stop()
            await asyncio.to_thread(self.broker.stop)
        return self.report

    # -- the flow -----------------------------------------------------------------------------------------

    async def _feed(self, story: Story) -> None:
        settings = self.cluster.settings
        generator = Generator(
            story,
            Rules.of(settings),
            seed=self.report.seed,
            users=1500,
            records_per_cycle=int(CYCLE_SECONDS * RECORDS_PER_SECOND),
        )

        def records() -> Iterator[RawRecord]:
            for cycle in range(CYCLES):
                yield from (told.record for told in generator.cycle(cycle))

        speed = story.cycle_ms / 1000 / CYCLE_SECONDS
        async with raw_writer(settings) as writer:
            sent = await stream(records(), writer, speed=speed, stopping=lambda: self.stopping)
            assert sent.newest_ms is not None
            # Behind everything: nothing waits for a later marker.
            await writer.mark(sent.newest_ms + 400 * 3_600_000)

    async def _revive(self) -> None:
        """Be the supervisor, without its back-off."""
        while True:
            self.cluster.revive()
            await asyncio.sleep(0.3)

    async def _let_it_flow(self) -> None:
        await _until(lambda: all(worker.is_live for worker in self._aggregates()), 150, "workers are live")
        await asyncio.sleep(4)  # so that there is a checkpoint, and something behind it

    def _aggregates(self) -> list[Worker]:
        return [w for w in self.cluster.workers.values() if w.job == "aggregate"]

    # -- the faults ---------------------------------------------------------------------------------------

    async def _inject_all(self) -> None:
        if self.seconds is None:
            for fault in self.random.sample(ALWAYS, len(ALWAYS)):
                await self._inject(fault)
            return
        until = time.monotonic() + self.seconds
        for fault in itertools.chain.from_iterable(
            self.random.sample(ALWAYS, len(ALWAYS)) for _ in itertools.count()
        ):
            if time.monotonic() > until:
                return
            await self._inject(fault)

    async def _inject(self, fault: str) -> None:
        """Do one fault, see that it happened, and let the others go on for a moment."""
        if fault in EXIT_CODES:
            await self._force_exit(fault)
        elif fault == "broker":
            await self._restart_broker()
        elif fault in ("kill-ingest", "kill-results"):
            worker = self.random.choice(
                [
                    w
                    for w in self.cluster.workers.values()
                    if w.job == fault.removeprefix("kill-") and w.process
                ]
            )
            assert await asyncio.to_thread(worker.end, signal.SIGKILL) == -signal.SIGKILL
            worker.start()
        else:
            await {"kill": self._kill, "term": self._term, "stop": self._stop, "wiped-disk": self._wipe}[
                fault
            ](await self._victim())
        self.report.faults[fault] += 1
        self.say(f"{self.report.faults.total()} {fault}")
        await asyncio.sleep(self.random.uniform(1.5, 4))

    async def _victim(self) -> Worker:
        """Choose a worker that runs and counts: a fault in one that is still starting proves little."""
        await _until(lambda: bool(self._counting()), 150, "a worker counts")
        return self.random.choice(self._counting())

    def _counting(self) -> list[Worker]:
        return [worker for worker in self._aggregates() if worker.is_live]

    async def _kill(self, worker: Worker) -> None:
        assert await asyncio.to_thread(worker.end, signal.SIGKILL) == -signal.SIGKILL
        worker.start()

    async def _term(self, worker: Worker) -> None:
        code = await asyncio.to_thread(worker.end, signal.SIGTERM, 70)
        # A rebalance may be quicker than its stop; then it is fenced in the middle of its last flush.
        was_fenced = code == EXIT_FATAL and "ProducerFenced" in worker.said[worker.said_before :]
        assert code == 0 or was_fenced, f"{worker.name} ended with {code} when asked to stop"
        worker.start()

    async def _stop(self, worker: Worker) -> None:
        """Let it sleep beyond its session, so that others take over, and wake up as a zombie."""
        pid = worker.pid
        worker.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
        await asyncio.sleep(SESSION_SECONDS + self.random.uniform(2, 4))
        assert _state(pid) == "T", f"{worker.name} isn't stopped"
        worker.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]

    async def _wipe(self, worker: Worker) -> None:
        await asyncio.to_thread(worker.end, signal.SIGKILL)
        assert worker.wipe() > 0
        worker.start()

    async def _force_exit(self, failpoint: str) -> None:
        code = EXIT_CODES[failpoint]
        before = self._exits(code)
        for worker in self._aggregates():
            worker.arm(failpoint)
        await _until(lambda: self._exits(code) > before, 150, f"a worker ends {failpoint}")
        for worker in self._aggregates():
            (worker.faults / failpoint).unlink(missing_ok=True)

    def _exits(self, code: int) -> int:
        return sum(worker.exits.count(code) for worker in self._aggregates())

    async def _restart_broker(self) -> None:
        pid = self.broker.pid
        await asyncio.to_thread(self.broker.kill)
        await asyncio.sleep(self.random.uniform(0.5, 3))
        await asyncio.to_thread(self.broker.start)
        assert self.broker.pid != pid

    async def _lock_sqlite(self) -> None:
        """Hold SQLite's write lock while everything else goes on."""
        path = self.cluster.settings.store.url.removeprefix("sqlite:///")
        results = [w for w in self.cluster.workers.values() if w.job == "results"]
        before = sum(w.said.count("store_unavailable") for w in results)
        connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        try:
            connection.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(SQLITE_LOCKED_SECONDS)
            connection.execute("ROLLBACK")
        finally:
            connection.close()
        assert sum(w.said.count("store_unavailable") for w in results) > before, "nobody missed the database"
        self.report.faults["sqlite-locked"] += 1


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - not a path of ours
        return stat.read().rpartition(")")[2].split()[0]


async def _until(holds: object, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        await asyncio.sleep(0.1)
