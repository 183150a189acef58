"""`rtexp up` as a process: what it starts, what it leaves, how it ends. Without workers: those have their own tests."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from rtexp.local.broker_files import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

START_SECONDS = 90.0


class Up:
    """An ``rtexp up`` in a directory of its own, and the lines that it has written so far."""

    def __init__(self, directory: Path, *, port: int, targets: str = "") -> None:
        self.directory = directory
        self.web_port = free_port()
        kafka = f'[kafka]\nbrokers = ["127.0.0.1:{port}"]\npartitions = 2\n'
        (directory / "rtexp.toml").write_text(f"{kafka}[web]\nport = {self.web_port}\n{targets}")
        self._log = directory / "up.log"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self._log.write_bytes(b"")
        with self._log.open("ab") as log:
            return subprocess.Popen(self.command, cwd=self.directory, stdout=log, stderr=log)

    @property
    def command(self) -> list[str]:
        program = "from rtexp.cli import main; main()"
        return [sys.executable, "-c", program, "up", "--workers", "ingest=0,aggregate=0,results=0"]

    @property
    def lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    @property
    def told(self) -> list[dict[str, Any]]:
        """The lines as what they are where no terminal shows them: JSON, each with its process."""
        return [json.loads(line) for line in self.lines]

    def until(self, text: str) -> None:
        give_up = time.monotonic() + START_SECONDS
        while not any(text in line for line in self.lines):
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < give_up, self.lines
            time.sleep(0.05)

    def broker_pids(self) -> list[int]:
        """The Java processes that run in this directory."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if self._is_its_java(entry)]

    def _is_its_java(self, entry: Path) -> bool:
        try:
            return (entry / "comm").read_text() == "java\n" and (entry / "cwd").readlink() == self.directory
        except OSError:  # no process, or one that ends just now
            return False

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def again(self) -> None:
        self.process = self._start()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    target = '[[alerts.targets]]\nname = "here"\nkind = "log"\n'
    started = Up(tmp_path, port=free_port(), targets=target)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    give_up = time.monotonic() + 20
    while is_running(pid):
        assert time.monotonic() < give_up, f"{pid} is still there"
        time.sleep(0.05)


def test_alerts_under_up_say_whether_they_are_well_at_another_port_where_theirs_is_taken(
    broker: str, tmp_path: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        targets = f'[alerts]\nport = {taken}\n[[alerts.targets]]\nname = "here"\nkind = "log"\n'
        up = Up(tmp_path, port=int(broker.rpartition(":")[2]), targets=targets)
        try:
            up.until("delivering")
            (address,) = re.findall(
                r"health and metrics at (http://127\.0\.0\.1:[0-9]+)", "\n".join(up.lines)
            )
            assert not address.endswith(f":{taken}")
            with urlopen(f"{address}/health/ready") as given:
                assert json.load(given) == {"ready": True, "reasons": []}
            assert up.end(signal.SIGTERM) == 0
        finally:
            up.process.kill()
            up.process.wait()


def test_up_starts_all_survives_kills_and_ends_with_nothing_left(up: Up) -> None:
    up.until("running; Ctrl-C stops")
    assert any("topics: 15, of which 15 are new" in line for line in up.lines)
    assert any("your topic actions wasn't there: it is made, and empty" in line for line in up.lines)
    assert (up.directory / "data" / "rtexp.db").exists()

    # The pages are there, and say where.
    address = f"http://127.0.0.1:{up.web_port}/"
    up.until(f'"event":"pages at {address}"')
    assert any(line["process"] == "web" and line["level"] == "info" for line in up.told if "level" in line)
    with urlopen(f"{address}health/ready", timeout=START_SECONDS) as answer:
        assert answer.status == 200

    # Alerts are delivered, as a target is set.
    up.until('"event":"delivering"')

    # A second one in the same directory says who holds it, and touches nothing.
    second = subprocess.run(
        up.command, cwd=up.directory, capture_output=True, text=True, check=False, timeout=60
    )
    assert second.returncode == 1
    assert second.stderr == (
        f"rtexp: rtexp is already running in {up.directory}/data, as process {up.process.pid}: "
        "stop that one, or set [data] directory to another place\n"
    )

    # A broker that dies is started again, on the same data.
    (first,) = up.broker_pids()
    os.kill(first, signal.SIGKILL)
    up.until("broker ended (SIGKILL); starts again in 0.5 s")
    give_up = time.monotonic() + 20
    while (restarted := up.broker_pids()) in ([], [first]):
        assert time.monotonic() < give_up, "it isn't started again"
        time.sleep(0.05)

    # A supervisor that dies leaves nothing behind.
    up.process.kill()
    up.process.wait()
    wait_until_gone(*restarted)

    # What it left is no obstacle, and what it made is still there.
    up.again()
    up.until("running; Ctrl-C stops")
    assert any("topics: 15, of which 0 are new" in line for line in up.lines)
    assert len(up.broker_pids()) == 1
    assert up.end(signal.SIGINT) == 0
    assert (up.told[-1]["process"], up.told[-1]["event"]) == ("rtexp", "stopped")
    assert any("broker ended (exit code 143)" in line for line in up.lines)
    assert up.broker_pids() == []


def test_a_signal_during_the_start_stops_cleanly(up: Up) -> None:
    up.until("starting one")
    assert up.end(signal.SIGTERM) == 0
    assert (up.told[-1]["process"], up.told[-1]["event"]) == ("rtexp", "stopped")
    assert up.broker_pids() == []


def test_a_kafka_that_answers_is_used_and_left_running(tmp_path: Path, broker: str) -> None:
    up = Up(tmp_path, port=int(broker.rpartition(":")[2]))
    try:
        up.until("running; Ctrl-C stops")
        assert any(f"Kafka answers at {broker}" in line for line in up.lines)
        assert not (tmp_path / "data" / "kafka").exists()
        assert not any(line.startswith("alerts") for line in up.lines), "nobody is to be told"
        assert up.end(signal.SIGTERM) == 0
    finally:
        up.process.kill()
        up.process.wait()


def test_a_remote_kafka_that_is_silent_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "rtexp.toml").write_text('[kafka]\nbrokers = ["127.0.0.1:1", "127.0.0.1:2"]\n')
    program = "from rtexp.cli import main; main(['up'])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("rtexp: no Kafka answers at 127.0.0.1:1, 127.0.0.1:2; start it, or set")
    assert done.stderr.count("\n") == 1
