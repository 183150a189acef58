"""HEAD, for all that answers to GET: proxies and monitors ask so, and FastAPI's routes don't know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Receive, Scope, Send


class HeadAsGet:
    """Lets routes answer HEAD as they would GET; the server sends no body to a request that was HEAD."""

    def __init__(self, app: ASGIApp, *, endless: Collection[str]) -> None:
        """``endless`` are paths of event streams: they never end, so they have no HEAD."""
        self._app = app
        self._endless = endless

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope["method"] == "HEAD" and scope["path"] not in self._endless:
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
