"""What is MySQL's and MariaDB's own: the session that we want, what their errors mean, and a lock by name.

One URL serves both, ``mysql+pymysql://``; which of the two answers is known after the first connection.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, exc, func, select

from rtexp.errors import ConfigError, StoreRefused, StoreUnavailable
from rtexp.settings import read_secret
from rtexp.store.urls import masked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import URL, Connection, Dialect, Engine
    from sqlalchemy.exc import DBAPIError

OLDEST_MYSQL, OLDEST_MARIADB = (8, 0, 19), (10, 6)
"""MySQL names the new row of an upsert from here on; in both from here on no statement leaves half a table."""

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60.0
"""A server that was cut off from us, and so never answers, is given up after this."""

_SESSION = {
    "default_storage_engine": "InnoDB",  # also of Alembic's own table, which we don't declare
    "time_zone": "+00:00",
}
_SQL_MODE = "TRADITIONAL"
"""Strict: what doesn't fit is an error and never cut off. It also keeps out what a server's own mode may have
that changes how our text is read (ANSI_QUOTES, NO_BACKSLASH_ESCAPES)."""

_REFUSED = {
    1044: "grant the user all privileges on the database",
    1045: "check user, password and the host that the user may come from",
    1049: "create it: CREATE DATABASE {database}",
    1130: "the server takes no connection from this machine: create the user for its address",
    1142: "grant the user all privileges on the database",
    1143: "grant the user all privileges on the database",
    1227: "grant the user all privileges on the database",
    1698: "the user logs in without a password on the server's machine only: create one with a password",
}
"""By number of the server's error, what a person must do; nothing we do again would help."""

_NO_SUCH_TABLE = 1146
"""Seen while a backup is put back; the driver calls it a fault of the statement."""


def is_mysql(dialect: Dialect) -> bool:
    """Return whether this is MySQL or MariaDB."""
    return dialect.name == "mysql"


def make(
    url: URL,
    password_file: Path | None,
    *,
    busy_seconds: float,
    answer_seconds: float | None,
    section: str = "store",
) -> Engine:
    """Return the engine of a database on a server; nothing connects yet.

    ConfigError if the password can't be read, which is named by ``section`` of the settings.
    """
    wait_seconds = max(1, math.ceil(busy_seconds))
    session = {**_SESSION, "innodb_lock_wait_timeout": wait_seconds, "lock_wait_timeout": wait_seconds}
    engine = create_engine(
        # One driver name for both, so that what is said of the dialect `mysql` holds for both.
        url.set(drivername="mysql+pymysql"),
        hide_parameters=True,  # 500 rows of them help nobody
        pool_pre_ping=True,  # the server drops idle connections, and all of them when it restarts
        # Upserts then lock the rows that they write and no gaps between, so that workers don't block each other.
        isolation_level="READ COMMITTED",
        connect_args={
            "charset": "utf8mb4",
            "sql_mode": _SQL_MODE,
            "init_command": "SET " + ", ".join(f"SESSION {k} = {v!r}" for k, v in session.items()),
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": answer_seconds,
            "write_timeout": answer_seconds,
        },
    )
    _log_in(engine, password_file, f"[{section}] password_file")
    return engine


def limit_to_reading(engine: Engine, *, seconds: float, rows: int) -> None:
    """Let every session of an engine only read, for ``seconds`` a statement, and no more than ``rows`` of its rows.

    A statement with a LIMIT of its own yields as many as that says.
    """

    def limit(connection: Any, _record: Any) -> None:
        is_mariadb = "mariadb" in connection.get_server_info().lower()
        time_limit = (
            f"max_statement_time={seconds:g}" if is_mariadb else f"max_execution_time={seconds * 1000:.0f}"
        )
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            cursor.execute(f"SET SESSION sql_select_limit={rows}, SESSION {time_limit}")

    event.listen(engine, "connect", limit)


def _log_in(engine: Engine, password_file: Path | None, key: str) -> None:
    if password_file is not None:
        read_secret(key, password_file)  # missing at the start, it is a fault of the configuration; later not

    def log_in(_dialect: Any, _record: Any, _args: Any, options: dict[str, Any]) -> None:
        password = options.get("password", "")
        if password_file is not None:
            try:
                password = read_secret(key, password_file)
            except ConfigError as error:
                raise StoreUnavailable(str(error)) from error
        options["password"] = password.encode()  # left to the driver, it would become latin1

    event.listen(engine, "do_connect", log_in)


def unavailable(url: URL, error: DBAPIError) -> StoreUnavailable | None:
    """Return what an error means to those who may try again; None if it is a fault of ours."""
    number, text = told(error)
    isnt_ours = isinstance(error, exc.OperationalError | exc.InterfaceError | exc.InternalError)
    if not isnt_ours and number != _NO_SUCH_TABLE:
        return None
    place = f"{masked(url)}: {text}"
    if act := _REFUSED.get(number):
        return StoreRefused(f"{place}: {act.format(database=url.database)}")
    return StoreUnavailable(place)


def told(error: DBAPIError) -> tuple[int, str]:
    """Return the number of a server's error, 0 if it has none, and its text."""
    arguments = error.orig.args if error.orig else ()
    if arguments and isinstance(arguments[0], int):
        return arguments[0], f"error {arguments[0]}, {' '.join(map(str, arguments[1:]))}"
    return 0, str(error.orig)


def check_server(connection: Connection) -> None:
    """Return if the server is new enough; ConfigError otherwise."""
    dialect: Any = connection.dialect
    found = dialect.server_version_info
    name, oldest = ("MariaDB", OLDEST_MARIADB) if dialect.is_mariadb else ("MySQL", OLDEST_MYSQL)
    if found < oldest:
        raise ConfigError(
            f"{masked(connection.engine.url)} is {name} {_version(found)}: "
            f"rtexp needs {_version(oldest)} or newer"
        )


def _version(numbers: tuple[Any, ...]) -> str:
    return ".".join(map(str, numbers))


@contextmanager
def named_lock(connection: Connection, seconds: float) -> Iterator[None]:
    """Hold the one lock of this database, for a connection that isn't in a transaction; StoreUnavailable if taken.

    No transaction could hold it: MySQL commits before and after each statement that changes a table's form.
    """
    # The server keeps these locks for all databases together, by names of at most 64 characters.
    database = connection.engine.url.database or ""
    name = f"rtexp {blake2b(database.encode(), digest_size=16).hexdigest()}"
    try:
        got = connection.scalar(select(func.get_lock(name, math.ceil(seconds))))
        connection.commit()
        if got != 1:
            raise StoreUnavailable(
                f"{masked(connection.engine.url)}: another process upgrades it or loads experiments: "
                "try again when that has ended"
            )
        yield
    finally:
        connection.invalidate()  # closes it: that gives the lock back, whatever has happened
