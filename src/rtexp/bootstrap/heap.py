"""Memory that a worker has freed and the C library keeps, because some other time it may be wanted again.

Whoever frees a large block tells glibc, it takes it, that more such blocks will come: up to 32 MB they then come from
the heap, where something small that stays behind them keeps all of it. Columns grow by being copied, and a checkpoint
encodes megabytes of pages, so in an aggregate worker that was 150 bytes a user.
"""

from __future__ import annotations

import asyncio
import ctypes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtexp.engine.app import EngineApp

TRIM_SECONDS = 10.0


def trim() -> None:
    """Give memory back that nothing uses; where the C library isn't glibc, that is its own business.

    Takes 1 to 16 ms in a process of 120 MB, the more the longer it is since the last time.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def keep_trimmed(app: EngineApp) -> None:
    """Make a worker do so now and then; to limit what stays in the heap would cost every flush."""

    async def trim_now_and_then() -> None:
        while not app.should_stop:
            await asyncio.sleep(TRIM_SECONDS)
            await asyncio.to_thread(trim)

    app.task(trim_now_and_then)
