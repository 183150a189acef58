"""How fast `rtexp replay` sends a file."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from rtexp.bench.pipeline import CONFIG_NAME, bench_settings, running
from rtexp.errors import FatalError

if TYPE_CHECKING:
    from pathlib import Path

    from rtexp.bench.pipeline import Stage
    from rtexp.bench.workload import Workload


class ReplayFigures(NamedTuple):
    """Of one command, its start and its first reading of the file included."""

    rows: int
    megabytes: float
    """Of JSON lines, not compressed."""
    cpu_seconds: float
    wall_seconds: float
    rows_a_second: float
    """By the clock on the wall: a replay uses one processor, and the broker another."""
    rows_a_second_and_core: float


async def measure_replay(workload: Workload, stage: Stage) -> ReplayFigures:
    """Replay the actions from a file, as the command line does, into topics that nobody reads."""
    settings = bench_settings(stage.directory)
    async with running(settings, stage.environ, workers={"ingest": 0, "aggregate": 0, "results": 0}):
        path = stage.directory / "actions.jsonl"
        stage.say(f"replay: writing a file of {workload.actions:,} rows")
        await asyncio.to_thread(_write, path, workload)
        stage.say("replay: sending it")
        began, began_cpu = time.monotonic(), _children_cpu_seconds()
        sent = await _replay(stage, stage.directory / CONFIG_NAME, path)
        wall_seconds, cpu_seconds = time.monotonic() - began, _children_cpu_seconds() - began_cpu
    if sent != workload.actions:
        raise FatalError(f"rtexp replay sent {sent} rows of {workload.actions}")
    return ReplayFigures(
        rows=sent,
        megabytes=path.stat().st_size / 1e6,
        cpu_seconds=cpu_seconds,
        wall_seconds=wall_seconds,
        rows_a_second=sent / wall_seconds,
        rows_a_second_and_core=sent / cpu_seconds,
    )


def _write(path: Path, workload: Workload) -> None:
    with path.open("wb") as file:
        file.writelines(value + b"\n" for _, _, value in workload.action_records())


async def _replay(stage: Stage, config: Path, path: Path) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rtexp", "--config", str(config), "replay", "--actions", str(path), "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in stage.environ.items() if not name.startswith("RTEXP_")},
    )  # fmt: skip
    try:
        out, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise FatalError(f"rtexp replay ended with {process.returncode}: {errors.decode()}")
    return int(json.loads(out)["sent"])


def _children_cpu_seconds() -> float:
    """Return what children that have ended have used; those that run on, such as the broker, don't count yet."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
