"""A Kafka broker for one test session: private, on a free port, its data in a directory of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from rtexp.local import child
from rtexp.local.broker import answers, prepare
from rtexp.local.broker_files import BrokerFiles, find_java, find_libs, free_port
from rtexp.settings import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

START_SECONDS = 60.0


class PrivateBroker:
    """Started by `start` or ``with``; may be killed and started again on the same data and port.

    Its methods block and use no event loop that runs already: call them from fixtures, or in a thread.
    """

    def __init__(
        self, directory: Path, *, port: int | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        self.files = BrokerFiles(
            directory,
            find_libs(os.environ),
            find_java(os.environ),
            port or free_port(),
            options=options or {},
        )
        self.kafka = KafkaSettings(brokers=(self.address,))
        self._console = directory / "console.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{self.files.host}:{self.files.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        asyncio.run(prepare(self.files))
        command = [sys.executable, child.__file__, str(os.getpid()), *self.files.command()]
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(command, stdout=console, stderr=console, start_new_session=True)
        asyncio.run(self._answers())

    async def _answers(self) -> None:
        assert self._process is not None
        async with asyncio.timeout(START_SECONDS):
            while not await answers(self.kafka):
                assert self._process.poll() is None, self._console.read_text()
                await asyncio.sleep(0.1)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self._process.kill()
        self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
