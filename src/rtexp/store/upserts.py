"""The writes that each database spells in its own way."""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

from sqlalchemy.dialects import mysql, sqlite

from rtexp.store.mysql import is_mysql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Dialect, Table


def upsert_newer(connection: Connection, table: Table, rows: Sequence[Sequence[object]]) -> None:
    """Write rows over stored ones of the same key, except where the stored `sequence` is higher; one statement.

    A row has the table's columns in their order; no key comes twice.
    """
    if not rows:
        return
    if not is_mysql(connection.dialect):
        # Past SQLAlchemy's parameters by name, which take as long as SQLite itself: 4.5 us a row instead of 8.
        connection.exec_driver_sql(_sqlite_upsert(table), [tuple(row) for row in rows])
    else:
        # The driver puts many rows into one statement by itself, but not with MySQL's name for the new row.
        text = _mysql_upsert(table, connection.dialect, len(rows))
        connection.exec_driver_sql(text, tuple(chain.from_iterable(rows)))


def insert_if_absent(connection: Connection, table: Table, row: Mapping[str, object]) -> None:
    """Write a row unless there is one of its key, which then stays as it is."""
    if is_mysql(connection.dialect):
        # Not INSERT IGNORE, which also ignores what doesn't fit.
        key = next(iter(table.primary_key))
        insert = mysql.insert(table).values(row)
        connection.execute(insert.on_duplicate_key_update({key.name: key}))
    else:
        connection.execute(sqlite.insert(table).values(row).on_conflict_do_nothing())


@cache
def _sqlite_upsert(table: Table) -> str:
    statement = sqlite.insert(table)
    upsert = statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: statement.excluded[name] for name in _values(table)},
        where=statement.excluded.sequence >= table.c.sequence,
    )
    compiled = upsert.compile(dialect=sqlite.dialect())
    assert compiled.positiontup == table.c.keys()
    return str(compiled)


def _mysql_upsert(table: Table, dialect: Dialect, rows: int) -> str:
    before, row, after = _parts_of_mysql_upsert(table, dialect)
    return before + ", ".join([row] * rows) + after


@cache
def _parts_of_mysql_upsert(table: Table, dialect: Dialect) -> tuple[str, str, str]:
    quote = dialect.identifier_preparer.quote
    # MySQL will remove VALUES(), and MariaDB doesn't know a name for the new row.
    is_mariadb = getattr(dialect, "is_mariadb", False)
    new, name_of_new = ("VALUES({})", "") if is_mariadb else ("new.{}", " AS new")
    stored = f"{quote(table.name)}.{{}}"
    sequence = quote("sequence")
    is_newer = f"{new.format(sequence)} >= {stored.format(sequence)}"
    # Assignments take place from left to right, and later ones see what earlier ones wrote. With >= the answer is
    # the same before and after `sequence` itself has been assigned; with > it wouldn't be.
    values = map(quote, _values(table))
    changes = ", ".join(f"{v} = IF({is_newer}, {new.format(v)}, {stored.format(v)})" for v in values)
    return (  # our own names, and a place for each value
        f"INSERT INTO {quote(table.name)} ({', '.join(map(quote, table.c.keys()))}) VALUES ",  # noqa: S608
        f"({', '.join(['%s'] * len(table.c))})",
        f"{name_of_new} ON DUPLICATE KEY UPDATE {changes}",
    )


def _values(table: Table) -> list[str]:
    return [column.name for column in table.c if not column.primary_key]
