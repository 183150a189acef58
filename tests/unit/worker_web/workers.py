"""Workers with real state behind their web server, without a broker."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests import filtered_records
from tests.filtered_records import Row, segment
from tests.plain_partials import to_record
from tests.unit.worker_web.servers import make_server

from rtexp.agents.aggregate import aggregate_state
from rtexp.agents.merge import merge_state
from rtexp.core.cells import Cell, CellCounts, CellKey
from rtexp.local.raw_records import partition_of
from rtexp.records import partials
from rtexp.records.filtered import Kind
from rtexp.records.status import Process, Status
from rtexp.settings import Settings
from rtexp.worker_web import entries
from rtexp.worker_web.owners import Owners
from rtexp.worker_web.tables import tables_of, what_is_here

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from rtexp.worker_web.server import WorkerServer

HOUR = 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
SETTINGS = Settings()
TABLES = tables_of(SETTINGS)
USER, STRANGER = "u-4711", "nobody"
PARTITION = partition_of(USER.encode(), SETTINGS.kafka.partitions)
KIND = Kind("exp", "control", START, START + 72 * HOUR, START)


def users() -> Any:
    state = aggregate_state(SETTINGS, PARTITION)
    watermark_ms = START + HOUR // 2
    triggered = segment([Row(0, USER, 0, START, START + 5)], first=0, following=1, watermark_ms=watermark_ms)
    given = filtered_records.activations(triggered, kinds=[KIND])
    state.apply("rtexp.filtered-activations", [state.decode("rtexp.filtered-activations", given)])
    rows = [Row(n, USER, 0, START + n, START + n) for n in range(3)]
    acted = filtered_records.actions(segment(rows, first=0, following=3, watermark_ms=START + 10))
    state.apply("rtexp.filtered-actions", [state.decode("rtexp.filtered-actions", acted)])
    return state


def buckets() -> Any:
    state = merge_state(SETTINGS, TABLES["buckets"].partition("exp"))
    cell = Cell(CellCounts(2, 1, 4, 0, 0), {5: 3})
    record = to_record(lg_k=12, cells={CellKey("exp", START, "control", "search", START): cell})
    state.apply("rtexp.partials", [state.decode("rtexp.partials", partials.encode(record))])
    return state


class Task:
    """A partition with a state that is live, as the engine would hand it out."""

    def __init__(self, table: str, partition: int, state: Any, *, paused: bool = False) -> None:
        self.agent = SimpleNamespace(name=table)
        self.partition = partition
        self.paused = paused
        self.live_state = state

    @asynccontextmanager
    async def between_flushes(self) -> AsyncIterator[Any]:
        yield None if self.live_state is None else (self.live_state, {"rtexp.filtered-actions": 3})

    def status(self) -> Any:
        source = SimpleNamespace(
            position=3, end=-1, held_rows=0, watermark_ms=9, rewind_done=40, rewind_total=100
        )
        inputs = {f"rtexp.filtered-actions/{self.partition}": source}
        return SimpleNamespace(phase="live", details={"state_bytes": 4096}, inputs=inputs)


def said(worker: str, partition: int, *, url: str = "http://there:6066") -> Status:
    process = Process(started_ms=0, restarts=0, rss_bytes=0, cpu_seconds=0, url=url)
    return Status(
        1,
        "aggregate",
        worker,
        partition,
        at_ms=1,
        ready=True,
        inputs={},
        counters={},
        details={},
        process=process,
    )


def worker(
    *tasks: Task, statuses: Iterable[Status] = (), allowed: bool = True, token: str = ""
) -> WorkerServer:
    server = make_server(token=token)

    async def read() -> Iterable[Status]:
        return statuses

    owners = Owners(read)

    def all_tasks() -> Any:
        return list(tasks)

    def here() -> entries.Here:
        return entries.Here("here-1", server.url, all_tasks)

    server.add("/state/owner", entries.owner_of(TABLES, here, owners))
    server.add("/state/users", entries.entry_of(TABLES["users"], here, owners, entries.user, allowed=allowed))
    server.add(
        "/state/buckets",
        entries.entry_of(TABLES["buckets"], here, owners, entries.cells, parameters=entries.CELL_PARAMETERS),
    )
    server.add(
        "/state/tables",
        what_is_here(
            lambda: "here-1", "aggregate", all_tasks, dict, lambda state: {"entries": len(state.users.names)}
        ),
    )
    return server
