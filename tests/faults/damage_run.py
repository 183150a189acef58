"""Local stores are damaged again and again, killed or not, while one partition of results counts.

Engine, state, RocksDB and files are real; Kafka is a list, and SQL isn't asked. So a round takes a second, and there
can be many. Every damage must be noticed or do no harm, and the cells must be exact either way.
"""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import rocksdict
from tests.faults.damage import KINDS, Damage, damage
from tests.plain_partials import to_ranks, to_record
from tests.unit.engine.fakes import FakeProducer, Rec, config
from tests.unit.engine.test_recovery import Entry, FakeLog

from rtexp.agents.merge import merge_state
from rtexp.core import sketches
from rtexp.core.cells import Cell, CellCounts, CellKey
from rtexp.engine.api import BatchAgent
from rtexp.engine.task import PartitionTask
from rtexp.errors import RtexpError
from rtexp.records import partials
from rtexp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from rtexp.agents.merge import MergeState
    from rtexp.engine.api import Output

SETTINGS = Settings()
TOPIC = SETTINGS.kafka.topic("partials")
TABLE = "buckets"
AGENT = BatchAgent("buckets", (TOPIC,), TABLE, (), "s1", partial(merge_state, SETTINGS))
START_MS = 1_700_000_000_000 // 3_600_000 * 3_600_000
BUCKET_MS = 900_000
RECORDS, CHECKPOINT_EVERY = 90, 3
"""A quarter of an hour passes with each record: after some hours pages leave memory, and rest in the store alone."""
CELLS_A_RECORD, USERS_A_CELL = 40, 150
LATE = 0.1
"""This share of cells is of any hour since the start: their pages are read back."""
RUNNING = 0.3
"""In this share of rounds files are damaged under a running worker as well."""


class Noticed(NamedTuple):
    """How a store showed itself damaged."""

    at_opening: int
    """It didn't open, or what was in it didn't verify: wiped, and read again from the changelog."""
    at_work: int
    """The worker ended, and was started again."""


@dataclass
class DamageReport:
    seed: int
    damages: Counter[str] = field(default_factory=Counter)
    noticed: int = 0
    harmless: int = 0
    differing: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{n} {what}" for what, n in sorted(self.damages.items()))
        return (
            f"seed {self.seed}: {self.noticed + self.harmless} damaged stores ({kinds}), {self.noticed} noticed, "
            f"{self.harmless} harmless, {len(self.differing)} differ"
        )


class History:
    """Records of partials, and the cells that they add up to."""

    def __init__(self, random: random.Random) -> None:
        self.cells: dict[CellKey, Cell] = {}
        self.records = [self._record(number, random) for number in range(RECORDS)]

    def _record(self, number: int, random: random.Random) -> bytes:
        cells: dict[CellKey, Cell] = {}
        for _ in range(CELLS_A_RECORD):
            back = random.randrange(number + 1) if random.random() < LATE else random.randrange(4)
            key = CellKey(
                f"experiment-{random.randrange(5)}",
                START_MS,
                random.choice(("control", "treatment")),
                random.choice(("", "search", "click")),
                START_MS + max(number - back, 0) * BUCKET_MS,
            )
            counts = CellCounts(*(random.randrange(1000) for _ in range(5)))
            ranks = {random.randrange(4096): random.randint(1, 40) for _ in range(USERS_A_CELL)}
            cells[key] = Cell(counts, ranks)
        for key, cell in cells.items():
            self.cells[key] = self.cells[key] + cell if key in self.cells else cell
        watermark_ms = START_MS + number * BUCKET_MS
        return partials.encode(to_record(cells, lg_k=SETTINGS.sketch.lg_k, watermark_ms=watermark_ms))


class LoggingProducer(FakeProducer):
    """Appends what is sent to the log."""

    def __init__(self, log: FakeLog) -> None:
        super().__init__("results-buckets-0", next_offset=log.end)
        self.log = log

    async def transact(self, outputs: Iterable[Output]) -> list[Any]:
        sent = list(outputs)
        self.log.entries += [Entry(self.log.end + n, o.key or b"", o.value) for n, o in enumerate(sent)]
        self.log.end += len(sent) + 1
        return await super().transact(sent)


