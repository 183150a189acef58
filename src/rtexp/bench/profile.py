"""Where the time of running processes goes, sampled from outside by py-spy (a development dependency)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

from rtexp.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SAMPLES_A_SECOND = 100
STOP_SECONDS = 20.0
OWN = "rtexp"
LIBRARIES = ("aiokafka", "faust", "mode", "sqlalchemy", "asyncio")


def find_profiler() -> str:
    """Return the path of py-spy; UsageError, saying how to get it, if there is none."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise UsageError("--profile needs py-spy, which isn't installed: pip install py-spy")
    return found


@contextmanager
def profiling(pids: Mapping[str, int], directory: Path | None) -> Iterator[None]:
    """Sample all processes but the broker while the block runs; write ``NAME.folded`` files into ``directory``.

    Each line of them is a stack (outermost first, ';' between) and in how many samples it held the interpreter
    lock, be it while it waited for a processor: on a busy machine shares are hints. None: do nothing.
    """
    if directory is None:
        yield
        return
    profiler = find_profiler()
    directory.mkdir(parents=True, exist_ok=True)
    options = [
        "--format",
        "raw",
        "--gil",
        "--nonblocking",
        "--rate",
        str(SAMPLES_A_SECOND),
        "--duration",
        "3600",
    ]
    running = [
        subprocess.Popen(  # noqa: S603 - our own list
            [profiler, "record", *options, "--pid", str(pid), "--output", str(directory / f"{name}.folded")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for name, pid in pids.items()
        if name != "broker"
    ]
    try:
        yield
    finally:
        for process in running:
            os.kill(process.pid, signal.SIGINT)  # it writes what it has, and ends
        for process in running:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Frame(NamedTuple):
    """A line of a stack."""

    function: str
    file: str
    """As py-spy shortens it: from the package on."""

    @classmethod
    def of(cls, text: str) -> Frame:
        """Parse what py-spy writes: ``function (file:line)``; a thread has no file, and gets ''."""
        function, _, place = text.strip().partition(" (")
        return cls(function, place.rpartition(":")[0])

    @property
    def module(self) -> str:
        """A module of ours by its path, or the package of a library; '' where it is neither."""
        parts = PurePath(self.file.removesuffix(".py")).parts
        if OWN in parts:
            return "/".join(parts[len(parts) - parts[::-1].index(OWN) - 1 :])
        return next((part for part in parts if part in LIBRARIES), "")


class Hot(NamedTuple):
    """Shares of the samples in percent, the largest first."""

    stages: dict[str, float]
    """By the innermost module of ours or library of `LIBRARIES`: numpy's time is its caller's."""
    functions: dict[str, float]
    """By the function that ran."""


def hottest(folded: Path, places: int = 15) -> Hot:
    """Read a file that `profiling` wrote."""
    stages: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in folded.read_text("utf-8").splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = [Frame.of(text) for text in stack.split(";")]
        stage = next((frame.module for frame in reversed(frames) if frame.module), "other")
        stages[stage] += int(samples)
        functions[f"{frames[-1].function} {frames[-1].file}"] += int(samples)
    return Hot(_shares(stages, places), _shares(functions, places))


def _shares(counts: Counter[str], places: int) -> dict[str, float]:
    total = counts.total()
    return {name: 100 * samples / total for name, samples in counts.most_common(places)}
