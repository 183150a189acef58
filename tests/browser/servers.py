"""`rtexp web` as a process over a SQLite file, which tests start, kill and start again at the same address."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.unit.store.databases import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.store.databases import Database

PATIENCE_SECONDS = 30


class WebProcess:
    """Not running until it is started."""

    def __init__(self, directory: Path) -> None:
        self.database: Database = SqliteFile(directory / "x.db")
        self._directory = directory
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self.address = ""
        """With a slash at the end."""
        self.environ: dict[str, str] = {}
        """What it has beside the place of the database."""

    def start(self) -> None:
        """Start it, at the port that it had before, and wait until it listens."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("RTEXP_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rtexp", "web"],
            cwd=self._directory,
            env=own
            | {
                "RTEXP_STORE__URL": self.database.settings.url,
                "RTEXP_WEB__PORT": str(self._port),
                "PYTHONUNBUFFERED": "1",
                **self.environ,
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        said = re.search(r"pages at (http://[^\s\"]+/)", self._process.stdout.readline())
        assert said, "it ended before it listened"
        self.address = said[1]
        self._port = int(self.address.rstrip("/").rpartition(":")[2])

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def cpu_seconds(self) -> float:
        """Return how much CPU time it has taken so far."""
        assert self._process is not None
        with open(f"/proc/{self._process.pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - proc is no path
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def web_process(directory: Path) -> Iterator[WebProcess]:
    """A process that is to be started, and is ended at last."""
    process = WebProcess(directory)
    try:
        yield process
    finally:
        process.kill()
