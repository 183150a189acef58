"""How often a worker flushes: every interval while it has little to do, more rarely while it is busy.

A flush costs a transaction, and an output for every cell that it touches, whether one action touched the cell or
twenty. So with twice the time between two flushes the same actions cost less, here and in the job that reads the
outputs; a worker that has nothing better to do flushes early instead.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BUSY_SHARE = 0.15
"""Of a processor, over the last look. A worker has this much to do at some 50,000 actions a second."""
LOOK_SECONDS = 2.0
BUSY_FACTOR = 4


class Pace:
    """Shared by all tasks of a worker."""

    def __init__(
        self,
        interval: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        """``interval`` in seconds, as are ``clock`` and the process's ``cpu`` time."""
        self._interval = interval
        self._clock = clock
        self._cpu = cpu
        self._looked_at = clock()
        self._used = cpu()
        self._is_busy = False

    def interval(self) -> float:
        """Return how long to wait until the next flush, unless enough rows have come before."""
        now = self._clock()
        if now - self._looked_at >= LOOK_SECONDS:
            used = self._cpu()
            self._is_busy = used - self._used > BUSY_SHARE * (now - self._looked_at)
            self._looked_at, self._used = now, used
        return self._interval * (BUSY_FACTOR if self._is_busy else 1)
