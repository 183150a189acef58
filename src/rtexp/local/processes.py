"""One child process: started so that it can't outlive us, its output as whole lines, its end awaited."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rtexp.errors import FatalError

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping, Sequence

MAX_LINE_BYTES = 64 * 1024
DRAIN_SECONDS = 5.0
"""How long an ended child's pipe is read on if something else still holds it open."""

_WRAPPER = str(Path(__file__).with_name("child.py"))


class Lines:
    """Cuts a child's output into lines, wherever the reads were cut; loses nothing.

    A line longer than `MAX_LINE_BYTES` comes in pieces of that size.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are complete now, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest[:MAX_LINE_BYTES])
            self._rest = self._rest[MAX_LINE_BYTES:]
        return [_text(line) for line in lines]

    def finish(self) -> list[str]:
        """Return what stands after the last line's end, if anything."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", errors="replace")


@dataclass
class Process:
    """A running child. Make it with `start`; somebody must await `ended`."""

    name: str
    pid: int
    _process: asyncio.subprocess.Process | None = field(default=None, repr=False)

    @classmethod
    async def start(
        cls, name: str, command: Sequence[str], *, environ: Mapping[str, str] | None = None
    ) -> Process:
        """Start a child in a session of its own; FatalError if the system refuses.

        A session of its own keeps the terminal's Ctrl-C away: who stops when is the supervisor's decision.
        A command that doesn't exist shows as a child that ends at once and says so.
        """
        wrapped = [sys.executable, "-I", "-S", _WRAPPER, str(os.getpid()), *command]
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *wrapped,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(environ) if environ is not None else None,
                start_new_session=True,
            )
        )
        try:
            process = await asyncio.shield(starting)
        except OSError as exc:
            raise FatalError(f"{name} can't be started: {exc}") from exc
        except asyncio.CancelledError:
            # asyncio leaves pieces of a child whose start is cancelled half way; they complain at exit.
            process = await starting
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
            raise
        return cls(name, process.pid, _process=process)

    async def ended(self, on_line: Callable[[str, str], None]) -> int:
        """Hand each line of output to ``on_line(name, line)`` until the child ends; return its exit code.

        The code is negative for a signal. ``on_line`` must not raise: nobody would read on then, and the
        child would block.
        """
        assert self._process is not None
        reading = asyncio.create_task(self._read(on_line))
        try:
            code = await self._process.wait()
            # Its own end of the pipe is closed now, but a grandchild may hold another.
            await asyncio.wait([reading], timeout=DRAIN_SECONDS)
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
        return code

    async def _read(self, on_line: Callable[[str, str], None]) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        lines = Lines()

        try:
            while data := await self._process.stdout.read(64 * 1024):
                for line in lines.feed(data):
                    on_line(self.name, line)
        finally:
            for line in lines.finish():
                on_line(self.name, line)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
