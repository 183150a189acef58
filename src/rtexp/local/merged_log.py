"""The lines of several processes as one log: ``name | line``, or JSON with the name in each line."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_NAME_WIDTH = 11


class MergedLog:
    """Writes whole lines, each with its process's name in front; in colours if ``stream`` is a terminal.

    ``as_json``: as JSON instead, to whose lines the name is added; what isn't JSON becomes the event of a line.

    When whoever reads the stream goes away, ``on_gone`` is called, once, and what follows is dropped: a log
    that nobody reads must not block the processes that write it.
    """

    def __init__(self, stream: TextIO, on_gone: Callable[[], None], *, as_json: bool = False) -> None:
        self._stream = stream
        self._as_json = as_json
        self._on_gone = on_gone
        self._colours: dict[str, int] = {}
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ

    def __call__(self, name: str, line: str) -> None:
        """Write one line of the process ``name``."""
        text = _with_name(name, line) if self._as_json else f"{self._front(name)} {line}"
        try:
            self._stream.write(f"{text}\n")
            self._stream.flush()
        except BrokenPipeError:
            # What follows goes nowhere; also what Python flushes at exit, about which it would complain.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._on_gone()

    def _front(self, name: str) -> str:
        front = f"{name:<{_NAME_WIDTH}} |"
        if not self._coloured:
            return front
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\x1b[{colour}m{front}\x1b[0m"


def childs_form(*, as_json: bool) -> dict[str, str]:
    """Return what makes processes write lines of the merged log's form: theirs go into a pipe, whatever shows ours."""
    return {"RTEXP_LOG__FORMAT": "json" if as_json else "console"}


def _with_name(name: str, line: str) -> str:
    """Return a line as JSON that says whose it is."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        fields = {"timestamp": datetime.now(UTC).isoformat(), "event": line}
    text = json.dumps({**fields, "process": name}, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace").decode()
