"""The connection to the SQL database: one engine a process, and the kinds of transaction."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from sqlalchemy import exc
from sqlalchemy.engine import make_url

from rtexp.errors import StateError, StoreUnavailable
from rtexp.store import mysql, sqlite
from rtexp.store.urls import masked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from rtexp.errors import RtexpError
    from rtexp.settings import StoreSettings

BUSY_SECONDS = 5.0
"""How long one waits for what another process has locked; MySQL knows whole seconds only."""

_LOCK_SECONDS = 30.0


def make_engine(
    settings: StoreSettings,
    *,
    busy_seconds: float = BUSY_SECONDS,
    answer_seconds: float | None = mysql.ANSWER_SECONDS,
) -> Engine:
    """Return the engine of the configured database; connects lazily, makes the directory of a SQLite file.

    A server that says nothing for ``answer_seconds`` is taken for lost; None: never. ConfigError if the
    password can't be read, or the directory can't be made.
    """
    url = make_url(settings.url)
    if url.get_backend_name() == "sqlite":
        return sqlite.make(url, busy_seconds=busy_seconds)
    return mysql.make(url, settings.password_file, busy_seconds=busy_seconds, answer_seconds=answer_seconds)


@contextmanager
def opened(
    settings: StoreSettings, *, answer_seconds: float | None = mysql.ANSWER_SECONDS
) -> Iterator[Engine]:
    """Make the engine for a short time: its connections are closed at the end."""
    engine = make_engine(settings, answer_seconds=answer_seconds)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that sees one moment of the database, and blocks nobody.

    StoreUnavailable if the database doesn't answer.
    """
    # SQLite's transactions see one moment by themselves, and can't be asked for it in these words.
    options = {"isolation_level": "REPEATABLE READ"} if mysql.is_mysql(engine.dialect) else {}
    with (
        available(engine),
        engine.connect().execution_options(**options) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction for reads and writes: committed at the end, rolled back by any exception.

    Others may change what it has read; `writing_alone` keeps them off. StoreUnavailable if the database
    doesn't answer, is locked, full or read-only: then nothing has been written, or, if the answer to the
    commit was lost, perhaps all of it. So write what may be written twice.
    """
    with (
        available(engine),
        engine.connect().execution_options(rtexp_writes=True) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def writing_alone(engine: Engine) -> Iterator[Connection]:
    """Open a transaction as `writing` does, beside which no other process has one of this kind.

    For the few writes that rest on reads: definitions, and the form of tables.
    """
    with available(engine), engine.connect().execution_options(rtexp_writes=True) as connection:
        # SQLite has one writer at a time anyway.
        alone = (
            mysql.named_lock(connection, _LOCK_SECONDS) if mysql.is_mysql(engine.dialect) else nullcontext()
        )
        with alone, connection.begin():
            yield connection


@contextmanager
def available(engine: Engine) -> Iterator[None]:
    """Turn what a driver raises into StoreUnavailable, or what else it means."""
    try:
        yield
    except exc.TimeoutError as error:
        raise StoreUnavailable(f"{masked(engine.url)}: all connections are in use") from error
    except exc.DBAPIError as error:
        if (meant := _meant(engine, error)) is None:
            raise  # a constraint or bad SQL is a fault of ours
        raise meant from error


def _meant(engine: Engine, error: exc.DBAPIError) -> RtexpError | None:
    if mysql.is_mysql(engine.dialect):
        return mysql.unavailable(engine.url, error)
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        return StoreUnavailable(f"{masked(engine.url)}: {error.orig}")
    if type(error) is exc.DatabaseError:  # not one of its kinds
        return StateError(f"{masked(engine.url)} can't be read as a database: {error.orig}")
    return None
