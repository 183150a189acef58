"""What one input of a task has fetched, how much of that is applied, and where it began."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rtexp.engine.api import PartitionState


class Waiting(NamedTuple):
    """A record that was fetched and not yet applied."""

    next_offset: int
    batch: Any
    size: int
    written_ms: int


class Input:
    """Records of one input that were fetched and not yet applied."""

    __slots__ = ("applied", "bytes", "end", "fetched", "mark", "rewind_to", "rows", "start", "waiting")

    def __init__(self, start: int, mark: int) -> None:
        self.fetched = start
        """Next offset to take from the transport."""
        self.applied = start
        """Next offset after the last one that is in the state; or behind marks of transactions that follow it."""
        self.mark = mark
        """Next offset after the last one whose outputs are committed."""
        self.start = start
        self.rewind_to = max(start, mark)
        """Both as they were when the task was opened."""
        self.end = -1
        self.waiting: deque[Waiting] = deque()
        self.rows = 0
        self.bytes = 0

    def take_due(self, state: PartitionState, topic: str, room: int) -> tuple[list[Any], int]:
        """Remove and return the longest run of records that may be applied now; and the room that they leave.

        The last record may take more than there was.
        """
        due = []
        while self.waiting and room > 0 and state.is_due(topic, self.waiting[0].batch):
            next_offset, batch, size, _ = self.waiting.popleft()
            due.append(batch)
            self.applied = next_offset
            self.rows -= batch.rows
            self.bytes -= size
            # A record without rows still costs something: a run of heartbeats must end as well.
            room -= batch.rows + 1
        self._pass_what_holds_nothing()
        return due, room

    def reach(self, offset: int) -> None:
        """Note that there is no record from `fetched` up to ``offset``, only marks of transactions if anything."""
        self.fetched = max(self.fetched, offset)
        self._pass_what_holds_nothing()

    def _pass_what_holds_nothing(self) -> None:
        if not self.waiting:
            self.applied = self.fetched

    @property
    def rewound(self) -> int:
        """How many offsets have been run again since the task was opened."""
        return min(self.applied, self.rewind_to) - self.start

    def forget_waiting(self) -> None:
        """Drop what was fetched but not applied; it will be fetched again."""
        self.waiting.clear()
        self.rows = self.bytes = 0
        self.fetched = self.applied
