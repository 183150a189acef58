"""A worker's web server, really listening, and what it answers."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp

from rtexp.settings import WebSettings
from rtexp.web.address import read_token
from rtexp.worker_web.server import WorkerServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

TOKEN = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    text: str


def conf(bind: str = "127.0.0.1", port: int = 0) -> Any:
    return SimpleNamespace(web_bind=bind, web_port=port, web_host=socket.gethostname())


def make_server(at: Any = None, *, token: str = "") -> WorkerServer:
    environ = {"RTEXP_WEB_TOKEN": token} if token else {}
    at = at or conf()
    return WorkerServer(
        at, lambda: at.web_port, read_token=lambda host: read_token(WebSettings(), environ, host=host)
    )


@asynccontextmanager
async def serving(server: WorkerServer) -> AsyncIterator[Callable[..., Any]]:
    """Serve, and give what asks for a path: ``await ask("/x", method="HEAD", headers=…)``."""
    await server.start()
    async with aiohttp.ClientSession() as session:

        async def ask(path: str, method: str = "GET", **options: Any) -> Answer:
            async with session.request(
                method, f"{server.url}{path}", allow_redirects=False, **options
            ) as given:
                return Answer(given.status, given.headers, await given.text())

        try:
            yield ask
        finally:
            await server.stop()
