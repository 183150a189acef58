"""`rtexp replay`: files of activations and actions into the raw topics."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtexp.commands.errors import INTERRUPTED
from rtexp.commands.experiments import load_file
from rtexp.commands.text_table import iso_time
from rtexp.core.periods import periods_of, ramps_of
from rtexp.errors import UsageError
from rtexp.local.pacing import Sent, stream
from rtexp.local.progress import counted
from rtexp.local.raw_topics import refuse_unfit
from rtexp.local.raw_writer import raw_writer
from rtexp.local.readiness import wait_for_snapshot
from rtexp.local.refusals import refusals, refusals_path
from rtexp.local.replaying import Source, Survey, closing_ms, merged, shifted_to, survey
from rtexp.local.rows import TARGETS, Layout
from rtexp.local.signals import interruptible
from rtexp.local.truth import Rules
from rtexp.store.engine import opened, reading
from rtexp.store.metadata import read_experiments
from rtexp.store.migrate import check_revision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtexp.commands.context import Context
    from rtexp.local.raw_records import Kind
    from rtexp.local.signals import Interruption
    from rtexp.settings import Settings

FULL_SPEED = "max"


class Speed(click.ParamType):
    """A factor of real time, or ``max`` (None)."""

    name = "N|max"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Return the factor."""
        if value == FULL_SPEED:
            return None
        try:
            speed = float(value)
        except ValueError:
            speed = 0.0
        if not 0 < speed < float("inf"):
            self.fail(f"{value!r} is no number above 0, nor {FULL_SPEED}", param, ctx)
        return speed


class Columns(click.ParamType):
    """``user=userid,time=when``: from where each target comes."""

    name = "target=column,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Mapping[str, str]:
        """Return the columns by target."""
        if not isinstance(value, str):
            return dict(value)
        targets = sorted({target for of_kind in TARGETS.values() for target in of_kind})
        columns: dict[str, str] = {}
        for item in value.split(","):
            target, equals, column = item.strip().partition("=")
            if target not in targets or not equals or not column or target in columns:
                self.fail(f"{item!r} doesn't map one of {', '.join(targets)} to a column, once", param, ctx)
            columns[target] = column
        return columns


