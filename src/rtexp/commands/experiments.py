"""`rtexp experiments`: what is measured."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtexp.errors import UsageError
from rtexp.store.definitions import parse_definitions
from rtexp.store.engine import opened, writing_alone
from rtexp.store.metadata import Loaded, load
from rtexp.store.migrate import check_revision

if TYPE_CHECKING:
    from rtexp.commands.context import Context
    from rtexp.settings import Settings


@click.group()
def experiments() -> None:
    """Define experiments, their groups and allocations.

    Example: rtexp experiments load experiments.yaml
    """


@experiments.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print what was added as JSON.")
@click.pass_obj
def load_command(context: Context, file: Path, *, as_json: bool) -> None:
    """Add the experiments, groups and allocations of a YAML FILE that aren't stored yet.

    What is stored stays as it is, so loading a file twice adds nothing the second time. A file that
    contradicts what is stored is refused as a whole.

    Example: rtexp experiments load experiments.yaml
    """
    loaded = load_file(context.settings, file, now_ms=time.time_ns() // 1_000_000)
    if as_json:
        click.echo(json.dumps(loaded._asdict()))
    else:
        added = ", ".join(f"{count} {what}" for what, count in loaded._asdict().items())
        click.echo(f"added: {added}")


def load_file(settings: Settings, file: Path, *, now_ms: int) -> Loaded:
    """Load a YAML file into the configured database; UsageError names the file and the fault."""
    try:
        definitions = parse_definitions(file.read_text(encoding="utf-8"))
        with opened(settings.store) as engine:
            check_revision(engine)
            with writing_alone(engine) as connection:
                return load(connection, definitions, pipeline=settings.pipeline, now_ms=now_ms)
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8 (at byte {error.start})") from None
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
