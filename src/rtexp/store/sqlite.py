"""What is SQLite's own: a plain file, a log written ahead, and one writer at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event

from rtexp.errors import ConfigError

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy import URL, Connection, Engine


def make(url: URL, *, busy_seconds: float) -> Engine:
    """Return the engine of a file, whose directory is made; ConfigError if it can't be."""
    _make_directory(url)
    # Parameters stay out of error messages: 500 rows of them help nobody.
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": busy_seconds})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _make_directory(url: URL) -> None:
    directory = Path(url.database or "").parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"[store] url: {directory} can't be made: {error.strerror}") from error


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")  # readers and the one writer don't wait for each other
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    # Left alone, the driver begins at the first INSERT, after the reads that it rests on. And a transaction
    # that asks for the write lock only after reads fails at once, without waiting, when another has written in
    # between: so writers take the lock at the start.
    writes = connection.get_execution_options().get("rtexp_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
