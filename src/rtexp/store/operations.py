"""What the jobs do, in SQL: how far they are, what they dropped and why, their processes, how fresh SQL is.

All of it is for people to look at; nothing that is counted rests on it. Rows are absolute, so they may be written
twice, and a late writer changes nothing: newer is a higher ``updated_ms``, for counters a higher ``sequence``. Only
``freshness`` takes what is written last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sqlalchemy import and_, delete, func, select

from rtexp.store.schema import counters, freshness, pipeline, workers
from rtexp.store.upserts import batches, upsert_newer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Table

KEPT_MS = 24 * 3_600_000
"""How long rows are kept."""


class PipelineRow(NamedTuple):
    """One row of ``pipeline``, in the order of its columns."""

    job: str
    input: str
    """The topic."""
    partition: int
    worker: str
    position: int
    """Next offset after the last one whose effect is committed."""
    lag: int | None
    """Offsets from there to the partition's end when it was last fetched; None before the first time."""
    watermark_ms: int
    """What arrived before has been read; 0 before the first."""
    held: int
    rewind_done: int
    rewind_total: int
    updated_ms: int


class CounterRow(NamedTuple):
    """One row of ``counters``, in the order of its columns."""

    job: str
    partition: int
    """-1: all that the job's workers did together."""
    reason: str
    minute_ms: int
    """Start of the minute."""
    counted: int
    """How many were counted in it: the column ``count``."""
    sequence: int
    """How many had been counted in all by then."""


class WorkerRow(NamedTuple):
    """One row of ``workers``, in the order of its columns."""

    worker: str
    job: str
    url: str
    """Empty: it serves no pages."""
    partitions: int
    """How many it has: of users or experiments, or of all raw topics together."""
    started_ms: int
    restarts: int
    rss_bytes: int
    cpu_seconds: float
    updated_ms: int


class FreshnessRow(NamedTuple):
    """One row of ``freshness``, in the order of its columns."""

    minute_ms: int
    p50_ms: int
    p99_ms: int


R = TypeVar("R", PipelineRow, CounterRow, WorkerRow, FreshnessRow)


def upsert_pipeline(connection: Connection, rows: Iterable[PipelineRow]) -> None:
    """Write rows over stored ones that aren't newer; no key twice."""
    _upsert(connection, pipeline, rows, guard="updated_ms")


def upsert_counters(connection: Connection, rows: Iterable[CounterRow]) -> None:
    """Write rows over stored ones that don't count further; no key twice."""
    _upsert(connection, counters, rows, guard="sequence")


def upsert_workers(connection: Connection, rows: Iterable[WorkerRow]) -> None:
    """Write rows over stored ones that aren't newer; no key twice."""
    _upsert(connection, workers, rows, guard="updated_ms")


def upsert_freshness(connection: Connection, rows: Iterable[FreshnessRow]) -> None:
    """Write rows over stored ones; no minute twice."""
    _upsert(connection, freshness, rows, guard="minute_ms")  # a key is never lower than itself


def _upsert(connection: Connection, table: Table, rows: Iterable[R], *, guard: str) -> None:
    for batch in batches(rows, key_columns=len(table.primary_key), size=lambda _: 0):
        upsert_newer(connection, table, batch, guard=guard)


def read_pipeline(connection: Connection) -> Sequence[PipelineRow]:
    """Return all rows, in order of their key."""
    found = connection.execute(select(pipeline).order_by(*pipeline.primary_key))
    return [PipelineRow(*row) for row in found]


def read_counters(connection: Connection, *, since_ms: int = 0) -> Sequence[CounterRow]:
    """Return the rows of minutes from ``since_ms`` on, in order of their key."""
    newer = select(counters).where(counters.c.minute_ms >= since_ms)
    return [CounterRow(*row) for row in connection.execute(newer.order_by(*counters.primary_key))]


def read_newest_counters(connection: Connection) -> Sequence[CounterRow]:
    """Return the newest row of each counter, in order of their key."""
    key = (counters.c.job, counters.c.partition, counters.c.reason)
    newest = select(*key, func.max(counters.c.minute_ms).label("minute_ms")).group_by(*key).subquery()
    on_all = and_(*(counters.c[column.name] == column for column in newest.c))
    found = connection.execute(select(counters).join(newest, on_all).order_by(*counters.primary_key))
    return [CounterRow(*row) for row in found]


def read_workers(connection: Connection) -> Sequence[WorkerRow]:
    """Return all rows, in order of their key."""
    return [WorkerRow(*row) for row in connection.execute(select(workers).order_by(*workers.primary_key))]


def read_freshness(connection: Connection, *, since_ms: int = 0) -> Sequence[FreshnessRow]:
    """Return the rows of minutes from ``since_ms`` on, oldest first."""
    newer = select(freshness).where(freshness.c.minute_ms >= since_ms)
    return [FreshnessRow(*row) for row in connection.execute(newer.order_by(freshness.c.minute_ms))]


def remove_older(connection: Connection, before_ms: int) -> None:
    """Remove what is older, save the newest row of each counter, at whose total the next count begins."""
    for table, time in (
        (pipeline, pipeline.c.updated_ms),
        (workers, workers.c.updated_ms),
        (freshness, freshness.c.minute_ms),
    ):
        connection.execute(delete(table).where(time < before_ms))
    # Key by key: a statement of MySQL's may not remove from a table that it also asks, and this one knows what to keep.
    for newest in read_newest_counters(connection):
        connection.execute(
            delete(counters).where(
                counters.c.job == newest.job,
                counters.c.partition == newest.partition,
                counters.c.reason == newest.reason,
                counters.c.minute_ms < min(before_ms, newest.minute_ms),
            )
        )
