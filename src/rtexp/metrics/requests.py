"""Requests of a web application, by the template of their route: a path may hold any name, a template none."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from starlette.datastructures import Headers

from rtexp.metrics.definitions import BY_NAME

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from prometheus_client.registry import Collector
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# When each series began, beside each series: nobody asks, and it is in no table.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_METHODS = {"GET", "HEAD", "POST"}
"""All others are `other`: who asks may make up names."""
SLOW_SECONDS = 1.0
"""From here on a request has a line at info; others are at debug, and streams."""
_STREAM = "text/event-stream"
NO_ROUTE = "none"
"""What no route has answered: unknown paths, and requests that weren't let in."""
_log = logging.getLogger(__name__)
_HOLDER = "rtexp.route"
_CONVERTOR = re.compile(r"\{(\w+):\w+\}")


class RequestMetrics:
    """Keeps them for one application."""

    def __init__(self) -> None:
        seconds, responses, running = (
            BY_NAME[name]
            for name in (
                "rtexp_web_request_seconds", "rtexp_web_responses_total", "rtexp_web_requests_in_progress",
            )
        )  # fmt: skip
        self._seconds = Histogram(seconds.name, seconds.help, seconds.labels, buckets=_SECONDS, registry=None)
        self._responses = Counter(responses.name, responses.help, responses.labels, registry=None)
        self._running = Gauge(running.name, running.help, registry=None)

    @property
    def collectors(self) -> Sequence[Collector]:
        """Return what is to be shown."""
        return self._seconds, self._responses, self._running

    def note(self, route: str, method: str, status: int, seconds: float | None) -> None:
        """Count one answer; None for one that ends when nobody looks any more, which says nothing of how fast it is."""
        if seconds is not None:
            self._seconds.labels(route, method).observe(seconds)
        self._responses.labels(route, method, str(status)).inc()

    def begun(self) -> None:
        """Count one that is being answered."""
        self._running.inc()

    def ended(self) -> None:
        """Undo that."""
        self._running.dec()


class CountedRequests:
    """Outermost: sees every answer, those of what refuses requests included."""

    def __init__(self, app: ASGIApp, *, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route: dict[str, str] = {}
        is_stream = False
        status = 500  # what a server answers for an application that fails before it has said anything
        started = time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                is_stream = Headers(raw=message["headers"]).get("content-type", "").startswith(_STREAM)
            await send(message)

        self._metrics.begun()
        try:
            # A dict of its own, as what lies between may hand on a copy of the scope.
            await self._app({**scope, _HOLDER: route}, receive, noting)
        finally:
            self._metrics.ended()
            seconds = time.perf_counter() - started
            template = route.get("template", NO_ROUTE)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.note(template, method, status, None if is_stream else seconds)
            # By template: an address can hold a name that isn't for logs.
            level = logging.INFO if seconds >= SLOW_SECONDS and not is_stream else logging.DEBUG
            fields = {"route": template, "method": method, "status": status}
            _log.log(level, "request", extra={**fields, "took_ms": round(seconds * 1000)})


class NotedRoute:
    """Innermost: tells the outermost which route has answered."""

    def __init__(self, app: ASGIApp, *, prefix: str) -> None:
        """``prefix`` is where routers are included that don't know it themselves."""
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        try:
            await self._app(scope, receive, send)
        finally:
            route = getattr(scope.get("route"), "path", None)
            if scope["type"] == "http" and route is not None:
                scope.get(_HOLDER, {})["template"] = self._template(scope, route)

    def _template(self, scope: MutableMapping[str, Any], route: str) -> str:
        if scope["path"].startswith(f"{self._prefix}/") and not route.startswith(self._prefix):
            route = f"{self._prefix}{route}"
        return _CONVERTOR.sub(r"{\1}", route)
