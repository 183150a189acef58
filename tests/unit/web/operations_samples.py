"""What the jobs do, as SQL has it when a page is asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.unit.store.databases import open_database

from rtexp.store.engine import writing
from rtexp.store.operations import (
    CounterRow,
    FreshnessRow,
    PipelineRow,
    WorkerRow,
    upsert_counters,
    upsert_freshness,
    upsert_pipeline,
    upsert_workers,
)

if TYPE_CHECKING:
    from tests.unit.web.sites import Site

    Row = PipelineRow | CounterRow | WorkerRow | FreshnessRow

MINUTE_MS = 60_000


def now_ms() -> int:
    return int(time.time() * 1000)


def keep(site: Site, *rows: Row) -> None:
    with open_database(site.database) as engine, writing(engine) as connection:
        upsert_pipeline(connection, [row for row in rows if isinstance(row, PipelineRow)])
        upsert_counters(connection, [row for row in rows if isinstance(row, CounterRow)])
        upsert_workers(connection, [row for row in rows if isinstance(row, WorkerRow)])
        upsert_freshness(connection, [row for row in rows if isinstance(row, FreshnessRow)])


def position(
    job: str, topic: str, partition: int, *, behind_ms: int = 12_000, rewind: tuple[int, int] = (0, 0), held: int = 0,
    lag: int | None = 5, worker: str = "", silent_ms: int = 0, at_ms: int | None = None,
) -> PipelineRow:  # fmt: skip
    at_ms = now_ms() if at_ms is None else at_ms
    return PipelineRow(
        job, topic, partition, worker or f"{job}-1", 1000 + partition, lag, at_ms - behind_ms, held, *rewind,
        at_ms - silent_ms,
    )  # fmt: skip


def worker(name: str, job: str, *, url: str = "", silent_ms: int = 0, restarts: int = 0) -> WorkerRow:
    at_ms = now_ms()
    return WorkerRow(name, job, url, 2, at_ms - 3_600_000, restarts, 250_000_000, 360.0, at_ms - silent_ms)


def counted(
    reason: str, count: int, *, ago_minutes: int = 1, job: str = "aggregate", partition: int = 0
) -> CounterRow:
    minute_ms = now_ms() // MINUTE_MS * MINUTE_MS - ago_minutes * MINUTE_MS
    return CounterRow(job, partition, reason, minute_ms, count, 10_000 - ago_minutes)


def healthy() -> list[Row]:
    """Three jobs with two partitions each, all well, and somewhat of all that can be counted."""
    minute_ms = now_ms() // MINUTE_MS * MINUTE_MS
    return [
        *(
            position("ingest", topic, p, behind_ms=2_000)
            for topic in ("actions", "activations")
            for p in (0, 1)
        ),
        *(
            position("aggregate", f"rtexp.filtered-{kind}", p, held=held)
            for kind, held in (("actions", 300), ("activations", 0))
            for p in (0, 1)
        ),
        *(position("results", "rtexp.partials", p) for p in (0, 1)),
        *(worker(f"{job}-1", job) for job in ("ingest", "aggregate", "results")),
        counted("actions/missing-field", 7),
        counted("actions/missing-field", 3, partition=1),
        counted("actions/missing-field", 5, ago_minutes=300),
        counted("activations/unknown-experiment", 11),
        *(counted("actions/read", 6_000, ago_minutes=n, job="ingest", partition=-1) for n in (1, 2)),
        counted("actions/kept", 1_200, job="ingest", partition=-1),
        *(FreshnessRow(minute_ms - n * MINUTE_MS, 12_000 + n, 14_000 + n) for n in range(30)),
    ]
