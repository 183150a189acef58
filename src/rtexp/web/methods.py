"""HEAD, for all that answers to GET: proxies and monitors ask so, and FastAPI's routes don't know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_ENDLESS = ("/events",)
"""An event stream never ends, so it has no HEAD."""


class HeadAsGet:
    """Lets routes answer HEAD as they would GET; the server sends no body to a request that was HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope["method"] == "HEAD" and not scope["path"].endswith(_ENDLESS):
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
