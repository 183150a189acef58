"""Looks at SQL every few seconds and writes to `conditions` what `rtexp.alerts.watch` decides.

The topic is its memory: after a crash it reads there what people have been told.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from rtexp.alerts.watch import Reports, Watch
from rtexp.errors import RtexpError
from rtexp.store.engine import reading
from rtexp.store.operations import read_pipeline, read_workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Engine
    from structlog.typing import FilteringBoundLogger

    from rtexp.records.conditions import Condition

SECONDS = 10.0


async def watch_pipeline(
    watch: Watch,
    engine: Engine,
    tell: Callable[[Condition], Awaitable[None]],
    note: Callable[[bool], None] = lambda _: None,
) -> None:
    """Watch until cancelled; ``note`` is told each time whether SQL could be read."""
    log: FilteringBoundLogger = structlog.get_logger(__name__)
    is_away = False
    while True:
        try:
            reports = await asyncio.to_thread(_read, engine)
            is_away = False
        except (RtexpError, SQLAlchemyError) as exc:
            # Whatever it is, tables that aren't there or a file that is none: it is told of, and delivery goes on.
            reports = None
            if not is_away:
                log.warning("store_unavailable", reason=_reason(exc))
            is_away = True
        note(not is_away)
        for change in watch.observe(reports, time.time_ns() // 1_000_000):
            log.warning("condition", kind=change.kind, job=change.job, is_over=change.is_over)
            await tell(change)
        await asyncio.sleep(SECONDS)


def _reason(error: Exception) -> str:
    # What the database's library says may hold the login.
    return str(error) if isinstance(error, RtexpError) else type(error).__name__


def _read(engine: Engine) -> Reports:
    with reading(engine) as connection:
        return Reports(read_pipeline(connection), read_workers(connection))
