"""The state tables as the workers have them now, and one entry of them: the only things that SQL doesn't know."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from zlib import crc32

import msgspec

from rtexp.records import partials
from rtexp.web.problems import Problem
from rtexp.web.worker_client import WorkerClient, WorkerFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rtexp.settings import Settings
    from rtexp.web.standing import Standing, Worker

TABLES = {"users": ("aggregate", "user"), "buckets": ("results", "experiment")}
"""By name of a table, the job that keeps it and what its keys are."""
KEPT_SECONDS = 5.0
"""For so long one answer serves all who look."""
MOST_WORKERS = 32
_AT_ONCE = 8


_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Partition(msgspec.Struct):
    """What is read of a partition in a worker's answer; at its address something else may answer by now."""

    table: str
    entries: _Count | None = None
    """None where it isn't live."""
    disk_bytes: _Count | None = None
    memory_bytes: _Count | None = None


class _Here(msgspec.Struct):
    partitions: list[_Partition]


class TableSize(NamedTuple):
    """One table over all workers that answered."""

    name: str
    job: str
    key: str
    entries: int
    disk_bytes: int
    memory_bytes: int
    live: int
    """How many of the partitions are among the numbers."""
    partitions: int


class Sizes(NamedTuple):
    """The tables, and which workers didn't answer."""

    tables: Sequence[TableSize]
    missing: Sequence[str]


class StateTables:
    """Asks the workers, for all requests of the web process. May block for as long as the client does."""

    def __init__(
        self, settings: Settings, client: WorkerClient, *, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        """``client`` waits for a second or so: a page is waiting for it."""
        self._settings = settings
        self._client = client
        self._seconds = seconds
        self._lock = threading.Lock()
        self._kept: tuple[float, Sizes] | None = None

    @property
    def may_look_up_users(self) -> bool:
        """Whether single users are shown."""
        return self._settings.web.user_lookup

    def sizes(self, workers: Sequence[Worker]) -> Sizes:
        """Return the sizes of all tables, at most `KEPT_SECONDS` old, or a little older while they are asked for."""
        kept = self._kept
        if kept is not None and self._seconds() - kept[0] < KEPT_SECONDS:
            return kept[1]
        # Whoever comes while workers are asked, which may not answer, needn't wait for them as well.
        if not self._lock.acquire(blocking=kept is None) and kept is not None:
            return kept[1]
        try:
            if self._kept is None or self._kept is kept:
                self._kept = (self._seconds(), self._ask(workers))
            return self._kept[1]
        finally:
            self._lock.release()

    def _ask(self, workers: Sequence[Worker]) -> Sizes:
        jobs = {job for job, _ in TABLES.values()}
        asked = [each.row for each in workers if each.state != "silent" and each.row.job in jobs][
            :MOST_WORKERS
        ]
        found: list[_Partition] = []
        missing = []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for row, future in [(row, pool.submit(self._client.tables, row.url)) for row in asked]:
                try:
                    found += msgspec.convert(future.result(), _Here).partitions
                except (WorkerFault, msgspec.ValidationError):
                    missing.append(row.worker)
        return Sizes([size for name in TABLES if (size := self._size(name, found))], missing)

    def _size(self, name: str, found: Sequence[_Partition]) -> TableSize | None:
        live = [each for each in found if each.table == name and each.entries is not None]
        if not live:
            return None
        job, key = TABLES[name]
        entries, disk, memory = (
            sum(getattr(each, what) or 0 for each in live)
            for what in ("entries", "disk_bytes", "memory_bytes")
        )
        return TableSize(name, job, key, entries, disk, memory, len(live), self._partitions(name))

    def _partitions(self, table: str) -> int:
        return self._settings.kafka.partitions if table == "users" else partials.PARTITIONS

    def entry(self, table: str, query: Mapping[str, str], standing: Standing) -> Mapping[str, Any]:
        """Return one entry, decoded, from the worker that has it; Problem if it can't be had, saying why."""
        if table not in TABLES:
            raise Problem(422, "bad-parameter", f"table: expected one of {', '.join(TABLES)}")
        if table == "users" and not self.may_look_up_users:
            raise Problem(
                403,
                "user-lookup-off",
                "looking up single users is off: whoever may read what they did sets [web] user_lookup = true, and "
                "starts workers and pages again",
            )
        try:
            return self._client.entry(self._url(table, query["key"], standing), table, query)
        except WorkerFault as fault:
            status = {"no-entry": 404, "bad-parameter": 422, "user-lookup-off": 403}.get(fault.code, 503)
            raise Problem(status, fault.code, str(fault)) from fault

    def _url(self, table: str, key: str, standing: Standing) -> str:
        """Return the address of the worker that last said it has the key; of another if none did."""
        job, _ = TABLES[table]
        partition = crc32(key.encode("utf-8", "replace")) % self._partitions(table)
        owners = {
            each.row.worker
            for said in standing.jobs
            if said.name == job
            for each in said.partitions
            if each.row.partition == partition
        }
        speaking = [each.row for each in standing.workers if each.state != "silent" and each.row.url]
        speaking.sort(key=lambda row: (row.worker not in owners, row.job != job))
        if not speaking:
            raise Problem(
                503, "no-worker", "no worker that serves state has spoken lately: see whether one runs"
            )
        return speaking[0].url
