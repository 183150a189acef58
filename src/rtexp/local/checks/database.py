"""The SQL database: whether it lets us in, its version and revision, its clock, and what we may do there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import exc, text
from sqlalchemy.engine import make_url

from rtexp.errors import RtexpError
from rtexp.local.checks.findings import Finding
from rtexp.store import mysql
from rtexp.store.engine import make_engine, reading, writing
from rtexp.store.migrate import check_revision
from rtexp.store.schema import incarnations
from rtexp.store.urls import masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from rtexp.settings import Settings

ANSWER_SECONDS = 5.0
SKEW_MS = 2_000
"""More than this much between two clocks is told."""
_NO_ONE = "rtexp check"


def database(
    settings: Settings, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
) -> list[Finding]:
    """Judge the database of ``[store]``; it blocks."""
    url = make_url(settings.store.url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        # To connect would make it.
        return [
            Finding("database", "fail", f"{masked(url)}: there is no such file yet: run `rtexp db upgrade`")
        ]
    engine = make_engine(settings.store, busy_seconds=1, answer_seconds=ANSWER_SECONDS)
    try:
        try:
            check_revision(engine)
        except RtexpError as error:
            return [Finding("database", "fail", str(error))]
        with reading(engine) as connection:
            version = _version(connection)
            found = [
                Finding(
                    "database",
                    "ok",
                    f"{masked(engine.url)} answers ({version}), its tables are as they should be",
                )
            ]
            if mysql.is_mysql(engine.dialect):  # SQLite's clock is this machine's
                found.append(_clock(connection, now_ms))
        found.append(_rights(engine))
        return found
    finally:
        engine.dispose()


def _version(connection: Connection) -> str:
    dialect = connection.dialect
    numbers = ".".join(map(str, (dialect.server_version_info or ())[:3]))
    if not mysql.is_mysql(dialect):
        return f"SQLite {numbers}" if numbers else "SQLite"
    return f"{'MariaDB' if getattr(dialect, 'is_mariadb', False) else 'MySQL'} {numbers}"


def _clock(connection: Connection, now_ms: Callable[[], int]) -> Finding:
    before = now_ms()
    said = connection.scalar(text("SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"))
    after = now_ms()
    return judge_clock("the database", int(said or 0), before, after)


def judge_clock(whose: str, said_ms: int, before_ms: int, after_ms: int) -> Finding:
    """Compare a clock that was read between two readings of ours."""
    ahead_ms = said_ms - after_ms if said_ms > after_ms else min(0, said_ms - before_ms)
    if abs(ahead_ms) <= SKEW_MS:
        return Finding("clocks", "ok", f"{whose} and this machine agree to {max(abs(ahead_ms), 1)} ms")
    where = "ahead of" if ahead_ms > 0 else "behind"
    return Finding(
        "clocks",
        "fail",
        f"the clock of {whose} is {abs(ahead_ms) / 1000:,.1f} s {where} this machine's: run NTP (chrony) on both",
    )


class _Undo(Exception):  # noqa: N818 - no error
    pass


def _rights(engine: Engine) -> Finding:
    """Insert, change and remove a row, and take all of it back."""
    key = {"changelog": _NO_ONE, "partition": 0}
    where = incarnations.c.changelog == _NO_ONE
    try:
        with writing(engine) as connection:
            connection.execute(incarnations.insert().values(**key, incarnation="x"))
            connection.execute(incarnations.update().where(where).values(incarnation="y"))
            connection.execute(incarnations.delete().where(where))
            raise _Undo  # noqa: TRY301 - rolls back
    except _Undo:
        return Finding("database", "ok", "rows may be read, added, changed and removed")
    except (RtexpError, exc.DBAPIError) as error:
        return Finding(
            "database",
            "fail",
            f"{error}: workers need SELECT, INSERT, UPDATE and DELETE on a database that can be written",
        )
