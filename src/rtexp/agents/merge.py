"""`merge`: adds the partials of all users' partitions up to the cells of one partition of experiments.

Beside the cells stand running sums, frozen when a look may have become due, and the looks that `evaluate` makes of
them between two flushes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from rtexp.core.buckets import HOUR_MS
from rtexp.engine.api import Output, Page, PartitionStatus
from rtexp.errors import StateError
from rtexp.records import partials
from rtexp.tables import look_sums, looks
from rtexp.tables.buckets import KEPT_MS, BucketsTable
from rtexp.tables.look_sums import LookSums
from rtexp.tables.looks import LookLedger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rtexp.engine.api import ReadPage
    from rtexp.records.partials import Partials
    from rtexp.settings import Settings

VERSION = 2
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
        self.sums = LookSums(
            bucket_ms=settings.pipeline.bucket_minutes * 60_000,
            period_ms=settings.pipeline.period_hours * 3_600_000,
            settle_ms=settle_ms(settings),
        )
        self.looks = LookLedger()
        self._over_after_ms = round(settings.pipeline.grace_minutes * 60_000) + KEPT_MS
        self._swept_ms = 0

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
            self.sums.add(batch.record)
            # After each record: sums are frozen as of the very record that makes them due.
            self.sums.advance(self.table.watermark_ms)
        self.table.expire()
        self._forget_periods()
        self.table.evict()

    def _forget_periods(self) -> None:
        """Forget the looks of periods that nothing is added to any more, once all are evaluated and in SQL.

        As with cells, whether they are here decides nothing that is counted.
        """
        before_ms = self.table.watermark_ms - self._over_after_ms
        if before_ms < self._swept_ms + HOUR_MS:
            return
        self._swept_ms = before_ms
        for period in self.sums.ended_before(before_ms):
            if self.looks.may_forget(period):
                self.sums.forget(period)
                self.looks.forget(period)

    def collect(self) -> Sequence[Output]:
        """Return the newest looks, and alerts; cells go to SQL as they stand, and not through a topic."""
        return self.looks.collect()

    def journal(self) -> Sequence[Page]:
        """Return what looks have given: they rest on plans as well, which aren't among the inputs."""
        return self.looks.journal()

    def changed_pages(self) -> Iterator[Page]:
        """Yield the changed pages of the buckets table, and of the sums."""
        yield from self.table.changed_pages()
        yield from self.sums.changed_pages()

    def load(self, pages: Iterable[Page], read: ReadPage | None = None) -> None:
        """Take over a checkpoint; without ``read`` all cells stay in memory."""
        self.table.load(self._pages_of_cells(pages), read)
        self.sums.loaded(self.table.watermark_ms)
        self.looks.loaded()
        if len(self.table) and not self.sums.were_kept:
            raise StateError(
                "the buckets table has cells, but no sums for looks: a version before 0.2 wrote it. Run that "
                "version, or begin anew with another [kafka] prefix"
            )

    def _pages_of_cells(self, pages: Iterable[Page]) -> Iterator[Page]:
        """Yield what is the buckets table's own, and take over the rest."""
        for page in pages:
            if page.value is None:
                continue
            if page.key.startswith(look_sums.PREFIXES):
                self.sums.load(page.key, page.value)
            elif page.key.startswith(looks.PREFIX):
                self.looks.load(page.key, page.value)
            else:
                yield page

    def status(self) -> PartitionStatus:
        """Say how far all sources are, and how much SQL lacks."""
        return PartitionStatus(
            watermarks_ms={self._topic: self.table.watermark_ms},
            details={
                "cells": len(self.table),
                "cells_in_memory": self.table.in_memory,
                "unpublished_cells": self.table.unpublished,
                "unpublished_looks": self.looks.unpublished,
            },
        )


def settle_ms(settings: Settings) -> int:
    """Return how far the watermark must be past a look's time."""
    return round(settings.statistics.settle_seconds * 1000)


def semantics(settings: Settings) -> str:
    """Return the version of the step and a hash of every setting that decides what it keeps."""
    pipeline = settings.pipeline
    read = (
        pipeline.period_hours, pipeline.grace_minutes, pipeline.bucket_minutes, settings.sketch.lg_k,
        settle_ms(settings),
    )  # fmt: skip
    return f"merge-{VERSION}-{hashlib.blake2b(msgspec.json.encode(read), digest_size=8).hexdigest()}"


def merge_state(settings: Settings, partition: int) -> MergeState:  # noqa: ARG001 - likewise
    """Return the empty state of one partition of `partials`; all partitions are alike."""
    return MergeState(settings)
