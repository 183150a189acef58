"""The one place that puts the web application together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from rtexp.metrics.requests import CountedRequests, NotedRoute, RequestMetrics
from rtexp.store.changes import Changes
from rtexp.store.engine import make_engine
from rtexp.web import api, curves, events, health, metrics, operations, pages, state, state_page, tables
from rtexp.web.access import Gate, HostCheck
from rtexp.web.description import describe
from rtexp.web.faults import Faults
from rtexp.web.feed import Feed
from rtexp.web.headers import SafeHeaders
from rtexp.web.inside import Pages
from rtexp.web.methods import HeadAsGet
from rtexp.web.names import EncodedPaths
from rtexp.web.state_tables import StateTables
from rtexp.web.worker_client import WorkerClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rtexp.settings import Settings

WORKER_SECONDS = 1.0
"""How long a page waits for a worker."""
SQL_SECONDS = 10.0
"""How long one waits for each answer of a database server: people don't wait for as long as workers do."""


class _App(FastAPI):
    """FastAPI's application with a description of our own."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document; made once."""
        if self.openapi_schema is None:
            web = state.settings_of_app(self).web
            self.openapi_schema = describe(
                self, prefix=api.PREFIX, base_path=web.base_path, needs_token=self.state.needs_token
            )
        return self.openapi_schema


def create_app(settings: Settings, *, token: str | None = None, sql_seconds: float = SQL_SECONDS) -> FastAPI:
    """Return the application: pages, API and health over the configured database.

    With a ``token`` all but health asks for it; without, only names of this machine are answered to. Connects
    lazily, so a database that is away is no reason not to start; one that says nothing for ``sql_seconds`` counts as
    away. ConfigError if its password can't be read.
    """
    engine = make_engine(settings.store, answer_seconds=sql_seconds)
    base_path = settings.web.base_path
    site = pages.Site(base_path, has_token=token is not None)
    faults = Faults(site)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.feed.stop()
        engine.dispose()

    app = _App(
        openapi_url=f"{api.PREFIX}/openapi.json",
        docs_url=None,  # these pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # to the host that was asked for, and out of the base path
        lifespan=lifespan,
        exception_handlers=dict(faults.handlers()),
    )
    state.hold(app, settings, engine)
    app.state.site = site
    app.state.readiness = health.Readiness(engine)
    requests = RequestMetrics()
    app.state.state_tables = StateTables(settings, WorkerClient(token, WORKER_SECONDS))
    app.state.needs_token = token is not None
    app.state.feed = Feed(Pages(app).get, Changes(engine), most=settings.web.most_streams)
    metrics.hold(app, engine, requests, app.state.feed)
    app.include_router(health.routes)
    app.include_router(metrics.routes)
    app.include_router(api.routes)
    app.include_router(tables.routes, prefix=api.PREFIX)
    app.include_router(operations.routes, prefix=api.PREFIX)
    app.include_router(curves.routes, prefix=api.PREFIX)
    app.include_router(events.routes, prefix=api.PREFIX)
    app.include_router(pages.routes)
    app.include_router(state_page.routes)
    # The last one added is the first to see a request.
    app.add_middleware(GZipMiddleware, compresslevel=6)  # leaves event streams as they are
    app.add_middleware(HeadAsGet, endless={f"{api.PREFIX}/events"})
    app.add_middleware(NotedRoute, prefix=api.PREFIX)
    if token is None:
        app.add_middleware(HostCheck, refuse=faults.refuse)
    else:
        app.add_middleware(Gate, token=token, base_path=base_path, refuse=faults.refuse)
    if settings.web.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.web.trusted_proxies))
    app.add_middleware(EncodedPaths, base_path=base_path)
    app.add_middleware(SafeHeaders)
    app.add_middleware(CountedRequests, metrics=requests)
    return app
