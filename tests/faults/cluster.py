"""Workers as processes on a real broker, whose deaths are noticed; and the experiments they measure."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rtexp.local.topics import create_topics
from rtexp.settings import (
    ActionSettings,
    ActivationSettings,
    DataSettings,
    KafkaSettings,
    MetadataSettings,
    PipelineSettings,
    Settings,
    StoreSettings,
    WebSettings,
    as_toml,
)
from rtexp.store.engine import opened, writing_alone
from rtexp.store.metadata import load
from rtexp.store.migrate import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.store.definitions import Experiment

ROOT = Path(__file__).parents[2]
SESSION_SECONDS = 6.0
REWOUND = re.compile(r"live; rewound ([1-9]\d*) records")
READY = "live; rewound"
ANNOUNCED = re.compile(r"(users/\d+): restored \d+ changelog records in [\d.]+ s; rewinding (\{.*?\})")
DONE = re.compile(r"(users/\d+): live; rewound (\d+) records")


def make_settings(
    directory: Path,
    broker: str,
    prefix: str,
    *,
    partitions: int = 6,
    checkpoint_seconds: float = 3.0,
    store: StoreSettings | None = None,
) -> Settings:
    """Settings of a run of its own; without a ``store``, with SQLite in its directory."""
    return Settings(
        kafka=KafkaSettings(
            brokers=(broker,), prefix=prefix, partitions=partitions, session_timeout_seconds=SESSION_SECONDS
        ),
        actions=ActionSettings(topic=f"{prefix}-actions", cap_per_hour=20),
        activations=ActivationSettings(topic=f"{prefix}-activations"),
        pipeline=PipelineSettings(
            clock="records", checkpoint_seconds=checkpoint_seconds, flush_interval_ms=200, flush_rows=2000
        ),
        metadata=MetadataSettings(poll_seconds=1.0),
        store=store or StoreSettings(url=f"sqlite:///{directory}/rtexp.db"),
        web=WebSettings(worker_port=0),
        data=DataSettings(directory=directory / "data"),
    )


@dataclass
class Worker:
    """One process, started again and again under one name and on one data directory."""

    name: str
    job: str
    directory: Path
    environ: dict[str, str]
    sabotage: str = ""
    process: subprocess.Popen[bytes] | None = None
    exits: list[int] = field(default_factory=list)
    said_before: int = 0
    """Length of the log when the process was started."""

    @property
    def is_live(self) -> bool:
        """Whether the process, as it runs now, has come as far as counting."""
        return self.process is not None and READY in self.said[self.said_before :]

    @property
    def datadir(self) -> Path:
        return self.directory / self.name

    @property
    def faults(self) -> Path:
        return self.directory / f"{self.name}.faults"

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        self.faults.mkdir(parents=True, exist_ok=True)
        self.datadir.mkdir(parents=True, exist_ok=True)
        self.said_before = len(self.said)
        words = [self.job, str(self.datadir), str(self.faults), self.sabotage]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.worker", *words],
                cwd=ROOT,
                env=self.environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ended(self) -> int | None:
        """The exit code if the process has ended since the last call."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        self.process = None
        self.exits.append(code)
        return code

    def arm(self, failpoint: str) -> None:
        (self.faults / failpoint).touch()

    def is_armed(self, failpoint: str) -> bool:
        return (self.faults / failpoint).exists()

    async def has_failed(self, failpoint: str, within_s: float = 150.0) -> None:
        """Return when the process has come to a failpoint that was armed."""
        async with asyncio.timeout(within_s):
            while self.is_armed(failpoint):  # noqa: ASYNC110 - the file's disappearance is all that tells
                await asyncio.sleep(0.02)

    def end(self, number: signal.Signals, within_s: float = 30.0) -> int:
        """Signal the process and wait until it has ended."""
        assert self.process is not None
        # Ours from here: whoever revives workers that have ended must not start a second one.
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            code = process.wait(within_s)
        finally:
            process.kill()
        self.exits.append(code)
        return code

    def wipe(self) -> int:
        """Lose the disk; return how many files there were."""
        files = sum(1 for path in self.datadir.rglob("*") if path.is_file())
        shutil.rmtree(self.datadir)
        return files


