"""Who may ask a worker, and how much at once: what is served on the side must never hold up what is counted."""

from __future__ import annotations

import asyncio
import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from rtexp.web.door import Door
from rtexp.web.keys import COOKIE, names_this_machine
from rtexp.worker_web.answers import STYLE_SOURCE, Problem, problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

OPEN = ("/health/live", "/health/ready")
"""Paths that need no token; they tell no more than codes and counts."""
MOST_AT_ONCE = 8
"""Requests that are answered side by side; others are told to come again."""
MOST_SECONDS = 5.0
_RETRY = {"Retry-After": "5"}
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {STYLE_SOURCE}; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "rtexp",
}
_REFUSALS = {
    401: ("unauthorized", "this needs the token: send it as `Authorization: Bearer TOKEN`"),
    429: ("too-many-attempts", "too many wrong tokens came from your address: try again in a minute"),
}

_log = logging.getLogger(__name__)


class Guard:
    """Stands before every route of a worker, and before paths that aren't there."""

    def __init__(
        self,
        token: str | None,
        *,
        url: Callable[[], str] = str,
        seconds: float = MOST_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Without a ``token`` only names of this machine are answered to; ``url`` is where others find the worker."""
        self._door = None if token is None else Door(token, clock=clock)
        self._url = url
        self._seconds = seconds
        self._running = 0
        self._answering: set[object] = set()

    def is_answering(self, connection: object) -> bool:
        """Return whether a request of a connection is being answered."""
        return connection in self._answering

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer a request, if it may be, in time and in few words."""
        self._answering.add(request.protocol)
        try:
            return await self._answer(request, handler)
        finally:
            self._answering.discard(request.protocol)

    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            self._let_in(request)
            given = await self._bounded(request, handler)
        except Problem as fault:
            given = problem(fault, _RETRY if fault.status in {429, 503} else None)
            if fault.status == HTTPStatus.UNAUTHORIZED:
                given.headers["WWW-Authenticate"] = "Bearer"
            if "location" in fault.more:
                given.headers["Location"] = str(fault.more["location"])
        except web.HTTPException as fault:  # what aiohttp's router says: 404, 405
            given = problem(Problem(fault.status, "http", fault.reason))
        except Exception:  # noqa: BLE001 - a fault in a page is no reason to end a worker
            _log.exception("%s can't be answered", request.path)  # without its parameters: they name users
            given = problem(Problem(500, "internal", "a fault of rtexp; the worker's log says more"))
        given.headers.update(_HEADERS)
        return given

    def _let_in(self, request: web.Request) -> None:
        headers = request.headers
        if self._door is None:
            if not names_this_machine(headers.get("Host", "")):
                raise Problem(
                    421,
                    "wrong-host",
                    "without a token only names of this machine are answered to: set [web] token_file",
                )
            return
        if request.path in OPEN:
            return
        authorization = headers.get("Authorization", "")
        if self._door.has_pass(authorization, self._url()):
            return
        refusal = self._door.meet(authorization, request.cookies.get(COOKIE, ""), request.remote or "")
        if refusal is not None:
            raise Problem(refusal, *_REFUSALS[refusal])

    async def _bounded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path in OPEN:  # must answer when nothing else does
            return await handler(request)
        if self._running >= MOST_AT_ONCE:
            raise Problem(503, "busy", f"{MOST_AT_ONCE} requests are being answered already: try again")
        self._running += 1
        try:
            async with asyncio.timeout(self._seconds):
                return await handler(request)
        except TimeoutError:
            raise Problem(503, "busy", f"not answered within {self._seconds:g} s: try again") from None
        finally:
            self._running -= 1
