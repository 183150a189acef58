"""What all workers said last, as rows for an operator: their positions, their processes, how fresh SQL is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.agents.freshness import delays_of
from rtexp.core.delays import Delays
from rtexp.store.operations import KEPT_MS, FreshnessRow, PipelineRow, WorkerRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.records.status import Status

OWNED_MS = 15_000
"""Who owns a partition says so every 5 s; so a worker that speaks, but not of a partition, has it no more."""
MINUTES = 60
"""How many minutes of freshness wait for SQL; while that is away nothing is published that could be fresh."""

_Speaker = tuple[str, int, int]
"""(worker, partition, start of the process): each counts its minutes by itself."""


class OperationsRows(NamedTuple):
    """What SQL lacks."""

    pipeline: Sequence[PipelineRow]
    workers: Sequence[WorkerRow]
    freshness: Sequence[FreshnessRow]


class OperationsView:
    """Takes statuses in any order: the newest word on each thing stands."""

    def __init__(self, *, fresh_from_ms: int = 0) -> None:
        """``fresh_from_ms`` is the newest minute of freshness that SQL has: those before it are complete."""
        self._pipeline: dict[tuple[str, str, int], PipelineRow] = {}
        self._newest: dict[str, Status] = {}
        self._owned: dict[str, dict[int, tuple[int, int]]] = {}
        """By worker and partition, when it last spoke of it, and of how many inputs."""
        self._delays: dict[int, dict[_Speaker, Delays]] = {}
        self._fresh_from_ms = fresh_from_ms
        self._written: dict[object, PipelineRow | WorkerRow | FreshnessRow] = {}

    def take(self, status: Status) -> None:
        """Put up one status."""
        for name, source in status.inputs.items():
            topic, _, partition = name.rpartition("/")
            key = (status.job, topic, int(partition))
            before = self._pipeline.get(key)
            # Not the furthest position: who has just lost a partition may have read beyond what the next one has.
            if before is None or before.updated_ms <= status.at_ms:
                lag = None if source.end < 0 else max(source.end - source.position, 0)
                self._pipeline[key] = PipelineRow(
                    *key, status.worker, source.position, lag, source.watermark_ms, source.held_rows,
                    source.rewind_done, source.rewind_total, status.at_ms,
                )  # fmt: skip
        newest = self._newest.get(status.worker)
        if newest is None or newest.at_ms <= status.at_ms:
            self._newest[status.worker] = status
        owned = self._owned.setdefault(status.worker, {})
        owned[status.partition] = (status.at_ms, len(status.inputs) if status.partition < 0 else 1)
        self._take_delays(status)

    def _take_delays(self, status: Status) -> None:
        started_ms = status.process.started_ms if status.process else 0
        for minute_ms, delays in delays_of(status.details.get("delays")).items():
            if minute_ms >= self._fresh_from_ms:
                speakers = self._delays.setdefault(minute_ms, {})
                speakers[status.worker, status.partition, started_ms] = delays
        for old_ms in sorted(self._delays)[:-MINUTES]:
            del self._delays[old_ms]
            self._written.pop(old_ms, None)

    def rows(self, now_ms: int) -> OperationsRows:
        """Return what has changed since it was written, and isn't so old that it would be removed."""
        workers = [self._worker(status) for status in self._newest.values() if status.process]
        minutes = [self._minute(minute_ms) for minute_ms in self._delays]
        after_ms = now_ms - KEPT_MS
        return OperationsRows(
            [row for row in self._pipeline.values() if row.updated_ms > after_ms and self._is_new(row)],
            [row for row in workers if row.updated_ms > after_ms and self._is_new(row)],
            [row for row in minutes if row is not None and self._is_new(row)],
        )

    def _is_new(self, row: PipelineRow | WorkerRow | FreshnessRow) -> bool:
        return self._written.get(_key_of(row)) != row

    def _worker(self, status: Status) -> WorkerRow:
        process = status.process
        assert process is not None
        partitions = sum(
            count
            for at_ms, count in self._owned[status.worker].values()
            if at_ms > status.at_ms - OWNED_MS and at_ms >= process.started_ms
        )
        return WorkerRow(
            status.worker, status.job, process.url, partitions, process.started_ms, process.restarts,
            process.rss_bytes, process.cpu_seconds, status.at_ms,
        )  # fmt: skip

    def _minute(self, minute_ms: int) -> FreshnessRow | None:
        all_of_it = Delays()
        for delays in self._delays[minute_ms].values():
            all_of_it.merge(delays)
        p50_ms, p99_ms = all_of_it.percentile_ms(0.5), all_of_it.percentile_ms(0.99)
        return None if p50_ms is None or p99_ms is None else FreshnessRow(minute_ms, p50_ms, p99_ms)

    def written(self, rows: OperationsRows) -> None:
        """Note that SQL has ``rows``, which `rows` returned last."""
        for kind in rows:
            self._written.update({_key_of(row): row for row in kind})


def _key_of(row: PipelineRow | WorkerRow | FreshnessRow) -> object:
    return row[:3] if isinstance(row, PipelineRow) else row[0]
