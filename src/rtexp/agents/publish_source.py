"""What `publish` and `evaluate` see of one partition's `merge` task, between two of its flushes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import msgspec

from rtexp.agents.publish import Changed, PublishedLook
from rtexp.store.cells import CellRow
from rtexp.store.looks import LookInputRow, LookRow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from rtexp.agents.merge import MergeState
    from rtexp.engine.task import PartitionTask
    from rtexp.tables.buckets import BucketsTable, UnpublishedCell
    from rtexp.tables.looks import EvaluatedLook, LookLedger


class TaskSource:
    """A `rtexp.agents.publish.PublishSource` over a task of the engine; one for each task, kept as long."""

    def __init__(self, task: PartitionTask) -> None:
        self._task = task
        self._handed_out: tuple[BucketsTable, list[UnpublishedCell]] | None = None
        self._looks: tuple[LookLedger, list[EvaluatedLook]] | None = None

    @property
    def partition(self) -> int:
        """The partition of the partials topic."""
        return self._task.partition

    @property
    def changelog(self) -> str:
        """Topic of the table's changelog."""
        return self._task.agent.table

    @property
    def incarnation(self) -> str:
        """The id of that changelog partition's history."""
        return self._task.incarnation

    @property
    def state(self) -> MergeState | None:
        """The partition's state, to be looked at only; None when the task isn't live."""
        return cast("MergeState | None", self._task.live_state)

    @asynccontextmanager
    async def between_flushes(self) -> AsyncIterator[MergeState | None]:
        """Give the state as of the last commit; None when the task isn't live. See `PartitionTask.between_flushes`."""
        async with self._task.between_flushes() as committed:
            yield None if committed is None else cast("MergeState", committed[0])

    async def changed(self, limit: int) -> Changed:
        """Return at most ``limit`` changed cells as of the last commit; none when the task isn't live."""
        async with self._task.between_flushes() as committed:
            if committed is None:
                return Changed((), 0, more=False)
            state, positions = committed
            table = cast("MergeState", state).table
            (position,) = positions.values()
            cells = table.rows_to_publish(limit)
            self._handed_out = table, cells
            more = table.unpublished > len(cells)
            watermark_ms = table.watermark_ms
        return Changed([_row(cell, position) for cell in cells], position, more, watermark_ms)

    async def looks(self, limit: int) -> Sequence[PublishedLook]:
        """Return looks that SQL lacks, as of the last commit."""
        async with self._task.between_flushes() as committed:
            if committed is None:
                return ()
            state, positions = committed
            (position,) = positions.values()
            ledger = cast("MergeState", state).looks
            found = ledger.looks_to_publish(limit)
            self._looks = ledger, found
        return [published_look(look, position) for look in found]

    def mark_looks_published(self) -> None:
        """Note that SQL has the looks that were handed out last."""
        assert self._looks is not None
        ledger, found = self._looks
        ledger.mark_published(found)

    def mark_published(self, rows: Sequence[CellRow]) -> None:
        """Note that SQL has what was handed out last."""
        assert self._handed_out is not None
        table, cells = self._handed_out
        assert len(rows) == len(cells)
        table.mark_published(cells)


def _row(cell: UnpublishedCell, sequence: int) -> CellRow:
    n = cell.counts
    return CellRow(
        *cell.key, n.volume, n.actors, n.sum_squares, n.exposures, n.multiple_exposures, cell.sketch, sequence
    )


def published_look(look: EvaluatedLook, sequence: int) -> PublishedLook:
    """Return a look as SQL keeps it."""
    first, given = look.records[0], look.given
    inputs = msgspec.json.encode(given).decode()
    return PublishedLook(
        LookInputRow(
            first.experiment, first.period_start_ms, given.look, given.scheduled_ms, inputs, sequence
        ),
        [LookRow.of(record, sequence) for record in look.records],
    )
