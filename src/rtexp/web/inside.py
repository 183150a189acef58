"""Pages as the routes make them, asked for from inside: without a server, a gate and answers to faults."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.datastructures import Headers

from rtexp.web.problems import Problem

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Message, Scope


class Pages:
    """Makes a page from its address; whoever asks must have been let in."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._routes = AsyncExitStackMiddleware(app.router)

    async def get(self, page: str) -> str:
        """Return the HTML of a path and query, as they stand in an address, without the base path.

        Raises what its route does; Problem if there is no such page.
        """
        path, _, query = page.partition("?")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "server": None,
            "client": None,
            "headers": [],
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "app": self._app,
        }
        status, headers, body = 0, Headers(), b""

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status, headers, body
            if message["type"] == "http.response.start":
                status, headers = message["status"], Headers(raw=message["headers"])
            else:
                body += message.get("body", b"")

        await self._routes(scope, receive, send)
        if status != HTTPStatus.OK or not headers.get("content-type", "").startswith("text/html"):
            raise Problem(404, "not-a-page", "page: expected the path and query of a page")
        return body.decode()
