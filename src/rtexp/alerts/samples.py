"""How many users a period's looks have seen by now: asked of SQL, for alerts that came with too few."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from rtexp.alerts.timing import Users
from rtexp.errors import RtexpError
from rtexp.store.engine import reading
from rtexp.store.look_users import read_users

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Engine
    from structlog.typing import FilteringBoundLogger

    Period = tuple[str, int]

SECONDS = 30.0


class Samples:
    """The newest answers by period. Only what somebody has asked for lately is read."""

    def __init__(self, read: Callable[[set[Period]], Mapping[Period, Users]]) -> None:
        """``read`` may wait; it raises RtexpError or SQLAlchemyError while SQL is away."""
        self._read = read
        self._asked: set[Period] = set()
        self._known: Mapping[Period, Users] = {}
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)

    def users(self, experiment: str, period_start_ms: int) -> Users | None:
        """Return what is known of a period, None if nothing is yet; it will be read."""
        self._asked.add((experiment, period_start_ms))
        return self._known.get((experiment, period_start_ms))

    async def run(self) -> None:
        """Read again and again, until cancelled."""
        while True:
            await self.run_round()
            await asyncio.sleep(SECONDS if self._known else 1.0)

    async def run_round(self) -> None:
        """Read once."""
        asked, self._asked = self._asked, set()
        if not asked:
            return
        try:
            self._known = await asyncio.to_thread(self._read, asked)
        except (RtexpError, SQLAlchemyError) as exc:
            # They wait on; that SQL is away is told by who watches the pipeline.
            self._log.warning("store_unavailable", reason=type(exc).__name__)
            self._asked |= asked


def reader(engine: Engine) -> Callable[[set[Period]], Mapping[Period, Users]]:
    """Return how to read from a database."""

    def read(periods: set[Period]) -> Mapping[Period, Users]:
        with reading(engine) as connection:
            found = {period: read_users(connection, *period) for period in sorted(periods)}
        return {period: Users(*users) for period, users in found.items() if users is not None}

    return read
