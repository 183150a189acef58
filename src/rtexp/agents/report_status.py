"""`status`: every worker says, in a compacted topic, how far each of its partitions is.

Positions are those of committed work, so whoever reads them (`rtexp wait`, and later the pages) may rely on
them, however old they are.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog

from rtexp.engine.api import Output
from rtexp.errors import FatalError
from rtexp.records import status as records

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from rtexp.engine.sensors import TaskStatus

REPEAT_SECONDS = 5.0
"""Whoever has nothing new to say repeats itself this often, so that others know that it lives."""


class StatusReporter:
    """Sends what has changed at each call, and everything every few seconds."""

    def __init__(
        self,
        *,
        job: str,
        worker: str,
        topic: str,
        tasks: Callable[[], Iterable[TaskStatus]],
        details: Callable[[TaskStatus], Mapping[str, Any]],
        send: Callable[[Output], Awaitable[None]],
        process: Callable[[], records.Process | None] = lambda: None,
    ) -> None:
        """Report of ``tasks``, as they are at each call.

        ``details`` adds what the engine doesn't know of a task, ``process`` what the system says of this process;
        ``send`` returns once delivered.
        """
        self._job = job
        self._worker = worker
        self._topic = topic
        self._tasks = tasks
        self._details = details
        self._send = send
        self._process = process
        self._sent: dict[bytes, tuple[object, float]] = {}
        self._log = structlog.get_logger(__name__)

    async def run_once(self) -> None:
        """Report; what can't be sent is said again at the next call."""
        try:
            process = self._process()
            by_partition: dict[int, list[TaskStatus]] = {}
            for task in self._tasks():
                by_partition.setdefault(task.partition, []).append(task)
            for tasks in by_partition.values():
                await self._report(tasks, process)
        except FatalError as exc:
            self._log.warning("status_not_sent", error=str(exc))

    async def _report(self, tasks: Sequence[TaskStatus], process: records.Process | None) -> None:
        """Report of one partition, or of all agents that serve all partitions at once (-1)."""
        own_details = {name: value for task in tasks for name, value in self._details(task).items()}
        status = self._status(tasks, own_details, process)
        key, now = records.key_of(status), time.monotonic()
        said = (status.ready, status.inputs, status.counters, own_details)
        before, at = self._sent.get(key, (None, 0.0))
        if said != before or now - at >= REPEAT_SECONDS:
            await self._send(Output(self._topic, 0, records.encode(status), key=key))
            self._sent[key] = said, now

    def _status(
        self, tasks: Sequence[TaskStatus], own_details: Mapping[str, Any], process: records.Process | None
    ) -> records.Status:
        return records.Status(
            version=records.VERSION,
            job=self._job,
            worker=self._worker,
            partition=tasks[0].partition,
            at_ms=int(time.time() * 1000),
            ready=all(task.ready for task in tasks),
            inputs={
                name: records.Input(
                    source.position,
                    source.end,
                    source.held_rows,
                    source.watermark_ms,
                    source.rewind_done,
                    source.rewind_total,
                )
                for task in tasks
                for name, source in task.inputs.items()
            },
            counters={name: count for task in tasks for name, count in task.counters.items()},
            details={
                **{task.agent: {"phase": task.phase, **task.details} for task in tasks},
                **own_details,
            },
            process=process,
        )
