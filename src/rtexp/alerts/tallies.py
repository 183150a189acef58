"""What is counted of one target since the process started, and since when it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(slots=True)
class Tally:
    """Of one target."""

    delivered: int = 0
    delayed: int = 0
    """Attempts that failed and are made again."""
    undelivered: int = 0
    was_tried: bool = False
    failing_since_ms: int | None = None
    """Since when no attempt has got an answer that settles it; None where the last one did."""

    def took(self) -> None:
        """Note that the target took one."""
        self.delivered += 1
        self.refused()

    def refused(self) -> None:
        """Note that it answered, and won't take this one."""
        self.was_tried = True
        self.failing_since_ms = None

    def failed(self, at_ms: int) -> None:
        """Note that an attempt at a time came to nothing."""
        self.was_tried = True
        if self.failing_since_ms is None:
            self.failing_since_ms = at_ms


class Waiting(NamedTuple):
    """What was read for a target and that it hasn't got yet."""

    pending: int
    held: int
    """Of those, what may not be sent yet: quiet hours, too young, too few users."""
    oldest_ms: int | None
    """When the oldest of them came; None if none waits."""
