"""`/metrics`, for Prometheus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rtexp.metrics.exposition import Exposition

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def metrics(exposition: Exposition) -> Handler:
    """Return what answers a scrape: with values of one moment, made into text beside the worker's loop."""

    async def handler(request: web.Request) -> web.StreamResponse:
        accept = request.headers.get("Accept", "")
        given = await asyncio.to_thread(exposition.encode, exposition.take(), accept)
        # As a header, for aiohttp takes the parts of a type one by one.
        return web.Response(body=given.body, headers={"Content-Type": given.content_type})

    return handler
