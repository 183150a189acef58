"""Whether the database answers: told when that changes and now and then, instead of once per attempt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from rtexp.errors import StoreUnavailable


REMINDER_SECONDS = 60.0
"""An outage may change its reason: first the server is gone, then it refuses the login or is read-only."""


class Availability:
    """One user's view of the database; ``is_up`` is for its readiness."""

    def __init__(self, log: FilteringBoundLogger, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._seconds = seconds
        self._failures = 0
        self._told_at = 0.0

    @property
    def is_up(self) -> bool:
        """False from a failed attempt until the next that succeeds."""
        return self._failures == 0

    @property
    def failures(self) -> int:
        """How many attempts have failed in a row."""
        return self._failures

    def lost(self, error: StoreUnavailable) -> None:
        """Note a failed attempt; the first of a row is logged, and again every `REMINDER_SECONDS`."""
        self._failures += 1
        now = self._seconds()
        if self._failures == 1 or now - self._told_at >= REMINDER_SECONDS:
            self._told_at = now
            self._log.warning(
                "store_unavailable",
                error=str(error),
                failures=self._failures,
                act="retried until it answers; nothing is lost",
            )

    def found(self) -> None:
        """Note an attempt that succeeded; after failures it is logged."""
        if self._failures:
            self._log.info("store_available", failures=self._failures)
        self._failures = 0
