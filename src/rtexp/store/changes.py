"""Whether anything was committed since one last asked, without reading what it was."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import exc, text

from rtexp.store.engine import available
from rtexp.store.mysql import is_mysql

if TYPE_CHECKING:
    from collections.abc import Hashable

    from sqlalchemy import Connection, Engine

_UPDATED = text(
    "SELECT table_name, update_time, update_time >= NOW() - INTERVAL 2 SECOND "
    "FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name"
)


class Changes:
    """Keeps one connection, over which SQLite tells whether others have committed; not for two threads at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._seen: Hashable = None

    def are_new(self) -> bool:
        """Return whether there may have been a commit since the last call; True at the first one.

        StoreUnavailable if the database doesn't answer; True again after that.
        """
        try:
            with available(self._engine):
                if self._connection is None:
                    self._connection = self._engine.connect()
                with self._connection.begin():
                    moving, found = self._version(self._connection)
        except Exception:
            self.close()
            raise
        known, self._seen = self._seen, found
        return moving or found != known

    def close(self) -> None:
        """Give the connection back."""
        self._seen = None
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(exc.SQLAlchemyError):
                connection.close()

    def _version(self, connection: Connection) -> tuple[bool, Hashable]:
        """Return what differs after a commit, and whether one may have been missed, since times have whole seconds."""
        if not is_mysql(connection.dialect):
            return False, connection.exec_driver_sql("PRAGMA data_version").scalar_one()
        if not getattr(connection.dialect, "is_mariadb", False):
            # MySQL would answer from what it knew a day ago.
            connection.exec_driver_sql("SET SESSION information_schema_stats_expiry = 0")
        rows = connection.execute(_UPDATED).all()
        return any(recent for *_, recent in rows), tuple(tuple(row[:2]) for row in rows)
