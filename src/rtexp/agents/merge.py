"""`merge`: adds the partials of all users' partitions up to the cells of one partition of experiments."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from rtexp.engine.api import Output, Page, PartitionStatus
from rtexp.records import partials
from rtexp.tables.buckets import BucketsTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rtexp.records.partials import Partials
    from rtexp.settings import Settings

VERSION = 1
"""Of the step: raised with every change that merges the same partials differently."""


@dataclass(frozen=True, slots=True)
class PartialsBatch:
    """A decoded record; a row is a cell's delta."""

    record: Partials
    rows: int


class MergeState:
    """`rtexp.engine.api.PartitionState` of one partition of experiments.

    Partials were sent in transactions, each once, so none needs to be looked for twice.
    """

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.kafka.topic("partials")
        self.table = BucketsTable(
            lg_k=settings.sketch.lg_k,
            bucket_ms=settings.pipeline.bucket_minutes * 60_000,
            period_ms=settings.pipeline.period_hours * 3_600_000,
            grace_ms=round(settings.pipeline.grace_minutes * 60_000),
        )

    def decode(self, topic: str, value: bytes) -> PartialsBatch:  # noqa: ARG002 - the engine's signature
        """Decode a record of partials."""
        record = partials.decode(value)
        return PartialsBatch(record, len(record.bucket) // 8)

    def is_due(self, topic: str, batch: PartialsBatch) -> bool:  # noqa: ARG002 - likewise
        """Return True: there is no other input to wait for."""
        return True

    def apply(self, topic: str, batches: Sequence[PartialsBatch]) -> None:  # noqa: ARG002 - likewise
        """Add deltas to their cells."""
        for batch in batches:
            self.table.add(batch.record)
        self.table.expire()

    def collect(self) -> Sequence[Output]:
        """Return nothing: cells go to SQL as they stand, and not through a topic."""
        return ()

    def journal(self) -> Sequence[Page]:
        """Return nothing: all of this follows from the inputs."""
        return ()

    def changed_pages(self) -> Iterator[Page]:
        """Yield the changed pages of the buckets table."""
        return self.table.changed_pages()

    def load(self, pages: Iterable[Page]) -> None:
        """Take over a checkpoint."""
        self.table.load(pages)

    def status(self) -> PartitionStatus:
        """Say how far all sources are, and how much SQL lacks."""
        return PartitionStatus(
            watermarks_ms={self._topic: self.table.watermark_ms},
            details={"cells": len(self.table), "unpublished_cells": self.table.unpublished},
        )


def semantics(settings: Settings) -> str:
    """Return the version of the step and a hash of every setting that decides what it keeps."""
    pipeline = settings.pipeline
    read = (pipeline.period_hours, pipeline.grace_minutes, pipeline.bucket_minutes, settings.sketch.lg_k)
    return f"merge-{VERSION}-{hashlib.blake2b(msgspec.json.encode(read), digest_size=8).hexdigest()}"


def merge_state(settings: Settings, partition: int) -> MergeState:  # noqa: ARG001 - likewise
    """Return the empty state of one partition of `partials`; all partitions are alike."""
    return MergeState(settings)
