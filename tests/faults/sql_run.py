"""A run in which SQL is away, killed, locked, read-only or doesn't answer, again and again, while input flows.

The server is a real MariaDB, and all workers reach it by a `SqlProxy`. Afterwards every table must be what it would
be had nothing happened.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from tests.faults.cluster import Cluster, make_settings
from tests.faults.compare import compare, truth
from tests.faults.compare_looks import compare_looks
from tests.faults.late_comer import LATE_COMER, experiment, records
from tests.faults.memory_watch import MemoryWatch
from tests.faults.random_run import START_MS, experiments_of
from tests.faults.sql_proxy import ANSWER_LOST, AT_COMMIT, BEFORE_COMMIT, BETWEEN_STATEMENTS, SqlProxy
from tests.sql_servers import PrivateMariaDb, settings_of

from rtexp.local.generator import Generator
from rtexp.local.pacing import stream
from rtexp.local.raw_writer import raw_writer
from rtexp.local.readiness import wait_for_snapshot
from rtexp.local.status_board import StatusFollower
from rtexp.local.story import Story
from rtexp.local.truth import Rules
from rtexp.store.counts import CountRange, read_totals
from rtexp.store.engine import opened, reading, writing_alone
from rtexp.store.metadata import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from tests.faults.cluster import Worker
    from tests.faults.compare import Comparison
    from tests.faults.compare_looks import LooksComparison
    from tests.sql_servers import ServerDatabase

    from rtexp.local.raw_records import RawRecord

DOWN, DOWN_AND_KILLED, READ_ONLY, TABLE_LOCKED, ROWS_LOCKED, HANGS = (
    "down", "down, a results worker killed meanwhile", "read-only", "table locked", "rows locked", "hangs",
)  # fmt: skip
KILLED = (BETWEEN_STATEMENTS, BEFORE_COMMIT, AT_COMMIT)
KINDS = (DOWN, DOWN_AND_KILLED, *KILLED, ANSWER_LOST, READ_ONLY, TABLE_LOCKED, ROWS_LOCKED, HANGS)
LEAST_SECONDS = {TABLE_LOCKED: 6.0, ROWS_LOCKED: 6.0, HANGS: 65.0}
"""A lock is waited for 5 seconds, an answer 60: what is over sooner isn't noticed by anybody."""
NOTICED = {READ_ONLY: "error 1290", TABLE_LOCKED: "error 1205", ROWS_LOCKED: "error 1205"}
"""What workers must have complained of; with all others, of anything."""
PATIENCE_SECONDS = 180.0
LONG = {DOWN: 300.0, TABLE_LOCKED: 60.0}

CYCLES = 60
CYCLE_SECONDS = 150.0
"""Real time in which the generator's 80 hours pass."""
RECORDS_PER_SECOND = 600
COUNTED_BY_BOTH = (
    "repeat",
    "capped",
    "late-activation",
    "unknown-experiment",
    "unknown-group",
    "outside-period",
)


class Round(NamedTuple):
    kind: str
    seconds: float


def short_rounds(chance: random.Random) -> list[Round]:
    """One round of each of what the pipeline promises to come through, as short as it can be."""
    kinds = [DOWN, chance.choice(KILLED), ANSWER_LOST, READ_ONLY, chance.choice((TABLE_LOCKED, ROWS_LOCKED))]
    return [
        Round(kind, LEAST_SECONDS.get(kind, chance.uniform(3, 6)))
        for kind in chance.sample(kinds, len(kinds))
    ]


def rounds_of(chance: random.Random, number: int) -> list[Round]:
    """Each kind at least once where there are so many, in a random order; the first of some kinds for long."""
    kinds = [*KINDS, *chance.choices(KINDS, k=max(number - len(KINDS), 0))][:number]
    long = dict(LONG)
    return [
        Round(kind, max(long.pop(kind, chance.uniform(2, 30)), LEAST_SECONDS.get(kind, 0.0)))
        for kind in chance.sample(kinds, len(kinds))
    ]


@dataclass
class SqlReport:
    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    memory: MemoryWatch = field(default_factory=MemoryWatch)
    held: int = 0
    """Activations that ingest held back for as long as their experiment couldn't be heard of."""
    differing_counters: list[str] = field(default_factory=list)
    comparison: Comparison | None = None
    looks: LooksComparison | None = None

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.faults.total()} faults of SQL ({dict(self.faults)}), {self.memory}, "
            f"{self.comparison}; {self.looks}; {len(self.differing_counters)} counters differ"
        )


def misses_sql(worker: Worker) -> bool:
    """Whether what publishes there has said that SQL is away, and not yet that it is back.

    Of what the leader alone does nothing may be heard any more: another worker may lead since.
    """
    said = worker.said[worker.said_before :]
    told = re.findall(r'"event":"store_(\w+)","logger":"rtexp\.agents\.publish"', said)
    return told[-1:] == ["unavailable"]


