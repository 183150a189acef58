"""The schema's revision: bring the database to the newest, or refuse to work with another."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from rtexp.errors import ConfigError, StateError, StoreRefused
from rtexp.store import mysql
from rtexp.store.engine import reading, writing_alone
from rtexp.store.urls import masked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

MIGRATIONS = Path(__file__).parent / "migrations"


class Upgrade(NamedTuple):
    """Revisions before and after; ``before`` is None for a database without tables."""

    before: str | None
    after: str


def upgrade(engine: Engine) -> Upgrade:
    """Bring the database to the newest revision; does nothing if it is there.

    On SQLite all happens or nothing. MySQL and MariaDB know no such thing for the form of tables: what was cut
    off there is completed by the next call. ConfigError if the server doesn't let us in, or is too old;
    StateError if a newer version of rtexp has been here; StoreUnavailable if the database doesn't answer.
    """
    config = _config()
    newest = _newest(config)
    # The lock is taken before the revision is read: of two processes that upgrade, the second finds it done.
    with _first_contact(), writing_alone(engine) as connection:
        before = _revision(connection)
        if before != newest:
            _refuse_unknown(engine, config, before)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return Upgrade(before, newest)


def check_revision(engine: Engine) -> None:
    """Return if the database has the revision that this version works with.

    StateError otherwise, saying what to do; ConfigError if the server doesn't let us in, or is too old;
    StoreUnavailable if it doesn't answer.
    """
    config = _config()
    newest = _newest(config)
    with _first_contact(), reading(engine) as connection:
        found = _revision(connection)
    if found == newest:
        return
    _refuse_unknown(engine, config, found)
    have = "has no tables yet" if found is None else f"is at revision {found}, this version needs {newest}"
    raise StateError(f"the database {masked(engine.url)} {have}: run `rtexp db upgrade`")


@contextmanager
def _first_contact() -> Iterator[None]:
    """Call what the server refuses a fault of the configuration: nobody has been let in yet."""
    try:
        yield
    except StoreRefused as error:
        raise ConfigError(str(error)) from error


def _refuse_unknown(engine: Engine, config: Config, found: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StateError(
            f"the database {masked(engine.url)} is at revision {found}, which this version doesn't know: "
            "a newer rtexp has upgraded it; upgrade this rtexp too (`rtexp db upgrade` can't go back)"
        )


def _revision(connection: Connection) -> str | None:
    if mysql.is_mysql(connection.dialect):
        mysql.check_server(connection)
    return MigrationContext.configure(connection).get_current_revision()


def _newest(config: Config) -> str:
    head = ScriptDirectory.from_config(config).get_current_head()
    assert head is not None, "the package has migrations"
    return head


def _config() -> Config:
    config = Config()
    # A percent sign in a path would be taken for an interpolation.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
