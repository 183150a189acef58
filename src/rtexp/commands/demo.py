"""`rtexp demo`: the whole system with generated data whose truth is known."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtexp.local.demo import Stage, run_demo
from rtexp.local.demo_view import showing

if TYPE_CHECKING:
    from rtexp.commands.context import Context
    from rtexp.local.demo_verdict import Verdict


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    metavar="N",
    help="Take about so long in all, then compare; otherwise it goes on until it is interrupted.",
)
@click.option("--seed", default=1, show_default=True, help="Another seed, another stream.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where it keeps everything, emptied at each start. [default: demo in the data directory]",
)
@click.option(
    "--broker",
    type=click.Choice(["local", "configured"]),
    default="local",
    show_default=True,
    help="A plain one on this machine, or that of [kafka] with its security: topics of its own, removed at the end.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the comparison as JSON, the rest on standard error."
)
@click.pass_context
def demo(
    ctx: click.Context,
    /,
    *,
    seconds: float | None,
    seed: int,
    directory: Path | None,
    broker: str,
    as_json: bool,
) -> None:
    """Run everything with a generated stream, show the results live, and compare them with the known truth.

    Five experiments: a gain, a drop, no difference, a sample ratio mismatch, and one that is ramped again. 80
    hours of simulated time go by in ten minutes, or in N seconds. Nothing of your own is touched: it has its
    own directory, topics and SQLite file. Ctrl-C ends the stream, and then compares; a second one just stops.

    Example: rtexp demo --seconds 60
    """
    context: Context = ctx.obj
    home = directory or context.settings.data.directory / "demo"
    with showing(sys.stderr if as_json else sys.stdout) as show:
        say = partial(click.echo, err=as_json)
        stage = Stage(
            context.settings,
            home,
            seconds,
            seed,
            os.environ,
            configured_broker=broker == "configured",
            say=say,
            show=show,
        )
        verdict = asyncio.run(_run(stage))
    if as_json:
        click.echo(json.dumps(verdict.numbers()))
    else:
        click.echo("\n".join(verdict.lines()))
    ctx.exit(0 if verdict.is_right else 1)


async def _run(stage: Stage) -> Verdict:
    """Run the demo; a first SIGINT or SIGTERM ends its stream, if there is one yet, the next one ends all."""
    running = asyncio.create_task(run_demo(stage))

    def on_signal() -> None:
        if stage.streaming.is_set() and not stage.stop.is_set():
            stage.say("stopping the stream, then comparing; once more stops at once")
            stage.stop.set()
        else:
            running.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    try:
        return await running
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
