"""Steps of migrations that may be taken again, for databases that commit each of them by itself.

MySQL and MariaDB have no transactions around changes of a table's form. A migration that was cut off there has
taken some of its steps, and isn't noted as done; the next `rtexp db upgrade` runs it again from its beginning.
So every migration is made of steps that see for themselves whether they were taken: write new ones here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic import op
from sqlalchemy import Column, inspect

from rtexp.errors import StateError
from rtexp.store.urls import masked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.schema import SchemaItem

INNODB: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_row_format": "DYNAMIC", "mysql_charset": "utf8mb4"}
"""How MySQL keeps a table, whatever the server's defaults are: with transactions, and keys of up to 3072 bytes."""


def create_table(name: str, *items: SchemaItem) -> None:
    """Make a table unless it is there; StateError if one of this name is, but isn't ours."""
    wanted = {item.name for item in items if isinstance(item, Column)}
    bind = op.get_bind()
    inspector = inspect(bind)
    if not inspector.has_table(name):
        op.create_table(name, *items, **INNODB)
    elif {column["name"] for column in inspector.get_columns(name)} != wanted:
        raise StateError(
            f"the database {masked(bind.engine.url)} has a table {name} that isn't rtexp's: "
            "set store.url to a database of its own"
        )


def create_index(name: str, table: str, columns: Sequence[str]) -> None:
    """Make an index unless it is there."""
    if all(index["name"] != name for index in inspect(op.get_bind()).get_indexes(table)):
        op.create_index(name, table, list(columns))


def add_column(table: str, column: Column[Any]) -> None:
    """Add a column that may be NULL, unless the table has it."""
    if all(found["name"] != column.name for found in inspect(op.get_bind()).get_columns(table)):
        op.add_column(table, column)