@dataclass(frozen=True, slots=True)
class _Options:
    columns: Mapping[str, str]
    arrival: str | None
    speed: float | None
    now: bool
    final: bool
    experiments: Path | None


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--activations",
    "activation_files",
    type=_FILE,
    multiple=True,
    metavar="FILE",
    help="Activations; may be given more than once.",
)
@click.option(
    "--actions",
    "action_files",
    type=_FILE,
    multiple=True,
    metavar="FILE",
    help="Actions; may be given more than once.",
)
@click.option(
    "--experiments",
    type=_FILE,
    metavar="FILE",
    help="Load this YAML before, and begin when every ingest worker knows what is in it.",
)
@click.option(
    "--columns", type=Columns(), default=(), help="Columns that aren't named like the configured fields."
)
@click.option("--arrival", metavar="COLUMN", help="Take record times from here; otherwise event times.")
@click.option(
    "--speed", type=Speed(), default=None, help="Times real time, or max. [default: max; with --now 1]"
)
@click.option("--now", is_flag=True, help="Move all times by the same, so that the first row is now.")
@click.option("--final", is_flag=True, help="Close the history: nothing can be added to any period after it.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    *,
    activation_files: tuple[Path, ...],
    action_files: tuple[Path, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Send files to the raw topics, merged in order of record time, with markers of the watermark.

    Files are CSV with a header, JSON lines or Parquet, in .gz or .zst if their names say so; they need not be sorted.
    Rows that can't be sent stand in FILE.refused.jsonl. Needs `clock = "records"` in the configuration, and topics that
    keep records of such times, as `rtexp topics create` makes them then.

    Example: rtexp replay --activations a.csv --actions b.jsonl.gz --columns time=when --final
    """
    context: Context = ctx.obj
    chosen = _Options(**options)
    _refuse_contradictions(context.settings, chosen, speed_given=_is_given(ctx, "speed"))
    sources = _sources(context.settings, chosen, {"activations": activation_files, "actions": action_files})
    surveys = [_survey(source) for source in sources]
    total = sum(surveyed.rows for surveyed in surveys)
    with interruptible() as interruption:
        sent = asyncio.run(_replay(context.settings, chosen, surveys, interruption))
    if interruption.asked and sent.rows < total:
        click.echo(_interrupted(sent, total), err=True)
        ctx.exit(INTERRUPTED)
    report = {
        "sent": sent.rows,
        "refused": {str(refusals_path(s.source.path)): s.refused for s in surveys if s.refused},
    }
    click.echo(json.dumps(report) if as_json else _as_text(report))


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


def _refuse_contradictions(settings: Settings, options: _Options, *, speed_given: bool) -> None:
    if settings.pipeline.clock != "records":
        raise UsageError(
            'a replay needs `clock = "records"` in [pipeline] of the configuration, of all workers too: with '
            "the wall clock, actions would be counted before their activations have been read"
        )
    if options.now and speed_given and (options.speed is None or options.speed > 1):
        raise UsageError("--now goes with --speed 1 or less: faster, rows would come from the future")


def _sources(settings: Settings, options: _Options, files: Mapping[Kind, Sequence[Path]]) -> list[Source]:
    sources = []
    for kind, paths in files.items():
        layout = Layout.of(settings, kind, options.columns, options.arrival)
        sources += [Source(path, layout) for path in paths]
    if not sources:
        raise UsageError("nothing to send: give --activations FILE, --actions FILE or both")
    return sources


async def _replay(
    settings: Settings, options: _Options, surveys: Sequence[Survey], interruption: Interruption
) -> Sent:
    await refuse_unfit(settings.kafka, _oldest_ms(settings, surveys, now=options.now), _now_ms())
    if options.experiments is not None:
        load_file(settings, options.experiments, now_ms=_now_ms())
        loaded_ms = _now_ms()
        click.echo("experiments loaded; waiting until every ingest worker knows them", err=True)
        await wait_for_snapshot(settings.kafka, loaded_ms)
    ends_ms = period_ends_ms(settings) if options.final else []
    return await _send(settings, options, surveys, ends_ms, interruption)


def _survey(source: Source) -> Survey:
    reading = counted(f"reading {source.path}", None, sys.stderr)
    with refusals(source.path) as refuse, reading as show:
        surveyed = survey(source, refuse, progress=show)
    order = "sorted" if surveyed.is_sorted else "not sorted by time: sorting it"
    click.echo(f"{source.path}: {surveyed.rows:,} rows, {order}", err=True)
    return surveyed


async def _send(
    settings: Settings,
    options: _Options,
    surveys: Sequence[Survey],
    ends_ms: Sequence[int],
    interruption: Interruption,
) -> Sent:
    now_ms, speed = _now_ms(), options.speed
    if options.now:
        surveys, speed = shifted_to(surveys, now_ms), options.speed or 1.0
    # At its own pace, a row that is moved to later today comes when it is due.
    records = merged(surveys, latest_ms=None if options.now else now_ms)
    total = sum(surveyed.rows for surveyed in surveys)

    def stopping() -> bool:
        interruption.begun = True
        return interruption.asked

    async with raw_writer(settings) as writer:
        with counted("sending", total, sys.stderr) as show:
            sent = await stream(
                records, writer, speed=speed, progress=lambda sent: show(sent.rows), stopping=stopping
            )
        last_ms = sent.newest_ms or 0
        if options.final and sent.rows == total:
            rules = Rules.of(settings)
            last_ms = closing_ms(last_ms, ends_ms, grace_ms=rules.grace_ms, join_delay_ms=rules.join_delay_ms)
        if last_ms:
            await writer.mark(last_ms)
    return sent


def _oldest_ms(settings: Settings, surveys: Sequence[Survey], *, now: bool) -> dict[str, int]:
    """Return the least record time of what goes to each topic."""
    topics = {"actions": settings.actions.topic, "activations": settings.activations.topic}
    oldest_ms: dict[str, int] = {}
    for surveyed in surveys:
        first_ms = _now_ms() if now else surveyed.first_ms
        if first_ms is not None:
            topic = topics[surveyed.source.layout.kind]
            oldest_ms[topic] = min(first_ms, oldest_ms.get(topic, first_ms))
    return oldest_ms


def period_ends_ms(settings: Settings) -> list[int]:
    """Return when the periods of all experiments end, as SQL knows them now."""
    period_ms = Rules.of(settings).period_ms
    with opened(settings.store) as engine:
        check_revision(engine)
        with reading(engine) as connection:
            experiments = read_experiments(connection)
    ends = []
    for experiment in experiments:
        ramps = ramps_of([(a.group, a.percent, a.at_ms) for a in experiment.allocations])
        ends += [end_ms for _, end_ms in periods_of([at_ms for _, at_ms in ramps], period_ms)]
    return ends


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _interrupted(sent: Sent, total: int) -> str:
    if sent.newest_ms is None:
        return f"interrupted: none of {total:,} rows sent"
    return (
        f"interrupted: {sent.rows:,} of {total:,} rows sent, in order of record time up to {iso_time(sent.newest_ms)}; "
        "they will be counted, and twice if they are sent again"
    )


def _as_text(report: Mapping[str, Any]) -> str:
    refused = [f"{count:,} rows refused: see {path}" for path, count in report["refused"].items()]
    return "\n".join([f"{report['sent']:,} rows sent", *refused])
