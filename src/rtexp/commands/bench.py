"""`rtexp bench`: what an action costs, how soon it shows, how fast a worker is back, on this machine."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtexp.bench.profile import find_profiler
from rtexp.bench.report import plain, table
from rtexp.bench.sections import ALONE, SECTIONS, Sections
from rtexp.bench.shapes import SHAPES
from rtexp.bench.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command()
@click.argument("sections", nargs=-1, type=click.Choice([*SECTIONS, *ALONE]))
@click.option(
    "--actions",
    default=4_000_000,
    show_default=True,
    type=click.IntRange(10_000, 20_000_000),
    help="How many are counted.",
)
@click.option(
    "--users",
    default=200_000,
    show_default=True,
    type=click.IntRange(100, 5_000_000),
    help="How many act, and are triggered before.",
)
@click.option(
    "--rate", type=click.IntRange(100), help="Actions a second of freshness (10,000) and soak (5,000)."
)
@click.option("--seconds", type=click.FloatRange(1), help="How long freshness (60) and soak (720) take.")
@click.option("--shape", multiple=True, type=click.Choice(tuple(SHAPES)), help="Only this one of `shapes`.")
@click.option("--profile", is_flag=True, help="Also say where the CPU time of `cpu` goes, by stage.")
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
    seconds: float | None,
    shape: tuple[str, ...],
    profile: bool,
    as_json: bool,
    directory: Path | None,
) -> None:
    """Measure what an action costs, how soon it shows, and how fast a worker is back.

    By default all sections run but shapes, which sets skewed and grown input beside even input, and soak.

    Each section runs a pipeline of its own, with a broker of its own, and touches nothing of yours. Costs are CPU
    time from the processes themselves, beside a calibration loop: compare figures of one machine and one run.
    Exits with 1 if any cell differs from the truth, or if memory grows in a soak.

    Example: rtexp bench cpu --actions 1000000
    """
    if profile:
        find_profiler()
    began = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"{time.monotonic() - began:6.0f} s  {line}", err=True)

    with _place(directory) as place:
        measuring = Sections(
            place,
            Workload(users=users, actions=actions),
            say,
            rate,
            seconds,
            profiles=place / "profiles" if profile else None,
            shapes=shape or tuple(SHAPES),
        )
        figures = plain(asyncio.run(measuring.run(sections or SECTIONS)))
    for line in [json.dumps(figures, indent=2)] if as_json else table(figures):
        click.echo(line)
    ctx.exit(0 if measuring.is_right else 1)


@contextmanager
def _place(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        yield directory.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="rtexp-bench-") as temporary:
        yield Path(temporary)
