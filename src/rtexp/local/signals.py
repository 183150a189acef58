"""Ctrl-C and SIGTERM as a request to stop, not as an exception in the middle of something."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


async def run_until_signalled(main: Coroutine[Any, Any, None], on_signal: Callable[[], None]) -> None:
    """Run ``main`` to its end; the first SIGINT or SIGTERM cancels it, and isn't an error.

    Later ones do nothing: ``main`` is stopping then, and all of its waits have limits. Main thread only.
    """
    task = asyncio.create_task(main)
    signalled = False

    def cancel() -> None:
        nonlocal signalled
        if not signalled:
            signalled = True
            on_signal()
            task.cancel()

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, cancel)
    try:
        await task
    except asyncio.CancelledError:
        if not signalled:
            raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