class Worker:
    """One partition of results, whose Kafka is a list."""

    def __init__(self, directory: Path, log: FakeLog) -> None:
        self.directory = directory
        self._log = log
        self.task: PartitionTask | None = None

    @property
    def files(self) -> Path:
        return self.directory / AGENT.name / "0"

    async def start(self) -> None:
        with ExitStack() as patches:
            patches.enter_context(patch("rtexp.engine.recovery.AIOKafkaConsumer", self._log))
            patches.enter_context(
                patch("rtexp.engine.task.FencedProducer", lambda *_: LoggingProducer(self._log))
            )
            # A process of its own would find nothing in the cache; here it would find the blocks of before the damage.
            patches.enter_context(patch("rtexp.engine.store._CACHE", rocksdict.Cache(8 << 20)))
            self.task = PartitionTask(AGENT, 0, config(self.directory), self.directory)
            await self.task.open()
        self.task.resume()

    async def count(self, records: list[bytes], until: int) -> None:
        assert self.task is not None
        for offset in range(self.task.next_offset(TOPIC), until):
            self.task.feed(TOPIC, [Rec(offset, records[offset])])
            await self.task.flush(checkpoint=offset % CHECKPOINT_EVERY == 0)

    async def stop(self, *, clean: bool) -> None:
        if self.task is not None:
            await self.task.close(clean=clean)

    async def copy(self, to: Path) -> Worker:
        """The files as they are now, as `kill -9` would leave them."""
        await asyncio.to_thread(shutil.copytree, self.directory, to)
        return Worker(to, self._log)

    def cells(self) -> dict[CellKey, Cell]:
        """All that is counted; what isn't in memory is read from the store."""
        assert self.task is not None
        state: MergeState = self.task.live_state  # type: ignore[assignment]
        return {
            row.key: Cell(row.counts, to_ranks(sketches.from_bytes(row.sketch, SETTINGS.sketch.lg_k)))
            for row in state.table.rows_to_publish(10**9)
        }

    def pages(self) -> dict[bytes, bytes | None]:
        assert self.task is not None
        return dict(self.task._store.pages())


class DamageRun:
    def __init__(
        self, directory: Path, seed: int, rounds: int, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.directory = directory
        self.rounds = rounds
        self.say = say
        self.report = DamageReport(seed)

    async def run(self) -> DamageReport:
        """Each kind of damage has its turn."""
        for number in range(self.rounds):
            chance = random.Random(f"{self.report.seed}-{number}")
            where = self.directory / str(number)
            done, noticed = await self._round(where, chance, KINDS[number % len(KINDS)])
            shutil.rmtree(where)
            words = f"{done.kind} {done.of}".strip()
            self.report.damages[words] += 1
            self.report.noticed += any(noticed)
            self.report.harmless += not any(noticed)
            self.say(f"{number + 1} {words}: {noticed if any(noticed) else 'harmless'}")
        return self.report

    async def _round(self, where: Path, chance: random.Random, kind: str) -> tuple[Damage, Noticed]:
        history = History(chance)
        log = FakeLog([])
        log.per_fetch = 500
        before = Worker(where / "before", log)
        await before.start()
        stop_at = chance.randrange(RECORDS // 3, RECORDS - 5)
        await before.count(history.records, stop_at // 2)
        older = await before.copy(where / "older")
        await before.count(history.records, stop_at)
        if is_clean := chance.random() < 1 / 3:
            await before.stop(clean=True)
        after = await before.copy(where / "after")
        if not is_clean:
            await before.stop(clean=False)
        done = damage(after.files, chance, kind=kind, older=older.files)
        with replays() as noticed:
            ends = await self._go_on(after, history, chance, older)
            self._compare(f"{done.kind} {done.file}", after, history, log)
        await after.stop(clean=False)
        return done, Noticed(len(noticed), ends)

    async def _go_on(self, worker: Worker, history: History, chance: random.Random, older: Worker) -> int:
        """Count to the end; return how often the worker had to be started again for it."""
        ends, is_running = 0, chance.random() < RUNNING
        while True:
            try:
                await worker.start()
                if is_running and not ends:
                    kind = chance.choice(("flip", "zero", "truncate", "delete"))
                    self.report.damages["while it runs"] += 1
                    damage(worker.files, chance, kind=kind, older=older.files)
                await worker.count(history.records, RECORDS)
                assert worker.task is not None
                await worker.task.flush(checkpoint=True)
                worker.cells()
                worker.pages()  # all of them, as the next start reads them: what nobody has read yet is noticed then
            except RtexpError as exc:
                ends += 1
                if ends > 1:
                    raise AssertionError("it ends again and again") from exc
                await worker.stop(clean=False)
            else:
                return ends

    def _compare(self, what: str, worker: Worker, history: History, log: FakeLog) -> None:
        found = worker.cells()
        differing = [
            key for key in found.keys() | history.cells.keys() if found.get(key) != history.cells.get(key)
        ]
        if differing:
            self.report.differing.append(f"{what}: {len(differing)} of {len(history.cells)} cells")
        kept = {entry.key: entry.value for entry in log.entries if entry.key.startswith(b"page:")}
        if worker.pages() != {key: value for key, value in kept.items() if value is not None}:
            self.report.differing.append(f"{what}: pages aren't those of the changelog")


@contextmanager
def replays() -> Iterator[list[str]]:
    """Collect the lines that say that a store is wiped and read again."""
    said: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "replaying" in (line := record.getMessage()):
                said.append(line)

    handler, logger = Collect(logging.WARNING), logging.getLogger("rtexp.engine")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
