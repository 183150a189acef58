"""The connection to the SQL database: one engine a process, and two kinds of transaction."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, exc
from sqlalchemy.engine import make_url

from rtexp.errors import ConfigError, StateError, StoreUnavailable
from rtexp.settings import masked_url

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection, Engine

    from rtexp.settings import StoreSettings

BUSY_SECONDS = 5.0
"""How long SQLite waits for another process's transaction before it says that it is locked."""


def make_engine(settings: StoreSettings, *, busy_seconds: float = BUSY_SECONDS) -> Engine:
    """Return the engine of the configured database; connects lazily, makes the directory of a SQLite file.

    ConfigError if the directory can't be made.
    """
    url = make_url(settings.url)
    _make_directory(url)
    # Parameters stay out of error messages: 500 rows of them help nobody.
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": busy_seconds})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def opened(settings: StoreSettings) -> Iterator[Engine]:
    """Make the engine for a short time: its connections are closed at the end."""
    engine = make_engine(settings)
    try:
        yield engine
    finally:
        engine.dispose()


def masked(url: URL) -> str:
    """Return the URL as text that may be logged: without its secrets."""
    return masked_url(url.render_as_string(hide_password=True))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that sees one moment of the database, and blocks nobody.

    StoreUnavailable if the database doesn't answer.
    """
    with _available(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction for reads and writes: committed at the end, rolled back by any exception.

    What it reads, no other process changes before it ends. StoreUnavailable if the database doesn't answer,
    is locked or full; then nothing has been written.
    """
    with (
        _available(engine),
        engine.connect().execution_options(rtexp_writes=True) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def _available(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError) as error:
        raise StoreUnavailable(f"{masked(engine.url)}: {error.orig}") from error
    except exc.TimeoutError as error:
        raise StoreUnavailable(f"{masked(engine.url)}: all connections are in use") from error
    except exc.DatabaseError as error:
        if (
            type(error) is not exc.DatabaseError
        ):  # a kind of its own (a constraint, bad SQL) is a fault of ours
            raise
        raise StateError(f"{masked(engine.url)} can't be read as a database: {error.orig}") from error


def _make_directory(url: URL) -> None:
    directory = Path(url.database or "").parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"[store] url: {directory} can't be made: {error.strerror}") from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")  # readers and the one writer don't wait for each other
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    # Left alone, the driver begins at the first INSERT, after the reads that it rests on. And a transaction
    # that asks for the write lock only after reads fails at once, without waiting, when another has written in
    # between: so writers take the lock at the start.
    writes = connection.get_execution_options().get("rtexp_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
