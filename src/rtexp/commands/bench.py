"""`rtexp bench`: what an action costs, how soon it shows, how fast a worker is back, on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from rtexp.bench.accounting import calibrate
from rtexp.bench.cpu import checkpoint_seconds_for, measure_cpu
from rtexp.bench.freshness import measure_freshness
from rtexp.bench.pipeline import Stage
from rtexp.bench.profile import find_profiler, hottest
from rtexp.bench.recovery import measure_recovery
from rtexp.bench.soak import measure_soak
from rtexp.bench.takeover import measure_takeover
from rtexp.bench.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rtexp.bench.cpu import CpuFigures

SECTIONS = ("cpu", "recovery", "freshness", "takeover", "scale")
SMALL_ACTIONS = 1_000_000
SMALL_CHECKPOINT_SECONDS = 2.0
ACTIONS_OF_RECOVERY = 1_000_000


@click.command()
@click.argument("sections", nargs=-1, type=click.Choice([*SECTIONS, "soak"]))
@click.option("--actions", default=4_000_000, show_default=True, type=click.IntRange(10_000, 20_000_000))
@click.option("--users", default=200_000, show_default=True, type=click.IntRange(100, 5_000_000))
@click.option(
    "--rate", type=click.IntRange(100), help="Actions a second of freshness (10,000) and soak (5,000)."
)
@click.option("--seconds", default=60.0, show_default=True, help="How long freshness is measured.")
@click.option("--minutes", default=12, show_default=True, type=click.IntRange(6), help="How long soak takes.")
@click.option("--profile", is_flag=True, help="Also say where the CPU time goes, by job (needs py-spy).")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to keep all data and logs; otherwise a temporary place, removed afterwards.",
)
@click.pass_context
def bench(
    ctx: click.Context,
    /,
    *,
    sections: tuple[str, ...],
    actions: int,
    users: int,
    rate: int | None,
    seconds: float,
    minutes: int,
    profile: bool,
    as_json: bool,
    directory: Path | None,
) -> None:
    """Measure what an action costs, how soon it shows, and how fast a worker is back; all but soak by default.

    Each section runs a pipeline of its own, with a broker of its own, and touches nothing of yours. Costs are CPU
    time from the processes themselves, beside a calibration loop: compare figures of one machine and one run.
    Exits with 1 if any cell differs from the truth, or if memory grows in a soak.

    Example: rtexp bench cpu --actions 1000000
    """
    if profile:
        find_profiler()
    workload = Workload(users=users, actions=actions)
    with _place(directory) as place:
        measuring = _Measuring(
            place, workload, rate, seconds, minutes, profiles=place / "profiles" if profile else None
        )
        figures = asyncio.run(measuring.run(sections or SECTIONS))
        if as_json:
            click.echo(json.dumps(_plain(figures), indent=2))
        else:
            for line in _lines(figures):
                click.echo(line)
    ctx.exit(0 if measuring.is_right else 1)


@contextmanager
def _place(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="rtexp-bench-") as temporary:
        yield Path(temporary)


class _Measuring:
    def __init__(
        self,
        place: Path,
        workload: Workload,
        rate: int | None,
        seconds: float,
        minutes: int,
        *,
        profiles: Path | None,
    ) -> None:
        self._place = place
        self._workload = workload
        self._rate = rate
        self._seconds = seconds
        self._minutes = minutes
        self._profiles = profiles
        self._began = time.monotonic()
        self.is_right = True

    async def run(self, sections: tuple[str, ...]) -> dict[str, Any]:
        figures: dict[str, Any] = {"machine": _machine()}
        for section in sections:
            figures[section] = await getattr(self, f"_{section}")()
        if self._profiles is not None and self._profiles.exists():
            figures["profile"] = {
                folded.stem: {name: share for share, name in hottest(folded)}
                for folded in sorted(self._profiles.glob("*.folded"))
            }
        return figures

    def _stage(self, name: str) -> Stage:
        directory = self._place / name
        shutil.rmtree(directory, ignore_errors=True)
        return Stage(directory, os.environ, self._say)

    def _say(self, line: str) -> None:
        click.echo(f"{time.monotonic() - self._began:6.0f} s  {line}", err=True)

    def _checked(self, figures: CpuFigures) -> CpuFigures:
        self.is_right = self.is_right and figures.differing_cells == 0
        return figures

    async def _cpu(self) -> list[Any]:
        # The small run tells how long an action takes here, and so how often a checkpoint is to be taken.
        small = Workload(users=self._workload.users, actions=min(SMALL_ACTIONS, self._workload.actions))
        first = self._checked(
            await measure_cpu(small, self._stage("cpu-small"), checkpoint_seconds=SMALL_CHECKPOINT_SECONDS)
        )
        if small == self._workload:
            return [first]
        second = await measure_cpu(
            self._workload,
            self._stage("cpu"),
            checkpoint_seconds=checkpoint_seconds_for(first),
            profiles=self._profiles,
        )
        return [first, self._checked(second)]

    async def _scale(self) -> list[Any]:
        small = Workload(users=self._workload.users, actions=min(SMALL_ACTIONS, self._workload.actions))
        return [
            self._checked(
                await measure_cpu(
                    small,
                    self._stage(f"scale-{aggregates}"),
                    checkpoint_seconds=SMALL_CHECKPOINT_SECONDS,
                    aggregates=aggregates,
                )
            )
            for aggregates in (1, 2, 3)
        ]

    async def _recovery(self) -> Any:
        small = Workload(users=self._workload.users, actions=min(ACTIONS_OF_RECOVERY, self._workload.actions))
        return await measure_recovery(small, self._stage("recovery"))

    async def _freshness(self) -> Any:
        return await measure_freshness(
            self._stage("freshness"), actions_a_second=self._rate or 10_000, seconds=self._seconds
        )

    async def _takeover(self) -> Any:
        return await measure_takeover(self._stage("takeover"))

    async def _soak(self) -> Any:
        found = await measure_soak(
            self._stage("soak"), actions_a_second=self._rate or 5_000, minutes=self._minutes
        )
        self.is_right = self.is_right and found.is_flat
        return {"figures": found, "growth": found.growth(), "is_flat": found.is_flat}


def _machine() -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processors": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "calibration": calibrate(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value


def _lines(value: Any, name: str = "", depth: int = 0) -> Iterator[str]:
    """Yield figures as indented lines for people."""
    value = _plain(value) if depth == 0 else value
    indent = "  " * max(depth - 1, 0)
    if isinstance(value, Mapping):
        if name:
            yield f"{indent}{name}"
        for key, item in value.items():
            yield from _lines(item, str(key).replace("_", " "), depth + 1)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for item in value:
            yield from _lines(item, name, depth)
    else:
        shown = f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else value
        yield f"{indent}{name:<36} {shown}"
