# ruff: noqa: INP001 - Alembic runs it by its path
"""Alembic's entry: runs the migrations on the connection of rtexp, or on the database of ``alembic.ini``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context

from rtexp.errors import UsageError
from rtexp.settings import StoreSettings
from rtexp.store.engine import make_engine, writing_alone
from rtexp.store.schema import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection


def run() -> None:
    """Run what Alembic was asked to run, in one transaction where the database has those."""
    if context.is_offline_mode():
        raise UsageError("rtexp's migrations look at the database: run them without --sql")
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _migrate(connection)
        return
    url = context.config.get_main_option("sqlalchemy.url")
    settings = StoreSettings() if url is None else StoreSettings(url=url)
    with writing_alone(make_engine(settings, answer_seconds=None)) as own:
        _migrate(own)


def _migrate(connection: Connection) -> None:
    # Batch mode: SQLite can't alter a column in place, so new migrations are written to copy the table.
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


run()
