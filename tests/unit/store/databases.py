"""Real SQLite files for tests."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from rtexp.settings import StoreSettings
from rtexp.store.cells import CellRow
from rtexp.store.engine import make_engine
from rtexp.store.migrate import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine


def settings_of(path: Path) -> StoreSettings:
    return StoreSettings(url=f"sqlite:///{path}")


@contextmanager
def open_database(path: Path, *, migrated: bool = True) -> Iterator[Engine]:
    """A database that gives up on a lock after 20 ms."""
    engine = make_engine(settings_of(path), busy_seconds=0.02)
    if migrated:
        upgrade(engine)
    yield engine
    engine.dispose()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Meanwhile another process's transaction, as it were, keeps everyone else from writing."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


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
