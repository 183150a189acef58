"""What a task measures of itself; read by whoever reports it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class TaskSensors:
    """Counts since the task was opened on this worker; seconds are wall clock."""

    rows: int = 0
    flushes: int = 0
    flush_seconds: float = 0.0
    slowest_flush_seconds: float = 0.0
    checkpoints: int = 0
    checkpoint_seconds: float = 0.0
    pages: int = 0
    changelog_records: int = 0
    """Read in recovery."""
    changelog_bytes: int = 0
    changelog_left: int = 0
    """Offsets that recovery still has to read; 0 once the state is restored."""
    rewound_records: int = 0
    recovery_seconds: float = 0.0

    def flushed(self, seconds: float) -> None:
        """Count one committed flush."""
        self.flushes += 1
        self.flush_seconds += seconds
        self.slowest_flush_seconds = max(self.slowest_flush_seconds, seconds)


@dataclass(frozen=True, slots=True)
class InputStatus:
    """One input partition of a task. Positions are next offsets."""

    position: int
    """Everything below has been committed."""
    end: int
    held_rows: int
    watermark_ms: int
    rewind_done: int = 0
    """Offsets run again since the task was opened; equal to `rewind_total` once it is live."""
    rewind_total: int = 0


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """What one task is doing now."""

    agent: str
    partition: int
    ready: bool
    phase: str
    inputs: Mapping[str, InputStatus]
    """By ``topic/partition``."""
    counters: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a worker has of its job."""

    has_started: bool
    """Partitions have been shared out since it started; it may have got none."""
    is_assigned: bool
    """False while the group shares its partitions out anew."""
    partitions: int
    """Of batch agents, as assigned."""
    live: int
    """How many of them are live."""
