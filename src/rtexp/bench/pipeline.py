"""A whole pipeline for measuring: broker, topics, tables and workers of its own, in a directory of its own."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rtexp.bench.accounting import Usage, machine_cpu_seconds, usage
from rtexp.bench.workload import EVENTS, START_MS, CellCounts, CellKey
from rtexp.errors import FatalError
from rtexp.local.broker_files import free_port
from rtexp.local.merged_log import childs_form
from rtexp.local.positions import kafka_observer
from rtexp.local.readiness import wait_for_snapshot
from rtexp.local.status_board import StatusFollower
from rtexp.local.system import BROKER, local_system
from rtexp.local.waiting import wait_until_counted
from rtexp.records.snapshot import Allocation
from rtexp.settings import (
    ActionSettings,
    DataSettings,
    KafkaSettings,
    MetadataSettings,
    PipelineSettings,
    Settings,
    StoreSettings,
    as_toml,
)
from rtexp.store.cells import read_cells
from rtexp.store.definitions import Experiment
from rtexp.store.engine import opened, reading, writing_alone
from rtexp.store.metadata import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from rtexp.bench.standing_broker import StandingBroker
    from rtexp.local.status_board import StatusBoard
    from rtexp.local.supervisor import Supervisor

JOBS = ("ingest", "aggregate", "results")
PREFIX = "bench"
WAIT_SECONDS = 900.0
REPORT_SECONDS = 60.0
LOG_NAME = "bench.log"
CONFIG_NAME = "rtexp.toml"


def bench_settings(
    directory: Path, broker: str | None = None, actions: ActionSettings | None = None, /, **pipeline: object
) -> Settings:
    """Return settings of a pipeline in ``directory``; ``pipeline`` are some of its section's.

    ``broker`` is the address of one that runs; otherwise the pipeline starts its own. ``actions``: the even case's.
    """
    return Settings(
        kafka=KafkaSettings(brokers=(broker or f"127.0.0.1:{free_port()}",), prefix=PREFIX),
        store=StoreSettings(url=f"sqlite:///{(directory / 'rtexp.db').resolve()}"),
        actions=actions or ActionSettings(tracked=EVENTS),
        pipeline=PipelineSettings.model_validate({"clock": "records", **pipeline}),
        metadata=MetadataSettings(poll_seconds=1.0),
        data=DataSettings(directory=directory.resolve()),
    )


@dataclass(frozen=True, slots=True)
class Stage:
    """What a measurement needs to know of its surroundings."""

    directory: Path
    """Its own, for everything that it writes."""
    environ: Mapping[str, str]
    say: Callable[[str], None]
    """For progress."""
    broker: StandingBroker | None = None
    """One that runs already, and goes on when the measurement is over, with all topics; its data in ``directory``."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A pipeline that runs; made by `running`."""

    settings: Settings
    supervisor: Supervisor
    broker: StandingBroker | None = None

    def usage(self) -> dict[str, Usage]:
        """Return what each process has used since it started."""
        pids = self.supervisor.pids
        if self.broker is not None:
            pids |= {BROKER: self.broker.pid}
        return {name: usage(pid) for name, pid in pids.items()}

    def require_undisturbed(self) -> None:
        """Raise FatalError, with its last words, if any process has ended: the figures would be of its successor."""
        for end in self.supervisor.exits:
            words = "\n".join(self.supervisor.tail(end.name))
            raise FatalError(f"{end.name} ended ({end}) while it was measured; it said:\n{words}")

    async def load(self, experiments: Mapping[str, Sequence[str]], *, start_ms: int = START_MS) -> None:
        """Make experiments of these groups whose periods begin at ``start_ms``; return when ingest knows them."""
        made = [
            Experiment(
                name,
                groups[0],
                tuple(groups),
                tuple(Allocation(group, 100.0 / len(groups), start_ms) for group in groups),
            )
            for name, groups in experiments.items()
        ]

        def insert() -> None:
            with opened(self.settings.store) as engine, writing_alone(engine) as connection:
                load(connection, made, pipeline=self.settings.pipeline, now_ms=_now_ms())

        await asyncio.to_thread(insert)
        await wait_for_snapshot(self.settings.kafka, _now_ms())

    async def counted(self) -> None:
        """Return when all that stands in the raw topics is in SQL."""
        async with kafka_observer(self.settings) as observer:
            await wait_until_counted(observer, None, timeout_seconds=WAIT_SECONDS)

    async def board(self) -> StatusBoard:
        """Return what all workers said last."""
        async with StatusFollower(self.settings.kafka) as follower:
            await follower.read()
            return await follower.read()

    async def fresh_board(self) -> StatusBoard:
        """Return what all workers say of each partition from now on; they repeat themselves every few seconds."""
        asked_ms = _now_ms()
        until = time.monotonic() + REPORT_SECONDS
        async with StatusFollower(self.settings.kafka) as follower:
            while time.monotonic() < until:
                board = await follower.read()
                spoken = {job: board.live_partitions(job, _now_ms()) for job in JOBS}
                if all(spoken.values()) and all(s.at_ms > asked_ms for said in spoken.values() for s in said):
                    return board
        raise FatalError(f"not all workers have reported for {REPORT_SECONDS:g} s: see {self.log_path}")

    @property
    def log_path(self) -> Path:
        """Where the output of all processes goes."""
        return self.settings.data.directory / LOG_NAME

    def stored_bytes(self, topic: str) -> int:
        """Return what the broker stores of topics with this in their name, their indexes left out."""
        log = self.settings.data.directory / "kafka" / "log"
        return sum(path.stat().st_size for path in log.glob(f"*{topic}*/*.log"))

    def differing(self, wanted: Mapping[CellKey, CellCounts]) -> int:
        """Count the cells in SQL that differ from what they must be, missing and strange ones included."""
        with opened(self.settings.store) as engine, reading(engine) as connection:
            found = {
                CellKey(row.experiment, row.group_name, row.event, row.bucket_start_ms): CellCounts(
                    row.volume, row.actors, row.sum_squares, row.exposures
                )
                for row in read_cells(connection)
            }
        return sum(found.get(key) != wanted.get(key) for key in found.keys() | wanted.keys())


