"""Cells in SQL: absolute rows, each as new as its sequence; and reading them back for an export."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from rtexp.store.schema import cells
from rtexp.store.upserts import batches, upsert_newer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

READ_ROWS = 1_000
KEY_COLUMNS = 5


class CellRow(NamedTuple):
    """One row of ``cells``, in the order of its columns; see the contract for what each counts."""

    experiment: str
    period_start_ms: int
    group_name: str
    event: str
    """Empty for the row that carries exposures."""
    bucket_start_ms: int
    volume: int
    actors: int
    sum_squares: int
    exposures: int
    multiple_exposures: int
    sketch: bytes | None
    sequence: int
    """Next offset of the partials partition up to which these values count; a higher one is newer."""


def upsert_cells(connection: Connection, rows: Iterable[CellRow]) -> None:
    """Write rows over stored ones of the same key, except where the stored sequence is higher.

    So an owner that has lost its partition, and writes late, changes nothing. No key twice in ``rows``.
    """
    for batch in batches(rows, key_columns=KEY_COLUMNS, size=lambda row: len(row.sketch or b"")):
        upsert_newer(connection, cells, batch)


def read_cells(connection: Connection, *, experiment: str | None = None) -> Iterator[CellRow]:
    """Yield rows in order of their key, names byte for byte; of one experiment, or of all.

    Rows are fetched as they are taken, so the connection's transaction must outlive the iterator.
    """
    statement = select(cells).order_by(*cells.primary_key)
    if experiment is not None:
        statement = statement.where(cells.c.experiment == experiment)
    for row in connection.execute(statement, execution_options={"yield_per": READ_ROWS}):
        yield CellRow(*row)
