"""`rtexp wait`: until all that was sent has been counted and published."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import click

from rtexp.local.positions import kafka_observer
from rtexp.local.progress import told
from rtexp.local.waiting import HeldBack, wait_until_counted

if TYPE_CHECKING:
    from rtexp.commands.context import Context
    from rtexp.local.waiting import Waited
    from rtexp.settings import Settings


@click.command()
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0),
    default=600,
    show_default=True,
    metavar="S",
    help="Give up after so many seconds, with exit code 1.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the time taken and the actions held as JSON.")
@click.pass_obj
def wait(context: Context, *, timeout_seconds: float, as_json: bool) -> None:
    """Return when all records that stand in the raw topics now have been counted, and their cells are in SQL.

    With `clock = "records"` it also ends when nothing can advance: it says then how many actions wait for a
    later marker of the watermark.

    Example: rtexp wait --timeout 120
    """
    waited = asyncio.run(wait_for_all(context.settings, timeout_seconds))
    if as_json:
        click.echo(json.dumps({"seconds": round(waited.seconds, 3), "held_actions": waited.held_actions}))
        return
    click.echo(f"counted and published after {waited.seconds:.1f} s")
    if waited.held_actions:
        click.echo(
            f"{waited.held_actions:,} actions wait for a later marker: a further replay brings it, or --final"
        )


async def wait_for_all(settings: Settings, timeout_seconds: float) -> Waited:
    """Wait, showing on standard error what is waited for."""
    held_back = None
    if settings.pipeline.clock == "records":
        held_back = HeldBack(settings.kafka.topic("filtered-actions"))
    with told(sys.stderr) as show:
        async with kafka_observer(settings) as observer:
            return await wait_until_counted(
                observer, held_back, timeout_seconds=timeout_seconds, progress=show
            )
