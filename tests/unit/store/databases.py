"""Databases for tests: what the suites of the store need of one, and a real SQLite file that has it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rtexp.settings import StoreSettings
from rtexp.store.cells import CellRow
from rtexp.store.engine import make_engine
from rtexp.store.migrate import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import Engine


class Database(Protocol):
    """An empty database of the test's own."""

    refusal: str
    """What an error says of a write meanwhile `refusing_writes`."""
    keeps_steps: bool
    """Whether a migration that is cut off leaves the steps that it has taken."""

    @property
    def settings(self) -> StoreSettings: ...

    def refusing_writes(self) -> AbstractContextManager[None]:
        """Meanwhile it can be read and not written."""

    def another(self) -> Database:
        """A second empty database of the same kind."""


@dataclass(frozen=True)
class SqliteFile:
    path: Path
    refusal = "locked"
    keeps_steps = False

    @property
    def settings(self) -> StoreSettings:
        return StoreSettings(url=f"sqlite:///{self.path}")

    @contextmanager
    def refusing_writes(self) -> Iterator[None]:
        """Another process's transaction, as it were, keeps everyone else from writing."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")

    def another(self) -> SqliteFile:
        return SqliteFile(self.path.with_name(f"{self.path.name}.another"))


@contextmanager
def open_database(database: Database, *, migrated: bool = True) -> Iterator[Engine]:
    """An engine that gives up on a lock soon: after 20 ms where that can be said, else after a second."""
    engine = make_engine(database.settings, busy_seconds=0.02)
    if migrated:
        upgrade(engine)
    yield engine
    engine.dispose()


def cell_row(
    experiment: str = "feed",
    group: str = "treatment",
    event: str = "click",
    bucket_start_ms: int = 900_000,
    *,
    period_start_ms: int = 0,
    volume: int = 1,
    sketch: bytes | None = b"sketch",
    sequence: int = 1,
) -> CellRow:
    return CellRow(
        experiment,
        period_start_ms,
        group,
        event,
        bucket_start_ms,
        volume,
        1,
        volume * volume,
        0,
        0,
        sketch,
        sequence,
    )
