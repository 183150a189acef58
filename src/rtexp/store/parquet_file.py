"""Tables as Parquet."""

from __future__ import annotations

import itertools
from types import NoneType, UnionType
from typing import IO, TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from rtexp.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

GROUP_ROWS = 20_000
"""Rows that are in memory together, and make one row group."""


def missing_pyarrow() -> UsageError:
    """Return the error to raise where the library isn't installed."""
    return UsageError("Parquet needs pyarrow, which isn't installed: pip install 'rtexp[parquet]'")


def write_parquet(
    file: IO[bytes], record: type, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Write rows a group at a time; types are those of ``record``'s fields, and only what may be None is nullable.

    UsageError where pyarrow isn't installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - few need it, and it costs 0.2 s and 60 MB
        from pyarrow.parquet import ParquetWriter  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        raise missing_pyarrow() from exc
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}
    schema = pa.schema(
        [pa.field(name, kinds[kind], nullable) for name, kind, nullable in _fields(record, columns)]
    )
    with ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(rows):
            arrays = [
                pa.array(values, field.type)
                for values, field in zip(zip(*group, strict=True), schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _fields(record: type, columns: Sequence[str]) -> Iterator[tuple[str, type, bool]]:
    """Yield name, type and whether it may be None, of those fields of ``record``."""
    hints = get_type_hints(record)
    for name in columns:
        kinds = set(get_args(hints[name])) if get_origin(hints[name]) is UnionType else {hints[name]}
        (kind,) = kinds - {NoneType}
        yield name, kind, NoneType in kinds


def _groups(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    remaining = iter(rows)
    while group := list(itertools.islice(remaining, GROUP_ROWS)):
        yield group
