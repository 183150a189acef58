"""Whether the database answers, told once per change instead of once per attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from rtexp.errors import StoreUnavailable


class Availability:
    """One user's view of the database; ``is_up`` is for its readiness."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._failures = 0

    @property
    def is_up(self) -> bool:
        """False from a failed attempt until the next that succeeds."""
        return self._failures == 0

    @property
    def failures(self) -> int:
        """How many attempts have failed in a row."""
        return self._failures

    def lost(self, error: StoreUnavailable) -> None:
        """Note a failed attempt; the first of a row is logged."""
        self._failures += 1
        if self._failures == 1:
            self._log.warning(
                "store_unavailable", error=str(error), act="retried until it answers; nothing is lost"
            )

    def found(self) -> None:
        """Note an attempt that succeeded; after failures it is logged."""
        if self._failures:
            self._log.info("store_available", failures=self._failures)
        self._failures = 0
