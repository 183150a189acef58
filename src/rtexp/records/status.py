"""`status`: what each partition of each job is doing, in one compacted JSON record a partition.

The newest record per key ``job/worker/partition`` counts. Positions are those of committed work, so they
never go back and an old record of a dead worker is still true.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rtexp.records.wire import json_decoder

VERSION = 1


class Input(msgspec.Struct, frozen=True):
    """One input partition, as its reader sees it."""

    position: int
    """Next offset after the last one whose effect is committed."""
    end: int
    """End of the partition when last fetched; -1 before that."""
    held_rows: int = 0
    """Rows read that wait for another input (or for metadata)."""
    watermark_ms: int = 0
    rewind_done: int = 0
    """Offsets run again since the partition was opened, of `rewind_total` between checkpoint and marker."""
    rewind_total: int = 0


class Process(msgspec.Struct, frozen=True):
    """The process that a worker runs in, as of the report."""

    started_ms: int
    restarts: int
    """How often it has been started again with this data directory, for whatever reason."""
    rss_bytes: int
    cpu_seconds: float
    """Of all its threads, in user and kernel, since it started."""
    url: str = ""
    """Where it serves pages; empty: nowhere."""


class Status(msgspec.Struct, frozen=True):
    """One partition of one job on one worker."""

    version: int
    job: str
    worker: str
    partition: int
    """-1 for what a worker does for all its partitions at once (ingest)."""
    at_ms: int
    ready: bool
    inputs: dict[str, Input]
    """By ``topic/partition``."""
    counters: dict[str, int]
    """Absolute, exact: rows by reason (``actions/repeat``)."""
    details: dict[str, Any]
    """What else the job says: ``snapshot_as_of_ms`` (ingest), ``published``, ``delays`` (results), sensors."""
    process: Process | None = None
    """None from workers of an older version. Whoever doesn't know this field, or those of an input, reads past them."""


def key_of(status: Status) -> bytes:
    """Return the record's key: ``job/worker/partition``."""
    return f"{status.job}/{status.worker}/{status.partition}".encode()


encode = msgspec.json.Encoder().encode
decode = json_decoder("status", VERSION, Status)
