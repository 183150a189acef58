"""`rtexp web` as a process: it says where it is, ends when told to, and refuses what would be open to all."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from tests.unit.store.databases import SqliteFile, open_database
from tests.unit.web.servers import PATIENCE_SECONDS, Server, environ, serving
from tests.unit.web.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with open_database(SqliteFile(tmp_path / "x.db")), serving(tmp_path) as started:
        yield started


def test_it_serves_at_the_address_that_it_says_until_it_is_told_to_end(server: Server) -> None:
    with urlopen(f"{server.address}health/ready", timeout=PATIENCE_SECONDS) as answer:
        assert answer.status == 200
        assert "server" not in answer.headers
    with urlopen(server.address, timeout=PATIENCE_SECONDS) as answer:
        assert "No experiments yet" in answer.read().decode()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE_SECONDS) == -signal.SIGTERM


def test_open_streams_do_not_keep_it_from_ending(server: Server) -> None:
    stream = Stream(("127.0.0.1", server.port))
    stream.next_of("snapshot")
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    while stream.next() is not None:
        pass
    stream.close()
    server.process.wait(PATIENCE_SECONDS)
    assert time.monotonic() - began < 5


def refused(directory: Path, **settings: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "rtexp", "web"],
        check=False,
        cwd=directory,
        env=environ(directory, **settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 2, ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    return ended.stderr


def test_an_address_that_others_reach_is_refused_without_a_token(tmp_path: Path) -> None:
    assert "needs a token" in refused(tmp_path, WEB__HOST="0.0.0.0", WEB__PORT="0")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"127.0.0.1:{port} can't be listened at" in refused(tmp_path, WEB__PORT=str(port))