class SqlRun:
    def __init__(
        self,
        directory: Path,
        broker: str,
        seed: int,
        rounds: Callable[[random.Random], Sequence[Round]] = short_rounds,
        say: Callable[[str], None] = lambda _: None,
        *,
        results: int = 1,
    ) -> None:
        self.random = random.Random(seed)
        self.rounds = rounds(self.random)
        self.report = SqlReport(seed)
        self.say = say
        self.server = PrivateMariaDb(directory / "mariadb")
        self.proxy = SqlProxy(self.server.url.port or 0, lambda: asyncio.to_thread(self.server.kill))
        self.directory = directory
        self.broker = broker
        self.jobs = {"ingest": 1, "aggregate": 1, "results": results}
        self.stopping = False

    async def run(self) -> SqlReport:
        await asyncio.to_thread(self.server.start)
        await self.proxy.start()
        try:
            await self._prepare(self.server.database())
            async with self.report.memory.watching(self.cluster):
                await self._run()
        finally:
            if hasattr(self, "cluster"):
                self.cluster.stop()
            await self.proxy.stop()
            await asyncio.to_thread(self.server.stop)
        return self.report

    async def _prepare(self, database: ServerDatabase) -> None:
        prefix = f"q{uuid4().hex[:8]}"
        self.direct = make_settings(
            self.directory, self.broker, prefix, partitions=3, store=database.settings
        )
        """Ours: past the proxy."""
        store = settings_of(database.url.set(port=self.proxy.port))
        settings = self.direct.model_copy(update={"store": store})
        self.story = Story(START_MS, settings.pipeline.period_hours * 3_600_000)
        # Past the proxy, too: what blocks this event loop can't be led by it.
        await Cluster(self.directory / "workers", self.direct, {}).prepare(experiments_of(self.story, CYCLES))
        self.cluster = Cluster(self.directory / "workers", settings, self.jobs)
        self.cluster.start()
        await wait_for_snapshot(settings.kafka, 0, timeout_seconds=150)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(self._feed())
            reviving = group.create_task(self._revive())
            # All of them: a worker that still starts grows whatever SQL does.
            await self._until(lambda: all(worker.is_live for worker in self._results()), "workers are live")
            await self._progress()
            for fault in self.rounds:
                await self._inject(fault)
            self.stopping = True
            await feeding
            await self._late_comer()
            await self.cluster.command("wait", "--timeout", "240", within_s=300)
            reviving.cancel()
        self.report.comparison = await compare(self.direct)
        self.report.looks = await compare_looks(self.direct)
        await self._compare_counters()

    # -- the flow -----------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        generator = Generator(
            self.story,
            Rules.of(self.direct),
            seed=self.report.seed,
            users=1500,
            records_per_cycle=int(CYCLE_SECONDS * RECORDS_PER_SECOND),
        )

        def records_of_story() -> Iterator[RawRecord]:
            for cycle in range(CYCLES):
                yield from (told.record for told in generator.cycle(cycle))

        speed = self.story.cycle_ms / 1000 / CYCLE_SECONDS
        async with raw_writer(self.direct) as writer:
            await stream(records_of_story(), writer, speed=speed, stopping=lambda: self.stopping)

    async def _revive(self) -> None:
        """Be the supervisor, without its back-off."""
        while True:
            self.cluster.revive()
            await asyncio.sleep(0.5)

    # -- the faults ---------------------------------------------------------------------------------------

    async def _inject(self, fault: Round) -> None:
        """Do one fault until somebody has missed SQL, for as long as is said, and see that rows come again."""
        words = NOTICED.get(fault.kind, "store_unavailable")
        before = self._complaints(words)

        async def lasting() -> None:
            await asyncio.sleep(fault.seconds)
            await self._until(lambda: self._complaints(words) > before, f"somebody misses SQL: {fault.kind}")

        with self.report.memory.during(fault.kind):
            match fault.kind:
                case "down":
                    await self._stop_server()
                    await lasting()
                    await asyncio.to_thread(self.server.start)
                case "down, a results worker killed meanwhile":
                    await self._stop_server()
                    await self._kill_results()
                    await asyncio.sleep(fault.seconds)
                    await asyncio.to_thread(self.server.start)
                case "read-only":
                    self.server.do("SET GLOBAL read_only = 1")
                    await lasting()
                    self.server.do("SET GLOBAL read_only = 0")
                case "table locked" | "rows locked":
                    async with self._locked(fault.kind):
                        await lasting()
                case "hangs":
                    self.server.send(signal.SIGSTOP)
                    await lasting()
                    self.server.send(signal.SIGCONT)
                case _:
                    self.proxy.arm(fault.kind)
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await self.proxy.hit.wait()
                    await lasting()
                    if fault.kind in KILLED:
                        await asyncio.to_thread(self.server.start)
        await self._progress()
        self.report.faults[fault.kind] += 1
        self.say(
            f"{self.report.faults.total()} {fault.kind}, {fault.seconds:.0f} s; {self.report.memory.last}"
        )

    async def _stop_server(self) -> None:
        await asyncio.to_thread(self.random.choice((self.server.stop, self.server.kill)))

    async def _kill_results(self) -> None:
        """Kill a results worker, and see that it can't start without SQL."""
        victim = self.cluster.workers["results-1"]
        await self._until(lambda: victim.process is not None, "it runs")
        assert await asyncio.to_thread(victim.end, signal.SIGKILL) == -signal.SIGKILL
        before = len(victim.exits)
        victim.start()
        await self._until(lambda: len(victim.exits) > before, "it ends, as it can't start without SQL")
        assert victim.exits[before] > 0

    @asynccontextmanager
    async def _locked(self, kind: str) -> AsyncIterator[None]:
        lock = "LOCK TABLES cells WRITE" if kind == TABLE_LOCKED else "SELECT volume FROM cells FOR UPDATE"
        with opened(self.direct.store) as engine, engine.connect() as connection:
            await asyncio.to_thread(connection.exec_driver_sql, lock)
            try:
                yield
            finally:
                connection.invalidate()  # closes it: that gives the lock back

    def _complaints(self, words: str = "store_unavailable") -> int:
        return sum(worker.said.count(words) for worker in self._results())

    def _results(self) -> list[Worker]:
        return [worker for worker in self.cluster.workers.values() if worker.job == "results"]

    async def _progress(self) -> None:
        """Return when SQL has got something that it hadn't at the call, and nobody misses it any more.

        Whoever catches up after a fault for long, and meets the next one meanwhile, says nothing more of it.
        """
        before = await asyncio.to_thread(self._counted)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while await asyncio.to_thread(self._counted) <= before:
            assert time.monotonic() < deadline, "nothing comes to SQL"
            await asyncio.sleep(0.5)
        await self._until(lambda: not any(map(misses_sql, self._results())), "nobody misses SQL any more")

    def _counted(self) -> int:
        found = self.server.do(f"SELECT SUM(volume + exposures) FROM {self.direct_database}.cells")
        return int(found[0][0] or 0)

    @property
    def direct_database(self) -> str:
        return self.direct.store.url.rpartition("/")[2]

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"waited in vain until {what}: see {self.directory}"
            await asyncio.sleep(0.2)

    # -- an experiment that begins while SQL can't be reached ---------------------------------------------

    async def _late_comer(self) -> None:
        """Its activations are there before anybody can hear of it: they wait, instead of being dropped as unknown."""
        self.proxy.cut()
        now_ms = int(time.time() * 1000)
        async with raw_writer(self.direct) as writer:
            await writer.send(records(now_ms))
            await writer.flush()
        await self._held()
        with opened(self.direct.store) as engine, writing_alone(engine) as connection:
            load(connection, [experiment(now_ms)], pipeline=self.direct.pipeline, now_ms=now_ms)
        self.proxy.mend()
        async with raw_writer(self.direct) as writer:
            await writer.mark(now_ms + 400 * 3_600_000)
        self.report.faults[LATE_COMER] += 1

    async def _held(self) -> None:
        async with asyncio.timeout(60), StatusFollower(self.direct.kafka) as follower:
            while not self.report.held:
                board = await follower.read()
                found = board.reports("ingest", self.direct.activations.topic)
                self.report.held = sum(report.held_rows for report in found.values())

    # -- what the jobs have dropped -----------------------------------------------------------------------

    async def _compare_counters(self) -> None:
        """Counters reach SQL seconds after what they count."""
        expected = (await truth(self.direct)).dropped
        wanted = {
            f"{kind}/{reason}": n for (kind, reason), n in expected.items() if reason in COUNTED_BY_BOTH
        }
        assert len(wanted) > len(COUNTED_BY_BOTH) // 2, "the run has hardly anything to drop"
        deadline = time.monotonic() + 60
        found = self._counters(wanted)
        while found != wanted and time.monotonic() < deadline:
            await asyncio.sleep(1)
            found = self._counters(wanted)
        self.report.differing_counters = [
            f"{reason}: expected {n}, found {found.get(reason)}"
            for reason, n in sorted(wanted.items())
            if found.get(reason) != n
        ]

    def _counters(self, reasons: Sequence[str] | dict[str, int]) -> dict[str, int]:
        with opened(self.direct.store) as engine, reading(engine) as connection:
            rows = read_totals(connection, CountRange(0, 1 << 62, job="aggregate"))
        return {row.reason: row.counted for row in rows if row.reason in reasons}
