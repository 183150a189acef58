"""One broker for all integration tests of a session; each takes topics of its own, by a prefix of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.brokers import PrivateBroker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of a broker that is there for the whole session."""
    with PrivateBroker(tmp_path_factory.mktemp("broker") / "kafka") as private:
        yield private.address
