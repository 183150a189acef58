"""A database server that takes connections and says nothing."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.testclient import TestClient
from tests.unit.web.sites import HERE

from rtexp.settings import Settings, StoreSettings
from rtexp.web.app import create_app

if TYPE_CHECKING:
    from fastapi import FastAPI


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


async def _status(app: FastAPI, path: str) -> int:
    said: list[Any] = []
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        "scheme": "http", "http_version": "1.1", "asgi": {"version": "3.0"},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    await app(scope, receive, send)
    return int(said[0]["status"])


async def test_however_many_ask_whether_it_is_ready_sql_is_asked_once_at_a_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        silent.setblocking(False)
        url = f"mysql+pymysql://me@127.0.0.1:{silent.getsockname()[1]}/rtexp"
        app = create_app(Settings(store=StoreSettings(url=url)), sql_seconds=0.5)
        assert await asyncio.gather(*(_status(app, "/health/ready") for _ in range(50))) == [503] * 50
        connections = []
        with suppress(BlockingIOError):
            while True:
                connections.append(silent.accept()[0])
        for connection in connections:
            connection.close()
        assert len(connections) == 1
