"""One broker and one SQL server for all integration tests of a session; each takes topics and a database of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import sql_servers
from tests.brokers import PrivateBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sql_servers import SqlServer

    from rtexp.settings import StoreSettings

    NewStore = Callable[[], StoreSettings | None]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of a broker that is there for the whole session."""
    with PrivateBroker(tmp_path_factory.mktemp("broker") / "kafka") as private:
        yield private.address


@pytest.fixture(scope="session")
def sql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlServer]:
    """A server for databases, there for the whole session."""
    with sql_servers.sql_server(tmp_path_factory.mktemp("sql") / "mariadb") as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "server"])
def new_store(request: pytest.FixtureRequest) -> NewStore:
    """Return how to get a database of one's own; None is a SQLite file in the run's directory."""
    if request.param == "sqlite":
        return lambda: None
    server: SqlServer = request.getfixturevalue("sql_server")
    return lambda: server.database().settings
