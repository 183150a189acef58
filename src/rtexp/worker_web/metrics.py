"""`/metrics`, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rtexp.metrics.exposition import Exposition

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def metrics(exposition: Exposition) -> Handler:
    """Return what answers a scrape, at a moment between two steps of the worker's loop."""

    async def handler(request: web.Request) -> web.StreamResponse:
        given = exposition.render(request.headers.get("Accept", ""))
        # As a header, for aiohttp takes the parts of a type one by one.
        return web.Response(body=given.body, headers={"Content-Type": given.content_type})

    return handler
