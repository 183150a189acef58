"""The database of unit tests: a SQLite file. `tests/integration/store` runs the same suites on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.store.databases import SqliteFile, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine
    from tests.unit.store.databases import Database


@pytest.fixture
def store(tmp_path: Path) -> Database:
    """A database without tables."""
    return SqliteFile(tmp_path / "x.db")


@pytest.fixture
def engine(store: Database) -> Iterator[Engine]:
    """An engine of `store`, with tables."""
    with open_database(store) as made:
        yield made
