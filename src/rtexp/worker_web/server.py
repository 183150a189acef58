"""A worker's own web server: aiohttp in its event loop, started with its other services; that of alerts is the same.

It is no part of counting. A port that is taken is said once and tried again; a request is bounded in time, and all
of them in number; and whatever is read of a table is read between two flushes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web
from mode import Service

from rtexp.engine.failstop import die
from rtexp.errors import ConfigError
from rtexp.worker_web.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

IDLE_SECONDS = 15.0
"""A connection that says nothing for so long is closed, half-open ones as well."""
MOST_CONNECTIONS = 64
"""Beyond these the oldest that isn't being answered makes room: so who holds many keeps nobody from health."""
AGAIN_SECONDS = 10.0
_STOP_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Listener(NamedTuple):
    """What the log says of a server."""

    gives: str = "health and state"
    if_taken: str = "give each worker on a machine a --web-port of its own. Counting goes on"


class WorkerServer(Service):  # type: ignore[misc]  # mode ships no usable types
    """Serves what was added before it starts, at the address that the worker's command line says."""

    driver_version = "aiohttp, rtexp's own views"

    def __init__(
        self,
        conf: Any,
        port: Callable[[], int],
        *,
        read_token: Callable[[str], str | None],
        listener: Listener = Listener(),  # noqa: B008 - it can't change
        **kwargs: Any,
    ) -> None:
        """``conf`` is Faust's: ``web_bind`` and ``web_host``, final once the worker starts, as is ``port``.

        ``read_token`` gives the token for an address to listen at; it raises ConfigError where one is needed.
        """
        self._conf = conf
        self._port = port
        self._read_token = read_token
        self._listener = listener
        self._routes: list[web.RouteDef] = []
        self._runner: web.AppRunner | None = None
        self._guard = Guard(None)
        self._listening: asyncio.Server | None = None
        super().__init__(**kwargs)

    def add(self, path: str, handler: Handler) -> None:
        """Serve GET and HEAD of ``path``, for whoever has the token; ``handler`` belongs to the worker's loop."""
        self._routes.append(web.get(path, handler))

    @property
    def paths(self) -> list[str]:
        """Return all paths that are served."""
        return [route.path for route in self._routes]

    @property
    def url(self) -> str:
        """Return where others find this worker; empty while it isn't listening."""
        if self._listening is None or not self._listening.sockets:
            return ""
        return _url(self._named(), self._listening.sockets[0].getsockname()[1])

    def get_web_url(self) -> str:
        """Return the address for Faust's banner, which is shown before anything listens."""
        return _url(self._named(), self._port())

    def _named(self) -> str:
        bind, named = str(self._conf.web_bind), str(self._conf.web_host)
        if named != socket.gethostname():
            return named  # --web-host
        return named if bind in {"0.0.0.0", "::"} else bind  # noqa: S104 - what is listened at

    async def on_start(self) -> None:
        """Listen; the process ends where that isn't safe, and goes on without where it isn't possible."""
        try:
            token = self._read_token(str(self._conf.web_bind))
        except ConfigError as error:
            die(str(error))
        self._guard = Guard(token, url=lambda: self.url)
        app = web.Application(middlewares=[self._guard.middleware])
        app.add_routes(self._routes)
        self._runner = web.AppRunner(
            app,
            access_log=None,  # an address can hold a name that isn't for logs
            keepalive_timeout=IDLE_SECONDS,
            shutdown_timeout=_STOP_SECONDS,
        )
        await self._runner.setup()
        if not await self._listen(loud=True):
            self.add_future(self._listen_later())

    async def _listen(self, *, loud: bool = False) -> bool:
        bind, port = str(self._conf.web_bind), self._port()
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                self._accept, bind, port, backlog=MOST_CONNECTIONS
            )
        except OSError as error:
            if loud:
                _log.error(
                    "no %s from this process: %s:%s can't be listened at (%s); %s, and this is tried again every %g s",
                    self._listener.gives, bind, port, error.strerror or error, self._listener.if_taken, AGAIN_SECONDS,
                )  # fmt: skip
            return False
        _log.info("%s at %s", self._listener.gives, self.url)
        return True

    async def _listen_later(self) -> None:
        while not self.should_stop:
            await self.sleep(AGAIN_SECONDS)
            if self.should_stop or await self._listen():
                return

    def _accept(self) -> asyncio.BaseProtocol:
        assert self._runner is not None
        server = self._runner.server
        assert server is not None
        held = [each for each in server.connections if each.transport is not None]  # the oldest first
        if len(held) >= MOST_CONNECTIONS:
            idle = next((each for each in held if not self._guard.is_answering(each)), None)
            if idle is None:
                return _Refusal()
            idle.force_close()
        return server()

    async def on_stop(self) -> None:
        """Stop listening, and give answers that are under way a moment."""
        if self._listening is not None:
            self._listening.close()
        if self._runner is not None:
            with suppress(TimeoutError):
                await self._runner.cleanup()


class _Refusal(asyncio.Protocol):
    """Hangs up: a connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _url(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"
