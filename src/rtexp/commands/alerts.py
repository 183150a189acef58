"""`rtexp alerts`: deliver alerts, try the targets, and see what waits."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING

import click

from rtexp.alerts.backlog import Backlog, read_backlogs
from rtexp.alerts.notices import of_test
from rtexp.alerts.outcomes import Delivered
from rtexp.alerts.running import pages_of
from rtexp.alerts.senders import sender_of
from rtexp.bootstrap.alerts import deliver_and_serve
from rtexp.commands.text_table import iso_time, printable, text_table
from rtexp.errors import RtexpError, UsageError
from rtexp.local.lock import directory_lock
from rtexp.local.signals import run_until_signalled
from rtexp.logs import Setup, secrets_of

if TYPE_CHECKING:
    from rtexp.alerts.outcomes import Outcome
    from rtexp.commands.context import Context
    from rtexp.settings import Settings, Target


class TargetsFailed(RtexpError):  # noqa: N818 - as in rtexp.errors
    """A test message didn't get through."""

    code = "targets-failed"


@click.group()
def alerts() -> None:
    """Send alerts to the targets of [alerts], try these, and list what waits.

    Example: rtexp alerts test
    """


@alerts.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="Serve health and metrics there, instead of at [alerts] port.",
)
@click.pass_obj
def run(context: Context, *, port: int | None) -> None:
    """Deliver alerts to all targets until Ctrl-C; `rtexp up` does so too where targets are set.

    Example: rtexp alerts run
    """
    settings = context.settings
    port = settings.alerts.port if port is None else port
    _some_targets(settings, None)
    Setup(settings.log, secrets_of(settings, os.environ)).begin()
    # Two on one machine would send everything twice.
    with directory_lock(settings.data.directory / "alerts"):
        work = deliver_and_serve(settings, os.environ, port=port)
        asyncio.run(run_until_signalled(work, on_signal=lambda: None))


@alerts.command()
@click.option("--target", "name", metavar="NAME", help="This one only.")
@click.option("--json", "as_json", is_flag=True, help="Print what answered as JSON.")
@click.pass_obj
def test(context: Context, *, name: str | None, as_json: bool) -> None:
    """Send a test message to each target, whatever the hour, and say what answered.

    Example: rtexp alerts test --target ops
    """
    targets = _some_targets(context.settings, name)
    # A target may be the log, and what answered stands alone on standard output.
    logs = context.settings.log.model_copy(update={"level": "warning"})
    Setup(logs, secrets_of(context.settings, os.environ)).begin(sys.stderr)
    outcomes = asyncio.run(_test(context.settings, targets))
    told = [(target, isinstance(outcome, Delivered), _told(outcome)) for target, outcome in outcomes]
    if as_json:
        objects = [{"target": t.name, "kind": t.kind, "delivered": ok, "answer": a} for t, ok, a in told]
        click.echo(json.dumps(objects))
    else:
        for target, is_delivered, answer in told:
            click.echo(
                f"{target.name} ({target.kind}): {'delivered' if is_delivered else 'failed'}, {answer}"
            )
    if failed := [target.name for target, is_delivered, _ in told if not is_delivered]:
        raise TargetsFailed(f"no test message got to {', '.join(failed)}")


@alerts.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@click.pass_obj
def list_(context: Context, *, as_json: bool) -> None:
    """Show what each target has yet to get, and what it didn't take in the last 30 days.

    Example: rtexp alerts list
    """
    settings = context.settings
    backlogs = asyncio.run(read_backlogs(settings.kafka, _some_targets(settings, None)))
    if as_json:
        click.echo(json.dumps([backlog.as_object() for backlog in backlogs]))
        return
    for backlog in backlogs:
        click.echo(_summary(backlog))
    lost = [item for backlog in backlogs for item in backlog.undelivered]
    if lost:
        rows = [
            (iso_time(i.at_ms), i.target, i.kind, printable(i.experiment), i.reason, i.id)
            for i in sorted(lost, key=lambda item: item.at_ms)
        ]
        click.echo()
        click.echo(text_table(("at", "target", "kind", "experiment", "reason", "id"), rows))


def _some_targets(settings: Settings, name: str | None) -> list[Target]:
    known = settings.alerts.targets
    if not known:
        raise UsageError(
            "no targets are set: add [[alerts.targets]] to the configuration, see docs/alerts.md"
        )
    chosen = [target for target in known if name in {None, target.name}]
    if not chosen:
        raise UsageError(f"there is no target {name}; known are {', '.join(t.name for t in known)}")
    return chosen


async def _test(settings: Settings, targets: list[Target]) -> list[tuple[Target, Outcome]]:
    pages, now_ms = pages_of(settings), time.time_ns() // 1_000_000

    async def one(target: Target) -> tuple[Target, Outcome]:
        sender = sender_of(target)
        try:
            return target, await sender.send(of_test(target.name, now_ms, pages))
        finally:
            await sender.close()

    return list(await asyncio.gather(*map(one, targets)))


def _told(outcome: Outcome) -> str:
    return outcome.answer if isinstance(outcome, Delivered) else outcome.reason


def _summary(backlog: Backlog) -> str:
    if not backlog.has_begun:
        return f"{backlog.target} ({backlog.kind}): not begun; `rtexp up` or `rtexp alerts run` delivers"
    pending = f"{backlog.pending} to come"
    if backlog.oldest_ms is not None:
        pending += f", the oldest from {iso_time(backlog.oldest_ms)}"
    return f"{backlog.target} ({backlog.kind}): {pending}; {len(backlog.undelivered)} not taken"
