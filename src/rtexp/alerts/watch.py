"""Whether the pipeline itself is well: what begins and what is over, each once. Decisions only, time is told.

::

    reports  x x x x . . . . . . . . x x x x x x
    stopped            |--limit--| ^begins   ^over, once it has been well for a while
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rtexp.records.conditions import Condition, condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rtexp.records.conditions import ConditionKind
    from rtexp.settings import Settings
    from rtexp.store.operations import PipelineRow, WorkerRow

JOBS = ("ingest", "aggregate", "results")
WRITER = "results"
"""The job whose leader writes what all workers report: without it nothing is known of the others."""
WELL_MS = 60_000
"""What was wrong is over when it has been well for so long; so a worker that dies again and again is told of once."""
SILENT_MS = 30_000
"""A job is well while it was heard of within this: its reports come to SQL every five seconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long something may be wrong before people are told; 0: for ever."""

    stale_ms: float
    """Of the time that counts are complete to, behind the clock."""
    stopped_ms: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return those of the settings. With the clock of records nothing says how far counts should be."""
        alerts, pipeline = settings.alerts, settings.pipeline
        is_live = pipeline.clock == "live"
        # What is waited for by design comes on top.
        by_design_ms = 1000 * (pipeline.join_delay_seconds + pipeline.out_of_order_seconds)
        stale_ms = alerts.stale_minutes * 60_000 + by_design_ms if alerts.stale_minutes and is_live else 0
        return cls(stale_ms, alerts.stopped_minutes * 60_000)


class Reports(NamedTuple):
    """What stood in SQL."""

    pipeline: Sequence[PipelineRow]
    workers: Sequence[WorkerRow]


_Key = tuple[str, str]


class _Fault(NamedTuple):
    kind: ConditionKind
    job: str
    since_ms: int
    input: str = ""

    @property
    def key(self) -> _Key:
        # Which job is furthest behind may change; it is one fault all the same.
        return self.kind, self.job if self.kind == "stopped" else ""


class _Seen(NamedTuple):
    """What one look at SQL says."""

    faults: list[_Fault]
    """What people should know of."""
    unwell: set[_Key]
    """What isn't over, should they know of it already."""
    is_blind: bool = False
    """Nobody can say that anything is well but results workers and SQL."""

    def is_well(self, key: _Key) -> bool:
        sees = not self.is_blind or key in {("stopped", WRITER), ("store", "")}
        return sees and key not in self.unwell


class Watch:
    """Remembers what people have been told. Tell it what is seen, and tell people what it returns."""

    def __init__(self, limits: Limits, *, told: Iterable[Condition], now_ms: int) -> None:
        """``told`` is all that people have been told so far, oldest first."""
        self._limits = limits
        self._began_ms = self._answered_ms = now_ms
        self._open: dict[_Key, Condition] = {}
        self._wrong_ms: dict[_Key, int] = {}
        """When it was last seen to be wrong."""
        for one in told:
            key = _Fault(one.kind, one.job, 0).key
            if one.is_over:
                self._open.pop(key, None)
            else:
                self._open[key] = one

    def known(self) -> list[ConditionKind]:
        """Return the kinds of what people have been told and that isn't over, one each."""
        return [condition.kind for condition in self._open.values()]

    def observe(self, reports: Reports | None, now_ms: int) -> list[Condition]:
        """Return what has begun, and what is over; ``reports`` is None where SQL couldn't be read."""
        if reports is not None:
            self._answered_ms = now_ms
        seen = self._seen(reports, now_ms)
        changes = []
        for fault in seen.faults:
            if fault.key not in self._open:
                began = condition(
                    fault.kind, fault.job, fault.since_ms, now_ms, is_over=False, input_=fault.input
                )
                self._open[fault.key] = began
                changes.append(began)
        for key, began in list(self._open.items()):
            if seen.is_well(key):
                well_ms = now_ms - self._wrong_ms.setdefault(key, now_ms)
            else:
                self._wrong_ms[key], well_ms = now_ms, 0
            if well_ms >= WELL_MS:
                del self._open[key]
                changes.append(condition(began.kind, began.job, began.since_ms, now_ms, is_over=True))
        return changes

    def _seen(self, reports: Reports | None, now_ms: int) -> _Seen:
        limit_ms = self._limits.stopped_ms
        if reports is None:
            is_fault = bool(limit_ms) and now_ms - self._answered_ms >= limit_ms
            faults = [_Fault("store", "", self._answered_ms)] if is_fault else []
            return _Seen(faults, unwell={("store", ""), ("stopped", WRITER)}, is_blind=True)
        stopped = self._stopped(reports.workers, now_ms)
        if any(fault.job == WRITER for fault in stopped.faults):
            writer = [fault for fault in stopped.faults if fault.job == WRITER]
            return _Seen(writer, stopped.unwell, is_blind=True)
        stale = self._stale(reports.pipeline, now_ms)
        return _Seen(stopped.faults + stale.faults, stopped.unwell | stale.unwell)

    def _stopped(self, workers: Iterable[WorkerRow], now_ms: int) -> _Seen:
        reported: Mapping[str, int] = dict(
            sorted((row.job, row.updated_ms) for row in workers)  # the newest of a job comes last
        )
        faults, unwell = [], set[_Key]()
        for job in JOBS:
            last_ms = reported.get(job, 0)
            if now_ms - last_ms >= SILENT_MS:
                unwell.add(("stopped", job))
            # Who starts everything at once hears of no outage that was before.
            if self._limits.stopped_ms and now_ms - max(last_ms, self._began_ms) >= self._limits.stopped_ms:
                faults.append(_Fault("stopped", job, last_ms or self._began_ms))
        return _Seen(faults, unwell)

    def _stale(self, pipeline: Iterable[PipelineRow], now_ms: int) -> _Seen:
        limit_ms = self._limits.stale_ms
        # Those of ingest may be of partitions that nobody has any more; what these two have read is what counts.
        known = [row for row in pipeline if row.job in {"aggregate", "results"} and row.watermark_ms > 0]
        if not limit_ms or not known:
            return _Seen([], set())
        last = min(known, key=lambda row: row.watermark_ms)
        behind_ms = now_ms - last.watermark_ms
        is_fault = behind_ms >= limit_ms and now_ms - self._began_ms >= WELL_MS
        fault = _Fault("stale", last.job, last.watermark_ms, f"{last.input}/{last.partition}")
        # It is over only well below the limit, or it would begin and end again and again.
        return _Seen([fault] if is_fault else [], {fault.key} if behind_ms >= limit_ms / 2 else set())
