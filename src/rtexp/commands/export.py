"""`rtexp export`: the result tables as files."""

from __future__ import annotations

import base64
import json
import sys
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
from rtexp.store.parquet_file import write_parquet
from rtexp.store.whole_file import replacing, replacing_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
    type=click.Choice(["csv", "jsonl", "parquet"]),
    default="csv",
    show_default=True,
    help="CSV with a header, JSON lines, or Parquet.",
)
_json = click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
_experiment = click.option("--experiment", metavar="NAME", help="Only this experiment.")
_output = click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Replaced once the new one is complete; default: standard output.",
)


@export.command("cells")
@_format
@_json
@_experiment
@click.option(
    "--sketches",
    is_flag=True,
    help="With the column `sketch`, in Parquet as bytes, else in base64; it is most of them.",
)
@_output
@click.pass_obj
def cells_command(
    context: Context, form: str, experiment: str | None, output: Path | None, *, as_json: bool, sketches: bool
) -> None:
    """Write the cells as they stand now, in order of their key: one row a group, event and bucket.

    Example: rtexp export cells --format csv --output cells.csv
    """
    columns = [name for name in CellRow._fields if sketches or name != "sketch"]
    with _reading(context) as connection:
        rows = read_cells(connection, experiment=experiment)
        _write(rows, CellRow, columns, form="jsonl" if as_json else form, output=output)


@export.command("looks")
@_format
@_json
@_experiment
@_output
@click.pass_obj
def looks_command(
    context: Context, form: str, experiment: str | None, output: Path | None, *, as_json: bool
) -> None:
    """Write all looks, in order of their key: one row a comparison and look, with all that it says.

    Example: rtexp export looks --format jsonl --experiment new-feed
    """
    with _reading(context) as connection:
        rows = read_looks(connection, experiment=experiment)
        _write(rows, LookRow, LookRow._fields, form="jsonl" if as_json else form, output=output)


@contextmanager
def _reading(context: Context) -> Iterator[Connection]:
    with opened(context.settings.store) as engine:
        check_revision(engine)
        with reading(engine) as connection:
            yield connection


def _write(
    rows: Iterator[CellRow | LookRow],
    record: type[CellRow | LookRow],
    columns: Sequence[str],
    *,
    form: str,
    output: Path | None,
) -> None:
    """Write the rows as they come."""
    values = ([getattr(row, name) for name in columns] for row in rows)
    if form == "parquet":
        with _open_bytes(output) as file:
            write_parquet(file, record, columns, values)
        return
    with _open(output) as text:
        _text_writers[form](text, columns, ([_as_text(value) for value in row] for row in values))


def _as_text(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def write_jsonl(file: IO[str], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write one JSON object a row."""
    for row in rows:
        file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")


_text_writers = {"csv": write_csv, "jsonl": write_jsonl}


@contextmanager
def _open(output: Path | None) -> Iterator[IO[str]]:
    if output is None:
        # Not sys.stdout itself: its encoding is the terminal's, which may lack half of the names.
        with click.open_file("-", "w", encoding="utf-8") as file:
            yield file
        return
    with _told(output), replacing(output) as file:
        yield file


@contextmanager
def _open_bytes(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        if sys.stdout.isatty():
            raise UsageError(
                "Parquet is no text for a terminal: give --output FILE, or send it to a file or program"
            )
        with click.open_file("-", "wb") as file:
            yield file
        return
    with _told(output), replacing_bytes(output) as file:
        yield file


@contextmanager
def _told(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{output} can't be written: {error.strerror or error}") from error
