"""Experiments in other people's tables: the query of ``[metadata]``, which may only read, and not for long."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import exc
from sqlalchemy.engine import make_url

from rtexp.errors import StoreUnavailable
from rtexp.settings import StoreSettings
from rtexp.store import mysql, sqlite
from rtexp.store.engine import BUSY_SECONDS
from rtexp.store.urls import masked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

    from rtexp.settings import Settings

QUERY_SECONDS = 10.0
MOST_ROWS = 100_000
_HINTS = {
    1142: ": grant its user SELECT on the tables that the query names",
    1143: ": grant its user SELECT on the tables that the query names",
    1044: ": grant its user SELECT on the tables that the query names",
    1792: ": the query may only read",
}
"""By number of the server's error, what a person must do."""


class QueryFailed(StoreUnavailable):
    """The query yields nothing that could be read: nothing is known of the experiments until it does."""

    code = "query-failed"


class Yield(NamedTuple):
    """What a query has yielded."""

    columns: Sequence[str]
    rows: Sequence[tuple[Any, ...]]


@contextmanager
def foreign_engine(settings: Settings) -> Iterator[Engine]:
    """Make an engine for the query, which connects lazily; its connections are closed at the end."""
    engine = make_foreign_engine(settings)
    try:
        yield engine
    finally:
        engine.dispose()


def make_foreign_engine(settings: Settings, *, seconds: float = QUERY_SECONDS) -> Engine:
    """Return an engine that only reads, where the query runs; ConfigError if its password can't be read."""
    metadata = settings.metadata
    store, section = settings.store, "store"
    if metadata.url:
        store, section = StoreSettings(url=metadata.url, password_file=metadata.password_file), "metadata"
    url = make_url(store.url)
    if url.get_backend_name() == "sqlite":
        return sqlite.make_reading(url, busy_seconds=BUSY_SECONDS, seconds=seconds)
    engine = mysql.make(
        url,
        store.password_file,
        busy_seconds=BUSY_SECONDS,
        answer_seconds=seconds + mysql.CONNECT_SECONDS,
        section=section,
    )
    mysql.limit_to_reading(engine, seconds=seconds, rows=MOST_ROWS + 1)
    return engine


def run_query(engine: Engine, query: str) -> Yield:
    """Return what the query yields now; it blocks. QueryFailed, with what the database said."""
    try:
        with engine.connect().execution_options(no_parameters=True) as connection:  # a % is a %
            result = connection.exec_driver_sql(query.rstrip().rstrip(";"))
            if not result.returns_rows:
                raise _failed(engine, "it yields no rows: expected a SELECT")
            columns = list(result.keys())
            rows = [tuple(row) for row in result.fetchmany(MOST_ROWS + 1)]
    except exc.DBAPIError as error:
        number, text = mysql.told(error)
        raise _failed(engine, text + _HINTS.get(number, "")) from error
    except (exc.SQLAlchemyError, ValueError, OverflowError) as error:  # such as text in no known encoding
        raise _failed(engine, str(error)) from error
    if len(rows) > MOST_ROWS:
        raise _failed(engine, f"it yields more than {MOST_ROWS:,} rows: leave out experiments of long ago")
    return Yield(columns, rows)


def _failed(engine: Engine, what: str) -> QueryFailed:
    return QueryFailed(f"[metadata] query failed in {masked(engine.url)}: {what}")
