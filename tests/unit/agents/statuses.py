"""Statuses for tests, as workers would send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtexp.records import status as records
from rtexp.records.status import Input, Process, Status

if TYPE_CHECKING:
    from collections.abc import Mapping


def status(
    worker: str = "host-1",
    at_ms: int = 0,
    partition: int = 0,
    *,
    job: str = "aggregate",
    started_ms: int | None = 0,
    restarts: int = 0,
    counters: Mapping[str, int] | None = None,
    inputs: Mapping[str, Input] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Status:
    """One that has gone through the topic."""
    process = None if started_ms is None else Process(started_ms, restarts, 1 << 20, 1.5)
    said = Status(
        records.VERSION,
        job,
        worker,
        partition,
        at_ms,
        ready=True,
        inputs=dict(inputs or {}),
        counters=dict(counters or {}),
        details=dict(details or {}),
        process=process,
    )
    return records.decode(records.encode(said))
