"""`rtexp export`: the result tables as files."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from rtexp.errors import UsageError
from rtexp.store.cells import CellRow, read_cells
from rtexp.store.csv_text import write_csv
from rtexp.store.engine import opened, reading
from rtexp.store.looks import LookRow, read_looks
from rtexp.store.migrate import check_revision
from rtexp.store.whole_file import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

    from rtexp.commands.context import Context


@click.group()
def export() -> None:
    """Write result tables to a file or to standard output.

    Example: rtexp export cells --format csv
    """


_format = click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="Form of a row.",
)
_experiment = click.option("--experiment", metavar="NAME", help="Only this experiment.")
_output = click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Replaced once the new one is complete; default: standard output.",
)


@export.command("cells")
@_format
@_experiment
@click.option(
    "--sketches", is_flag=True, help="With the column `sketch`, in base64; it is most of the bytes."
)
@_output
@click.pass_obj
def cells_command(
    context: Context, form: str, experiment: str | None, output: Path | None, *, sketches: bool
) -> None:
    """Write the cells as they stand now, in order of their key: one row a group, event and bucket.

    Example: rtexp export cells --format csv --output cells.csv
    """
    columns = [name for name in CellRow._fields if sketches or name != "sketch"]
    with _reading(context) as connection, _open(output) as file:
        rows = read_cells(connection, experiment=experiment)
        _writers[form](file, columns, (_values(row, columns) for row in rows))


@export.command("looks")
@_format
@_experiment
@_output
@click.pass_obj
def looks_command(context: Context, form: str, experiment: str | None, output: Path | None) -> None:
    """Write all looks, in order of their key: one row a comparison and look, with all that it says.

    Example: rtexp export looks --format jsonl --experiment new-feed
    """
    with _reading(context) as connection, _open(output) as file:
        rows = read_looks(connection, experiment=experiment)
        _writers[form](file, list(LookRow._fields), (list(row) for row in rows))


@contextmanager
def _reading(context: Context) -> Iterator[Connection]:
    with opened(context.settings.store) as engine:
        check_revision(engine)
        with reading(engine) as connection:
            yield connection


def write_jsonl(file: IO[str], columns: list[str], rows: Iterable[list[Any]]) -> None:
    """Write one JSON object a row."""
    for row in rows:
        file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")


_writers = {"csv": write_csv, "jsonl": write_jsonl}


@contextmanager
def _open(output: Path | None) -> Iterator[IO[str]]:
    if output is None:
        # Not sys.stdout itself: its encoding is the terminal's, which may lack half of the names.
        with click.open_file("-", "w", encoding="utf-8") as file:
            yield file
        return
    try:
        with replacing(output) as file:
            yield file
    except OSError as error:
        raise UsageError(f"{output} can't be written: {error.strerror or error}") from error


def _values(row: CellRow, columns: list[str]) -> list[Any]:
    sketch = None if row.sketch is None else base64.b64encode(row.sketch).decode()
    return [sketch if name == "sketch" else getattr(row, name) for name in columns]
