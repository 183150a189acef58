"""What a worker's tasks say of themselves, as samples; nothing is measured here, so it costs no record anything."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from rtexp import __version__
from rtexp.metrics.exposition import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rtexp.engine.sensors import InputStatus, TaskStatus

_SENSORS = {
    "rows": "rtexp_task_rows_total",
    "slowest_flush_seconds": "rtexp_flush_slowest_seconds",
    "pages": "rtexp_checkpoint_pages_total",
    "changelog_left": "rtexp_changelog_left_records",
    "changelog_records": "rtexp_changelog_read_records_total",
    "changelog_bytes": "rtexp_changelog_read_bytes_total",
    "recovery_seconds": "rtexp_recovery_seconds",
    "state_bytes": "rtexp_state_bytes",
}
"""By name of a sensor."""
_SUMMARIES = {
    "rtexp_flush_seconds": ("flushes", "flush_seconds"),
    "rtexp_checkpoint_seconds": ("checkpoints", "checkpoint_seconds"),
}
"""The sensors that count, and add up seconds."""


def build_info(job: str, worker: str) -> Sample:
    """Return what kind of process this is."""
    return Sample("rtexp_build_info", (job, worker, __version__, platform.python_version()), 1)


class TaskSamples:
    """Samples of all tasks that a worker has at the call."""

    def __init__(self, tasks: Callable[[], Iterable[TaskStatus]]) -> None:
        self._tasks = tasks

    def __call__(self) -> Iterator[Sample]:
        """Yield them; a status that carries less than others do (an older one, another kind of task) yields less."""
        for task in self._tasks():
            labels = (task.agent, str(task.partition))
            yield Sample("rtexp_task_ready", labels, task.ready)
            yield from _of_details(labels, task.details)
            yield from _of_agent(task.agent, labels[1], task.details)
            for name, source in task.inputs.items():
                topic, _, partition = name.rpartition("/")
                yield from _of_input((task.agent, topic, partition), source)
            for name, count in task.counters.items():
                kind, _, reason = name.partition("/")
                yield Sample("rtexp_counted_total", (*labels, kind, reason), count)


def _of_details(labels: tuple[str, ...], details: Mapping[str, Any]) -> Iterator[Sample]:
    for sensor, name in _SENSORS.items():
        if sensor in details:
            yield Sample(name, labels, details[sensor])
    for name, (count, seconds) in _SUMMARIES.items():
        if count in details:
            yield Sample(name, labels, details[seconds], observed=details[count])
    if (oldest_ms := details.get("oldest_held_ms")) is not None:
        yield Sample("rtexp_oldest_held_timestamp_seconds", labels, oldest_ms / 1000)


def _of_agent(agent: str, partition: str, details: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield what only some agents say."""
    if details.get("snapshot_as_of_ms"):
        yield Sample("rtexp_snapshot_timestamp_seconds", (agent,), details["snapshot_as_of_ms"] / 1000)
    if "cells" in details:
        yield Sample("rtexp_cells", (partition, "all"), details["cells"])
        yield Sample("rtexp_cells", (partition, "memory"), details["cells_in_memory"])
        yield Sample("rtexp_unpublished_rows", (partition, "cells"), details["unpublished_cells"])
        yield Sample("rtexp_unpublished_rows", (partition, "looks"), details["unpublished_looks"])


def _of_input(labels: tuple[str, ...], source: InputStatus) -> Iterator[Sample]:
    yield Sample("rtexp_input_position", labels, source.position)
    if source.end >= 0:
        yield Sample("rtexp_input_lag_offsets", labels, max(source.end - source.position, 0))
    if source.watermark_ms > 0:
        yield Sample("rtexp_input_watermark_timestamp_seconds", labels, source.watermark_ms / 1000)
    yield Sample("rtexp_input_held_rows", labels, source.held_rows)
    yield Sample("rtexp_input_rewind_left_offsets", labels, source.rewind_total - source.rewind_done)
