"""The lines of several processes as one log: ``name | line``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_NAME_WIDTH = 11


class MergedLog:
    """Writes whole lines, each with its process's name in front; in colours if ``stream`` is a terminal.

    When whoever reads the stream goes away, ``on_gone`` is called, once, and what follows is dropped: a log
    that nobody reads must not block the processes that write it.
    """

    def __init__(self, stream: TextIO, on_gone: Callable[[], None]) -> None:
        self._stream = stream
        self._on_gone = on_gone
        self._colours: dict[str, int] = {}
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ

    def __call__(self, name: str, line: str) -> None:
        """Write one line of the process ``name``."""
        front = f"{name:<{_NAME_WIDTH}} |"
        if self._coloured:
            colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
            front = f"\x1b[{colour}m{front}\x1b[0m"
        try:
            self._stream.write(f"{front} {line}\n")
            self._stream.flush()
        except BrokenPipeError:
            # What follows goes nowhere; also what Python flushes at exit, about which it would complain.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._on_gone()
