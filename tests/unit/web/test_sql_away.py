"""A database server that takes connections and says nothing."""

from __future__ import annotations

import socket
import time

from starlette.testclient import TestClient
from tests.unit.web.sites import HERE

from rtexp.settings import Settings, StoreSettings
from rtexp.web.app import create_app


def test_a_server_that_says_nothing_is_given_up_after_the_time_that_pages_have() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"mysql+pymysql://me@127.0.0.1:{silent.getsockname()[1]}/rtexp"
        app = create_app(Settings(store=StoreSettings(url=url)), sql_seconds=0.2)
        began = time.monotonic()
        with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
            answer = client.get("/api/v1/experiments")
        took = time.monotonic() - began
    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
    assert took < 5, "not the minute that workers wait"
