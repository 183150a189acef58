"""A peer that runs, and the moments that it tells of: each beside what broker and machine have used by then."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from rtexp.bench.accounting import machine_cpu_seconds, usage
from rtexp.errors import FatalError
from rtexp.local.processes import Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from rtexp.bench.accounting import Usage

MARK = "MEASURED "
FIRST, HALF, COUNTED = "first", "half", "counted"
TAIL_LINES = 20


class Said(msgspec.Struct, frozen=True):
    """One line of a peer's `Meter`."""

    moment: str
    cpu_seconds: float
    """Of the peer, since its start."""
    activations: int
    """That were in its state by then."""
    actions: int


class Moment(NamedTuple):
    """CPU seconds since the start of each, and the clock on the wall."""

    said: Said
    broker_cpu_seconds: float
    machine_cpu_seconds: float
    at_seconds: float


def said(line: str) -> Said | None:
    """Return what a line of output says, None if it is of something else; msgspec.DecodeError if it is broken."""
    return msgspec.json.decode(line.removeprefix(MARK), type=Said) if line.startswith(MARK) else None


class PeerProcess:
    """Made by `started`."""

    def __init__(self, process: Process, broker_pid: int, log: Path) -> None:
        self._process = process
        self._broker_pid = broker_pid
        self._log = log
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._moments: dict[str, Moment] = {}
        self._counted = asyncio.Event()
        self._ended = asyncio.create_task(process.ended(self._take))

    async def counted(self, *, within_seconds: float) -> Mapping[str, Moment]:
        """Return the moments by name, when all pairs have been counted.

        FatalError if the peer ends before, with its last words, or if the time is over.
        """
        counted = asyncio.create_task(self._counted.wait())
        try:
            await asyncio.wait(
                [counted, self._ended], timeout=within_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if self._counted.is_set():
                return self._moments
        finally:
            counted.cancel()
        what = "ended" if self._ended.done() else f"hasn't counted all pairs within {within_seconds:g} s"
        words = "\n".join(self._tail)
        raise FatalError(f"{self._process.name} {what}; all that it said is in {self._log}, last:\n{words}")

    def usage(self) -> Usage:
        """Return what it has used since it started."""
        return usage(self._process.pid)

    async def kill(self) -> None:
        """Return when it has ended, which it does at once."""
        self._process.signal(signal.SIGKILL)
        await self._ended

    def _take(self, _name: str, line: str) -> None:
        found = said(line)
        if found is None:
            self._tail.append(line)
            with self._log.open("a", encoding="utf-8") as log:
                print(line, file=log)
            return
        broker = usage(self._broker_pid).cpu_seconds
        self._moments[found.moment] = Moment(found, broker, machine_cpu_seconds(), time.monotonic())
        if found.moment == COUNTED:
            self._counted.set()


@asynccontextmanager
async def started(
    name: str, command: Sequence[str], *, broker_pid: int, log: Path
) -> AsyncIterator[PeerProcess]:
    """Run a peer; it has ended when the block has. What it says, but for moments, is added to ``log``."""
    running = PeerProcess(await Process.start(name, command), broker_pid, log)
    try:
        yield running
    finally:
        await running.kill()
