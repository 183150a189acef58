"""Rows of Parquet: columns of any depth, in batches, with times in the configured format."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import ParquetFile

from rtexp.errors import UsageError
from rtexp.local.rows import Refused, UnsendableError, checked_arrival_ms, made
from rtexp.local.times import from_ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal
    from pathlib import Path

    from rtexp.local.rows import Layout, Sendable
    from rtexp.settings import TimeFormat

BATCH_ROWS = 4096
BUFFER_BYTES = 1 << 18
"""Read ahead of each column; without one, all of a column's row group is in memory at once."""
_A_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
_LISTED_COLUMNS = 50


def parquet_rows(file: IO[bytes], path: Path, layout: Layout) -> Iterator[Sendable | Refused]:
    """Read the columns that raw records are made of; ``file`` must be one that can be sought in.

    Memory is bounded by rows, however large a row group is. UsageError for a file that isn't Parquet, is damaged, lacks
    a column, or has one of a type that can't be a field.
    """
    try:
        with ParquetFile(
            file,
            buffer_size=BUFFER_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
            coerce_int96_timestamp_unit="us",  # in nanoseconds, years after 2262 would become other ones
        ) as parquet:
            columns = _columns_of(parquet.schema_arrow, path, layout)
            names = sorted({column.name for column in columns.values()})
            row = 0
            for batch in parquet.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
                yield from _batch_rows(batch, row, columns, layout)
                row += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path} can't be read as Parquet: {' '.join(str(exc).split())}") from exc


class _Column(NamedTuple):
    """Where a column lies, and how its values become fields."""

    name: str
    """As the configuration or ``--columns`` has it."""
    path: tuple[str, ...]
    values: Callable[[Any], Sequence[object]]
    """From an array of its type."""


_ARRIVAL = "arrival"


def _columns_of(schema: Any, path: Path, layout: Layout) -> dict[str, _Column]:
    """Return the columns by target, that of record times among them if there is one."""
    names = {target: layout.source(target) for target in layout.paths}
    if layout.arrival is not None:
        names[_ARRIVAL] = layout.arrival
    found = {}
    for target, name in names.items():
        place, kind = _place_of(name, schema, path)
        values = _reader_of(kind, layout.time_format if target in {"time", _ARRIVAL} else None)
        if values is None:
            wanted = (
                "text, whole numbers or times" if target in {"time", _ARRIVAL} else "text or whole numbers"
            )
            raise UsageError(f"{path}: column {name!r} is of type {kind}; expected {wanted}")
        found[target] = _Column(name, place, values)
    return found


def _place_of(column: str, schema: Any, path: Path) -> tuple[tuple[str, ...], Any]:
    """Return the fields that lead to a column, and its type; a column whose name is the whole path comes first."""
    place = (column,) if column in schema.names else tuple(column.split("."))
    fields, kind = schema, None
    for name in place:
        if len(found := [field for field in fields if field.name == name]) != 1:
            problem = "more than one column" if found else "no column"
            raise UsageError(
                f"{path}: {problem} {column!r} in the file ({_listed(schema)}); "
                "map another with --columns, such as --columns time=when"
            )
        kind = found[0].type
        fields = kind if pa.types.is_struct(kind) else ()
    return place, kind


def _listed(fields: Any, front: str = "") -> str:
    names = list(_leaves(fields, front))
    more = ", …" if len(names) > _LISTED_COLUMNS else ""
    return ", ".join(names[:_LISTED_COLUMNS]) + more


def _leaves(fields: Any, front: str) -> Iterator[str]:
    for field in fields:
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type, f"{front}{field.name}.")
        else:
            yield f"{front}{field.name}"


def _batch_rows(
    batch: Any, before: int, columns: dict[str, _Column], layout: Layout
) -> Iterator[Sendable | Refused]:
    fields = [column.values(_leaf(batch, column.path)) for column in columns.values()]
    for row, values in enumerate(zip(*fields, strict=True), before + 1):
        found = dict(zip(columns, values, strict=True))
        try:
            arrival_ms = None if layout.arrival is None else checked_arrival_ms(found.pop(_ARRIVAL), layout)
            yield made(row, found, layout, arrival_ms)
        except UnsendableError as exc:
            yield Refused(row, None, str(exc))
        except UnicodeEncodeError:
            yield Refused(row, None, "not UTF-8")


def _leaf(batch: Any, path: tuple[str, ...]) -> Any:
    array = batch.column(path[0])
    for name in path[1:]:
        array = pc.struct_field(array, name)  # null where the struct is
    return array


# --- From Arrow's types to those of JSON


def _reader_of(kind: Any, time_format: TimeFormat | None) -> Callable[[Any], Sequence[object]] | None:
    """Return how an array of a type becomes fields; None if it can't. With ``time_format`` the column holds times."""
    if pa.types.is_dictionary(kind):
        inner = _reader_of(kind.value_type, time_format)
        return None if inner is None else lambda array: inner(array.dictionary_decode())
    if time_format is not None and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return lambda array: _times(array, time_format)
    return next((reader for holds, reader in _READERS if holds(kind)), None)


def _texts(array: Any) -> list[object]:
    try:
        return _plain(array)
    except UnicodeDecodeError:  # nobody checks what writers declare to be text
        return _decoded(array.cast(pa.large_binary()))


def _decoded(array: Any) -> list[object]:
    # What is no UTF-8 becomes text that no JSON can hold: its row is refused.
    return [
        None if value is None else value.decode("utf-8", "surrogateescape") for value in array.to_pylist()
    ]


def _times(array: Any, time_format: TimeFormat) -> list[object]:
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("ms"))
    a_second = _A_SECOND[array.type.unit]
    ticks = array.cast(pa.int64()).to_pylist()
    return [None if tick is None else from_ticks(tick, a_second, time_format) for tick in ticks]


def _numbers(array: Any) -> list[object]:
    return [_number(value) for value in array.to_pylist()]


def _number(value: Decimal | None) -> int | float | None:
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _plain(array: Any) -> list[object]:
    found: list[object] = array.to_pylist()
    return found


_types = pa.types
_READERS: Sequence[tuple[Callable[[Any], bool], Callable[[Any], Sequence[object]]]] = (
    (_types.is_string, _texts),
    (_types.is_large_string, _texts),
    (_types.is_string_view, _texts),
    (_types.is_binary, _decoded),  # how older writers keep text
    (_types.is_large_binary, _decoded),
    (_types.is_fixed_size_binary, _decoded),
    (_types.is_decimal, _numbers),
    (_types.is_integer, _plain),
    (_types.is_floating, _plain),
    (_types.is_boolean, _plain),
    (_types.is_null, _plain),
)
"""By type; whatever isn't here, nested ones above all, can be no field."""