class Spent(NamedTuple):
    """CPU seconds of an interval, by process; and what it took by the clock on the wall."""

    cpu_seconds: Mapping[str, float]
    wall_seconds: float
    others_cores: float
    """How many processors all other processes kept busy meanwhile, the one that measures among them."""


class Meter:
    """Measures from its making on."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._began = time.monotonic()
        self._machine_before = machine_cpu_seconds()
        self._before = bench.usage()

    def spent(self) -> Spent:
        """Return what has been used since; FatalError if a process isn't the one that it was."""
        self._bench.require_undisturbed()
        after = self._bench.usage()
        used = {name: after[name].cpu_seconds - before.cpu_seconds for name, before in self._before.items()}
        wall_seconds = time.monotonic() - self._began
        others = machine_cpu_seconds() - self._machine_before - sum(used.values())
        return Spent(used, wall_seconds, max(0.0, others / wall_seconds))


@asynccontextmanager
async def running(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    workers: Mapping[str, int] | None = None,
    broker: StandingBroker | None = None,
    on_line: Callable[[str, str], None] = lambda _name, _line: None,
) -> AsyncIterator[Bench]:
    """Run broker and workers; all of it has stopped when the block has ended, but a ``broker`` that is given.

    That one must be the one of ``settings``. ``on_line(name, line)`` gets what the others write, as it comes, and
    must not raise.
    """
    directory = settings.data.directory
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / CONFIG_NAME
    config.write_text(as_toml(settings), "utf-8")
    environ = {name: value for name, value in environ.items() if not name.startswith("RTEXP_")}
    environ |= childs_form(as_json=False)
    with (directory / LOG_NAME).open("a", encoding="utf-8") as log:

        def note(name: str, line: str) -> None:
            print(f"{name} | {line}", file=log, flush=True)
            on_line(name, line)

        async with local_system(
            settings,
            config,
            workers=workers or dict.fromkeys(JOBS, 1),
            on_line=note,
            environ=environ,
            pages=False,
        ) as supervisor:
            yield Bench(settings, supervisor, broker)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