def incomplete_rewinds(said: str) -> list[str]:
    """Compare what a worker's log announces of each partition with what it says once that is done.

    >>> began = "users/1: restored 2 changelog records in 0.1 s; rewinding {'a': 2, 'b': 1}"
    >>> lines = [{"pid": 7, "event": began}, {"pid": 7, "event": "users/1: live; rewound 2 records"}]
    >>> incomplete_rewinds("\\n".join(map(json.dumps, lines)))
    ['users/1: 2 of 3']
    """
    announced: dict[tuple[int, str], int] = {}
    """By process, as one may die before it is done, and partition."""
    found = []
    for line in said.splitlines():
        if not (ANNOUNCED.search(line) or DONE.search(line)):
            continue
        told = json.loads(line)
        if began := ANNOUNCED.search(told["event"]):
            announced[told["pid"], began[1]] = sum(map(int, re.findall(r": (\d+)", began[2])))
        elif done := DONE.search(told["event"]):
            wanted = announced.pop((told["pid"], done[1]), None)
            if wanted not in (None, int(done[2])):
                found.append(f"{done[1]}: {done[2]} of {wanted}")
    return found


class Cluster:
    """All workers of one run."""

    def __init__(self, directory: Path, settings: Settings, jobs: dict[str, int]) -> None:
        self.directory = directory
        self.settings = settings
        directory.mkdir(parents=True, exist_ok=True)
        self.config = directory / "rtexp.toml"
        self.config.write_text(as_toml(settings))
        environ = {k: v for k, v in os.environ.items() if not k.startswith("RTEXP_")}
        environ |= {"RTEXP_CONFIG": str(self.config), "PYTHONUNBUFFERED": "1"}
        self.environ = environ
        self.workers = {
            f"{job}-{n}": Worker(f"{job}-{n}", job, directory, environ)
            for job, count in jobs.items()
            for n in range(1, count + 1)
        }

    async def prepare(self, experiments: Iterable[Experiment]) -> None:
        await create_topics(self.settings)
        with opened(self.settings.store) as engine:
            upgrade(engine)
            with writing_alone(engine) as connection:
                load(
                    connection,
                    list(experiments),
                    pipeline=self.settings.pipeline,
                    now_ms=int(time.time() * 1000),
                )

    def start(self, *names: str) -> None:
        for name in names or self.workers:
            self.workers[name].start()

    def revive(self) -> dict[str, int]:
        """Start whoever has ended again; return their exit codes."""
        ends = {name: code for name, worker in self.workers.items() if (code := worker.ended()) is not None}
        for name in ends:
            self.workers[name].start()
        return ends

    def rewinds(self) -> int:
        """How many records recoveries have run again, as their logs say."""
        return sum(
            int(found[1]) for worker in self.workers.values() for found in REWOUND.finditer(worker.said)
        )

    def incomplete_rewinds(self) -> list[str]:
        """Rewinds of users that came to their end, and were shorter than what had been announced."""
        return [line for worker in self.workers.values() for line in incomplete_rewinds(worker.said)]

    def stop(self) -> None:
        for worker in self.workers.values():
            if worker.process is not None:
                worker.process.send_signal(signal.SIGCONT)
                worker.process.kill()
                worker.process.wait()

    async def command(self, *words: str, within_s: float = 180.0) -> str:
        """Run `rtexp`; fail with what it said unless it succeeds."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "rtexp",
            "--config",
            str(self.config),
            *words,
            env=self.environ,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(within_s):
            out, _ = await process.communicate()
        assert process.returncode == 0, f"rtexp {' '.join(words)}: {out.decode()}"
        assert out, "a command that says nothing has done nothing"
        return out.decode()
