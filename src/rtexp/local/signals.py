"""Ctrl-C and SIGTERM as a request to stop, not as an exception in the middle of something."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType


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


@dataclass
class Interruption:
    """What Ctrl-C has asked of work that can end at a known point."""

    asked: bool = False
    begun: bool = False
    """Whether there is anything to end; the work says so."""


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Let Ctrl-C only ask, once the work has begun; before that, and a second time, it is a KeyboardInterrupt.

    Unlike a handler of an event loop's this one is there while the loop has no turn. In another thread than the main
    one, which gets no signals, it does nothing.
    """
    state = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if state.asked or not state.begun:
            signal.default_int_handler(number, frame)
        state.asked = True

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield state
    finally:
        signal.signal(signal.SIGINT, before)
