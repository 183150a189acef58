"""Carries out what `rtexp.local.supervision` decides: starts children, waits for their ends, stops them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rtexp.errors import FatalError
from rtexp.local.processes import Process
from rtexp.local.supervision import BackOff, Do, Order, Supervision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TAIL_LINES = 40
DISK_FULL = "No space left on device"
"""In a line of whichever program: Kafka says it amid hundreds of others, and ends."""
OWN_NAME = "rtexp"
"""The name in front of the supervisor's own lines."""


@dataclass(frozen=True)
class Child:
    """A program to keep running."""

    name: str
    command: Callable[[], Sequence[str]]
    """Asked before each start, so that each gets, say, a port that is free then."""
    environ: Mapping[str, str] | None = None
    stage: int = 0
    """Children of a lower stage have ended before those of a higher one are told to stop."""
    grace_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Exit:
    """A child that ended; ``code`` is negative for a signal."""

    name: str
    pid: int
    code: int

    def __str__(self) -> str:
        if self.code >= 0:
            return f"exit code {self.code}"
        try:
            return signal.Signals(-self.code).name
        except ValueError:
            return f"signal {-self.code}"


class Supervisor:
    """Keeps children running while its ``async with`` block runs; at its end all have stopped.

    ``on_line(name, line)`` gets every line that they write, and the supervisor's own. It is called in the
    event loop and must not raise.
    """

    def __init__(self, on_line: Callable[[str, str], None], *, back_off: BackOff | None = None) -> None:
        self._hand_on = on_line
        self._tails: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=TAIL_LINES))
        self._on_full_disk: set[str] = set()
        """Children that have said so since they were started."""
        self._plan = Supervision(back_off or BackOff())
        self._children: dict[str, Child] = {}
        self._running: dict[str, Process] = {}
        self._ends: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self.exits: deque[Exit] = deque(maxlen=1000)
        """The newest ends, oldest first."""

    async def __aenter__(self) -> Self:
        self._loop = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def add(self, child: Child) -> None:
        """Start a child, and start it again whenever it ends."""
        self._children[child.name] = child
        self._plan.add(child.name, stage=child.stage, grace_s=child.grace_s, now_s=time.monotonic())
        self._changed.set()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the children that run now."""
        return {name: process.pid for name, process in self._running.items()}

    def tail(self, name: str) -> list[str]:
        """Return the newest lines of a child, over its restarts."""
        return list(self._tails[name])

    async def stop(self) -> None:
        """Stop all, stage by stage; returns when none is left. Whoever is slow is killed after its grace."""
        self._plan.stop()
        self._changed.set()
        cancelled: asyncio.CancelledError | None = None
        while self._loop is not None and not self._loop.done():
            try:
                await asyncio.shield(self._loop)
            except asyncio.CancelledError as exc:
                cancelled = exc  # mustn't leave children behind: first they end, then it is passed on
        if cancelled is not None:
            raise cancelled

    def _on_line(self, name: str, line: str) -> None:
        self._tails[name].append(line)
        if DISK_FULL in line:
            self._on_full_disk.add(name)
        self._hand_on(name, line)

    async def _run(self) -> None:
        while not self._plan.finished:
            self._changed.clear()
            for order in self._plan.orders(time.monotonic()):
                await self._carry_out(order)
            wake_s = self._plan.wake_s()
            timeout_s = None if wake_s is None else max(0.0, wake_s - time.monotonic())
            if not self._plan.finished:
                await _set_within(self._changed, timeout_s)
        await asyncio.gather(*self._ends)

    async def _carry_out(self, order: Order) -> None:
        match order.do:
            case Do.START:
                await self._start(self._children[order.name])
            case Do.TERMINATE:
                self._running[order.name].signal(signal.SIGTERM)
            case Do.KILL:
                self._on_line(OWN_NAME, f"{order.name} doesn't end by itself: killed")
                self._running[order.name].signal(signal.SIGKILL)

    async def _start(self, child: Child) -> None:
        try:
            process = await Process.start(child.name, child.command(), environ=child.environ)
        except (OSError, FatalError) as exc:  # no memory, no descriptors, no free port: as if it had ended
            self._note_end(child.name, str(exc))
            return
        self._running[child.name] = process
        task = asyncio.create_task(self._await_end(process))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _await_end(self, process: Process) -> None:
        code = await process.ended(self._on_line)
        self._running.pop(process.name)
        end = Exit(process.name, process.pid, code)
        self.exits.append(end)
        self._note_end(process.name, str(end))

    def _note_end(self, name: str, reason: str) -> None:
        delay_s = self._plan.ended(name, now_s=time.monotonic())
        if name in self._on_full_disk:
            self._on_full_disk.discard(name)
            reason += f"; {DISK_FULL}: free some on the disk of the data directory"
        again = "" if delay_s is None else f"; starts again in {delay_s:g} s"
        self._on_line(OWN_NAME, f"{name} ended ({reason}){again}")
        self._changed.set()


async def _set_within(event: asyncio.Event, timeout_s: float | None) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
