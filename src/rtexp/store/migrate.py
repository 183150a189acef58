"""The schema's revision: bring the database to the newest, or refuse to work with another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from rtexp.errors import StateError
from rtexp.store.engine import masked, reading, writing

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

MIGRATIONS = Path(__file__).parent / "migrations"


class Upgrade(NamedTuple):
    """Revisions before and after; ``before`` is None for a database without tables."""

    before: str | None
    after: str


def upgrade(engine: Engine) -> Upgrade:
    """Bring the database to the newest revision, in one transaction; does nothing if it is there.

    StateError if a newer version of rtexp has been here; StoreUnavailable if the database doesn't answer.
    """
    config = _config()
    newest = _newest(config)
    # The lock is taken before the revision is read: of two processes that upgrade, the second finds it done.
    with writing(engine) as connection:
        before = _revision(connection)
        if before != newest:
            _refuse_unknown(engine, config, before)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return Upgrade(before, newest)


def check_revision(engine: Engine) -> None:
    """Return if the database has the revision that this version works with.

    StateError otherwise, saying what to do; StoreUnavailable if it doesn't answer.
    """
    config = _config()
    newest = _newest(config)
    with reading(engine) as connection:
        found = _revision(connection)
    if found == newest:
        return
    _refuse_unknown(engine, config, found)
    have = "has no tables yet" if found is None else f"is at revision {found}, this version needs {newest}"
    raise StateError(f"the database {masked(engine.url)} {have}: run `rtexp db upgrade`")


def _refuse_unknown(engine: Engine, config: Config, found: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StateError(
            f"the database {masked(engine.url)} is at revision {found}, which this version doesn't know: "
            "a newer rtexp has upgraded it; upgrade this rtexp too (`rtexp db upgrade` can't go back)"
        )


def _revision(connection: Connection) -> str | None:
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
