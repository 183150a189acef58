"""The suites of the store, on a server: each test has a database of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.conftest import engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sql_servers import ServerDatabase, SqlServer

__all__ = ["engine"]


@pytest.fixture
def store(sql_server: SqlServer) -> Iterator[ServerDatabase]:
    """A database without tables."""
    yield sql_server.database()
    sql_server.clean()
