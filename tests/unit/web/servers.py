"""`rtexp web` as a process, at a free port of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_SECONDS = 60


class Server(NamedTuple):
    process: subprocess.Popen[bytes]
    address: str
    """Ends in a slash."""

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1].partition("/")[0])


def environ(directory: Path, **settings: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RTEXP_")}
    store = {"RTEXP_STORE__URL": f"sqlite:///{directory / 'x.db'}", "PYTHONUNBUFFERED": "1"}
    return own | store | {f"RTEXP_{name}": value for name, value in settings.items()}


@contextmanager
def serving(directory: Path, **settings: str) -> Iterator[Server]:
    """Serve the database x.db of a directory until the end; what it logs is in ``server.log`` there."""
    log = directory / "server.log"
    with (
        log.open("w") as file,  # not a pipe, which nobody empties
        subprocess.Popen(
            [sys.executable, "-m", "rtexp", "web"],
            cwd=directory,
            env=environ(directory, WEB__PORT="0", **settings),
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield Server(process, _address(process, log))
        finally:
            process.kill()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and process.poll() is None:
        first, ended, _ = log.read_text().partition("\n")
        if ended:
            said, _, address = json.loads(first)["event"].rpartition(" ")  # as no terminal shows it
            assert said == "pages at"
            return str(address)
        time.sleep(0.05)
    raise AssertionError(f"no server: {log.read_text()}")
