"""The writes that each database spells in its own way."""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.dialects import mysql, sqlite

from rtexp.store.mysql import is_mysql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Dialect, Table

R = TypeVar("R", bound="Sequence[object]")

BATCH_ROWS = 500
BATCH_BYTES = 4 << 20
"""Of sketches or JSON in one statement. As text they may take twice as much, and a server refuses more than its
`max_allowed_packet`, which is 16 MiB on MariaDB and 64 MiB on MySQL unless someone has lowered it."""


def batches(rows: Iterable[R], *, key_columns: int, size: Callable[[R], int]) -> Iterator[list[R]]:
    """Yield the rows in order of their key, so many at a time as one statement should carry.

    The first ``key_columns`` are the key; ``size`` returns the bytes of a row where they may be many.
    """
    batch: list[R] = []
    total = 0
    # In order of the key: two writers that meet then wait for each other instead of locking each other out.
    for row in sorted(rows, key=lambda row: row[:key_columns]):  # type: ignore[arg-type,return-value] # names and numbers
        more = size(row)
        if batch and (len(batch) == BATCH_ROWS or total + more > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(row)
        total += more
    if batch:
        yield batch


def upsert_newer(
    connection: Connection, table: Table, rows: Sequence[Sequence[object]], *, guard: str = "sequence"
) -> None:
    """Write rows over stored ones of the same key, except where the stored ``guard`` is higher; one statement.

    A row has the table's columns in their order; no key comes twice. ``guard`` is a column that is never NULL.
    """
    if not rows:
        return
    if not is_mysql(connection.dialect):
        # Past SQLAlchemy's parameters by name, which take as long as SQLite itself: 4.5 us a row instead of 8.
        connection.exec_driver_sql(_sqlite_upsert(table, guard), [tuple(row) for row in rows])
    else:
        # The driver puts many rows into one statement by itself, but not with MySQL's name for the new row.
        text = _mysql_upsert(table, connection.dialect, len(rows), guard)
        connection.exec_driver_sql(text, tuple(chain.from_iterable(rows)))


def insert_if_absent(connection: Connection, table: Table, *rows: Mapping[str, object]) -> None:
    """Write each row unless there is one of its key, which then stays as it is."""
    if not rows:
        return
    if is_mysql(connection.dialect):
        # Not INSERT IGNORE, which also ignores what doesn't fit.
        key = next(iter(table.primary_key))
        connection.execute(mysql.insert(table).on_duplicate_key_update({key.name: key}), rows)
    else:
        connection.execute(sqlite.insert(table).on_conflict_do_nothing(), rows)


@cache
def _sqlite_upsert(table: Table, guard: str) -> str:
    statement = sqlite.insert(table)
    upsert = statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: statement.excluded[name] for name in _values(table)},
        where=statement.excluded[guard] >= table.c[guard],
    )
    compiled = upsert.compile(dialect=sqlite.dialect())
    assert compiled.positiontup == table.c.keys()
    return str(compiled)


def _mysql_upsert(table: Table, dialect: Dialect, rows: int, guard: str) -> str:
    before, row, after = _parts_of_mysql_upsert(table, dialect, guard)
    return before + ", ".join([row] * rows) + after


@cache
def _parts_of_mysql_upsert(table: Table, dialect: Dialect, guard: str) -> tuple[str, str, str]:
    quote = dialect.identifier_preparer.quote
    # MySQL will remove VALUES(), and MariaDB doesn't know a name for the new row.
    is_mariadb = getattr(dialect, "is_mariadb", False)
    new, name_of_new = ("VALUES({})", "") if is_mariadb else ("new.{}", " AS new")
    stored = f"{quote(table.name)}.{{}}"
    guarding = quote(guard)
    is_newer = f"{new.format(guarding)} >= {stored.format(guarding)}"
    # Assignments take place from left to right, and later ones see what earlier ones wrote. With >= the answer is
    # the same before and after the guard itself has been assigned; with > it wouldn't be.
    values = map(quote, _values(table))
    changes = ", ".join(f"{v} = IF({is_newer}, {new.format(v)}, {stored.format(v)})" for v in values)
    return (  # our own names, and a place for each value
        f"INSERT INTO {quote(table.name)} ({', '.join(map(quote, table.c.keys()))}) VALUES ",  # noqa: S608
        f"({', '.join(['%s'] * len(table.c))})",
        f"{name_of_new} ON DUPLICATE KEY UPDATE {changes}",
    )


def _values(table: Table) -> list[str]:
    return [column.name for column in table.c if not column.primary_key]
