"""What `publish` reads: the cells of one partition's `merge` task, between two of its flushes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rtexp.agents.publish import Changed
from rtexp.store.cells import CellRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.agents.merge import MergeState
    from rtexp.engine.task import PartitionTask
    from rtexp.tables.buckets import BucketsTable, UnpublishedCell


class TaskSource:
    """A `rtexp.agents.publish.PublishSource` over a task of the engine; one for each task, kept as long."""

    def __init__(self, task: PartitionTask) -> None:
        self._task = task
        self._handed_out: tuple[BucketsTable, list[UnpublishedCell]] | None = None

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
        return Changed([_row(cell, position) for cell in cells], position, more)

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
