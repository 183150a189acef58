"""Where the time of running processes goes, sampled from outside by py-spy (a development dependency)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rtexp.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SAMPLES_A_SECOND = 100
STOP_SECONDS = 20.0


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
    lock. None: do nothing.
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


def hottest(folded: Path, places: int = 15) -> list[tuple[float, str]]:
    """Return the functions of our own and of libraries in which most samples ended, with their share in percent."""
    counts: dict[str, int] = {}
    total = 0
    for line in folded.read_text("utf-8").splitlines():
        stack, _, samples = line.rpartition(" ")
        place = stack.rpartition(";")[2].partition(" (")
        name = f"{place[0]} {place[2].rpartition(':')[0]}"
        counts[name] = counts.get(name, 0) + int(samples)
        total += int(samples)
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return [(100 * samples / total, name) for name, samples in ordered[:places]]
