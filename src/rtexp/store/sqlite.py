"""What is SQLite's own: a plain file, a log written ahead, and one writer at a time."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from rtexp.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine


def make(url: URL, *, busy_seconds: float) -> Engine:
    """Return the engine of a file, whose directory is made; ConfigError if it can't be."""
    _make_directory(url)
    # Parameters stay out of error messages: 500 rows of them help nobody.
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": busy_seconds})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def make_reading(url: URL, *, busy_seconds: float, seconds: float) -> Engine:
    """Return an engine that only reads a file, which must be there, for ``seconds`` a connection at most."""

    def connect() -> sqlite3.Connection:
        path = quote(str(Path(url.database or "").absolute()))
        connection = sqlite3.connect(
            f"file:{path}?mode=ro", uri=True, timeout=busy_seconds, check_same_thread=False
        )
        until = time.monotonic() + seconds
        # Called every so many steps of its machine, some milliseconds apart; true ends the statement.
        connection.set_progress_handler(lambda: time.monotonic() > until, 100_000)
        return connection

    return create_engine(url, creator=connect, hide_parameters=True, poolclass=NullPool)


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
