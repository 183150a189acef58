"""The state tables of all jobs, and what this worker has of them: entries, bytes, positions, watermarks."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtexp.records import partials
from rtexp.worker_web.answers import Problem, answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from aiohttp import web

    from rtexp.engine.sensors import InputStatus
    from rtexp.engine.task import PartitionTask
    from rtexp.settings import Settings

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
    Measure = Callable[[Any], Mapping[str, int]]

_MOST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Table:
    """A table: who keeps it, and how its keys are shared out among partitions."""

    name: str
    job: str
    key_is: str
    most_key_bytes: int
    partitions: int

    def partition(self, key: str) -> int:
        """Return the partition that has a key; Problem if nothing can have this one."""
        try:
            raw = key.encode()
        except UnicodeEncodeError:
            raw = b""
        if not 0 < len(raw) <= self.most_key_bytes:
            shown = key if len(key) <= _MOST_SHOWN else f"{len(key)} characters"
            raise Problem(
                422,
                "bad-parameter",
                f"key: expected {self.key_is}, 1 to {self.most_key_bytes} bytes of UTF-8, found {shown!r}",
            )
        return zlib.crc32(raw) % self.partitions


def tables_of(settings: Settings) -> Mapping[str, Table]:
    """Return the tables by name."""
    tables = (
        Table("users", "aggregate", "a user", 256, settings.kafka.partitions),
        Table("buckets", "results", "an experiment", 128, partials.PARTITIONS),
    )
    return {table.name: table for table in tables}


def what_is_here(
    worker: Callable[[], str],
    job: str,
    tasks: Callable[[], Iterable[PartitionTask]],
    forwarded: Callable[[], Mapping[str, InputStatus]],
    measure: Measure,
) -> Handler:
    """Return what lists this worker's partitions of its table, whatever phase they are in.

    ``measure`` counts what a live state has, at least its ``entries``; ``forwarded`` are the inputs of a job that keeps
    no table.
    """

    async def handler(request: web.Request) -> web.StreamResponse:
        found = {
            "worker": worker(),
            "job": job,
            "partitions": [_partition(task, measure) for task in tasks()],
            "inputs": [_input(name, source) for name, source in sorted(forwarded().items())],
        }
        return answer(request, f"State of {found['worker']}", found)

    return handler


def _partition(task: PartitionTask, measure: Measure) -> dict[str, Any]:
    status = task.status()
    state = task.live_state  # looked at here and now, without an await: no flush can come between
    return {
        "table": task.agent.name,
        "partition": task.partition,
        "phase": status.phase,
        "disk_bytes": status.details.get("state_bytes"),
        **({} if state is None else measure(state)),
        "watermark_ms": min((source.watermark_ms for source in status.inputs.values()), default=None),
        "inputs": [_input(name, source) for name, source in sorted(status.inputs.items())],
    }


def _input(name: str, source: InputStatus) -> dict[str, Any]:
    topic, _, partition = name.rpartition("/")
    return {
        "topic": topic,
        "partition": int(partition),
        "position": source.position,
        "end": None if source.end < 0 else source.end,
        "held": source.held_rows,
        "watermark_ms": source.watermark_ms,
        "rewind_done": source.rewind_done,
        "rewind_total": source.rewind_total,
    }
