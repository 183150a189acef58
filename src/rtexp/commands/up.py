"""`rtexp up`: everything on this machine, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import click

from rtexp.local.merged_log import MergedLog, childs_form
from rtexp.local.signals import run_until_signalled
from rtexp.local.supervisor import OWN_NAME
from rtexp.local.system import JOBS, ONE_OF_EACH, local_system
from rtexp.logs import is_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rtexp.commands.context import Context

MAX_WORKERS = 64


class WorkerCounts(click.ParamType):
    """``ingest=1,aggregate=3``: jobs that aren't named have one worker."""

    name = "job=n,…"

    def convert(
        self,
        value: str | Mapping[str, int],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Mapping[str, int]:
        """Return how many workers each job has."""
        if not isinstance(value, str):
            return value
        counts = dict(ONE_OF_EACH)
        for item in value.split(","):
            job, _, number = item.strip().partition("=")
            if job not in JOBS or not number.isascii() or not number.isdigit() or int(number) > MAX_WORKERS:
                jobs = ", ".join(JOBS)
                self.fail(
                    f"{item!r} is no job and number: jobs are {jobs}; up to {MAX_WORKERS} workers", param, ctx
                )
            counts[job] = int(number)
        return counts


@click.command()
@click.option(
    "--workers",
    type=WorkerCounts(),
    default=ONE_OF_EACH,
    show_default="one of each",
    help="How many of each job: ingest, aggregate, results.",
)
@click.pass_obj
def up(context: Context, *, workers: Mapping[str, int]) -> None:
    """Run everything on this machine: Kafka if none answers, tables, topics, workers, pages.

    What dies is started again; Ctrl-C stops all of it cleanly. Data stays in the data directory.

    Example: rtexp up --workers aggregate=2
    """
    # A log that nobody reads any more ends the system like Ctrl-C, as it does other programs in a pipe.
    as_json = is_json(context.settings.log, sys.stdout)
    log = MergedLog(sys.stdout, on_gone=lambda: signal.raise_signal(signal.SIGTERM), as_json=as_json)
    asyncio.run(
        run_until_signalled(
            _run(context, workers, log, environ={**os.environ, **childs_form(as_json=as_json)}),
            on_signal=lambda: log(OWN_NAME, "stopping: first the workers, then the broker"),
        )
    )
    log(OWN_NAME, "stopped")


async def _run(
    context: Context,
    workers: Mapping[str, int],
    log: Callable[[str, str], None],
    *,
    environ: Mapping[str, str],
) -> None:
    async with local_system(
        context.settings, context.config_path, workers=workers, on_line=log, environ=environ
    ):
        log(OWN_NAME, "running; Ctrl-C stops")
        await asyncio.Event().wait()
