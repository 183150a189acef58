"""`rtexp experiments`: what is measured, and how it is judged."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from rtexp.commands.experiment_list import as_object as listing_as_object
from rtexp.commands.experiment_list import as_text as listing_as_text
from rtexp.commands.experiment_list import read_listing, refusal_line
from rtexp.commands.experiment_view import as_text, read_view
from rtexp.commands.text_table import iso_time, printable
from rtexp.core.buckets import HOUR_MS
from rtexp.errors import RtexpError, StoreUnavailable, UsageError
from rtexp.store.definitions import parse_definitions
from rtexp.store.engine import opened, reading, writing_alone
from rtexp.store.metadata import Contradicts, Loaded, load, periods, read_experiments
from rtexp.store.migrate import check_revision
from rtexp.store.planning import refuse_unequal_allocation
from rtexp.store.plans import read_plans
from rtexp.store.views import as_object
from rtexp.store.yaml_places import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from rtexp.commands.context import Context
    from rtexp.settings import Settings


class ExperimentsRefused(RtexpError):  # noqa: N818 - as in rtexp.errors
    """The query of others yields what can't be taken over."""

    code = "experiments-refused"


class FileLoaded(NamedTuple):
    """What a load has changed, and what it has left as it was."""

    loaded: Loaded
    frozen: dict[str, int]
    """By experiment whose plan has changed the start of its newest period that keeps the one of before."""


@click.group()
def experiments() -> None:
    """Define experiments, their groups, allocations and plans, and see what is known of them.

    Example: rtexp experiments load experiments.yaml
    """


@experiments.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print what was added as JSON.")
@click.pass_obj
def load_command(context: Context, file: Path, *, as_json: bool) -> None:
    """Add the experiments, groups and allocations of a YAML FILE that aren't stored yet, and set their plans.

    What is stored stays as it is, so loading a file twice adds nothing the second time. A plan becomes what the
    file says, but a period that has begun keeps the one that it began with. A file that contradicts itself, the
    settings or what is stored is refused as a whole.

    Example: rtexp experiments load experiments.yaml
    """
    loaded, frozen = load_file(context.settings, file, now_ms=time.time_ns() // 1_000_000)
    if as_json:
        kept = [{"experiment": name, "period_start_ms": at_ms} for name, at_ms in frozen.items()]
        click.echo(json.dumps(loaded._asdict() | {"frozen": kept}, ensure_ascii=False))
        return
    click.echo(
        f"added: {loaded.experiments} experiments, {loaded.groups} groups, {loaded.allocations} allocations"
    )
    if loaded.plans:
        click.echo(f"set: plans of {', '.join(printable(name) for name in loaded.plans)}")
    for name, at_ms in frozen.items():
        click.echo(
            f"{printable(name)}: the period that began at {iso_time(at_ms)} keeps the plan that it began with; "
            "the new one holds from the next period on"
        )


@experiments.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print all as JSON.")
@click.pass_obj
def list_command(context: Context, *, as_json: bool) -> None:
    """List all experiments: control, allocations as they are now, periods, and where they come from.

    With a query in [metadata] it also says which of its rows are refused, and why; it ends with 1 then.

    Example: rtexp experiments list
    """
    now_ms = time.time_ns() // 1_000_000
    listing = read_listing(context.settings, now_ms)
    if as_json:
        click.echo(json.dumps(listing_as_object(listing, now_ms), ensure_ascii=False, indent=2))
    else:
        click.echo(listing_as_text(listing, now_ms))
        for refusal in listing.refused:
            click.echo(refusal_line(refusal), err=True)
    if listing.fault:
        raise StoreUnavailable(listing.fault)
    if listing.refused:
        number = len({refusal.experiment for refusal in listing.refused})
        raise ExperimentsRefused(
            f"{number} of the experiments that [metadata] query yields can't be taken over as they are"
        )


@experiments.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print all as JSON.")
@click.pass_obj
def show_command(context: Context, name: str, *, as_json: bool) -> None:
    """Show an experiment: its groups, allocations and plan, its periods, and where each of them stands.

    Example: rtexp experiments show new-feed
    """
    with opened(context.settings.store) as engine:
        check_revision(engine)
        with reading(engine) as connection:
            view = read_view(connection, name, context.settings)
    now_ms = time.time_ns() // 1_000_000
    click.echo(
        json.dumps(as_object(view), ensure_ascii=False, indent=2) if as_json else as_text(view, now_ms)
    )


def load_file(settings: Settings, file: Path, *, now_ms: int) -> FileLoaded:
    """Load a YAML file into the configured database; UsageError names the file and the fault."""
    try:
        text = _read(file)
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8 (at byte {error.start})") from None
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from None
    definitions = parse_definitions(text, settings, str(file))
    found = definitions.experiments
    with opened(settings.store) as engine:
        check_revision(engine)
        try:
            with writing_alone(engine) as connection:
                loaded = load(connection, found, pipeline=settings.pipeline, now_ms=now_ms)
                _refuse_unequal_allocation(connection, {d.name for d in found}, settings, now_ms)
                return FileLoaded(loaded, _frozen(connection, loaded.plans))
        except Contradicts as error:
            place = definitions.place(error.experiment, error.key, error.allocation)
            raise UsageError(f"{definitions.document.where(place)}: {place}: {error}") from None


def _read(file: Path) -> str:
    with file.open("rb") as bytes_of:
        found = bytes_of.read(MOST_BYTES + 1)  # no more: it may be anything, /dev/zero too
    if len(found) > MOST_BYTES:
        raise UsageError(f"{file}: expected at most {MOST_BYTES >> 20} MiB: split the file")
    return found.decode()


def _refuse_unequal_allocation(
    connection: Connection, names: set[str], settings: Settings, now_ms: int
) -> None:
    period_ms = settings.pipeline.period_hours * HOUR_MS
    any_time = settings.pipeline.clock == "records"
    for experiment in read_experiments(connection):  # with what was stored before
        if experiment.name in names:
            open_ms = [start for start, end in periods(experiment, period_ms) if any_time or end > now_ms]
            # What has begun can't be helped; its looks give the reason.
            frozen = {plan.period_start_ms for plan in read_plans(connection, experiment=experiment.name)}
            refuse_unequal_allocation(experiment, [at for at in open_ms if at not in frozen], settings)


def _frozen(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    plans = {name: read_plans(connection, experiment=name) for name in names}
    return {name: stored[-1].period_start_ms for name, stored in plans.items() if stored}
