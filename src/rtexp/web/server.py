"""The web application as a process: uvicorn at the configured address."""

from __future__ import annotations

import gc
import resource
import socket
from typing import TYPE_CHECKING, cast

import uvicorn

from rtexp.errors import UsageError
from rtexp.web.address import address_of, read_token
from rtexp.web.app import create_app
from rtexp.web.patience import PatientProtocol, forget_the_dead

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastapi import FastAPI

    from rtexp.settings import Settings, WebSettings

_IDLE_SECONDS = 15
"""A connection on which no request follows for so long is closed; before the first one see `patience`."""
_MORE_CONNECTIONS = 1_000
"""Than there may be event streams."""
_OTHER_FILES = 100
_MOST_HEAD_BYTES = 16_384
"""Of a request's line and headers that one waits for; what comes at once may have 256 KiB."""
_GRACE_SECONDS = 10


def serve(settings: Settings, environ: Mapping[str, str], *, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; ``say`` is told the address once connections are accepted.

    ConfigError if the address needs a token and there is none; UsageError if it can't be listened at.
    """
    web = settings.web
    config = configured(settings, token=read_token(web, environ))
    # What is loaded now stays: a full collection would look through all of it, and keep a request waiting for 80 ms.
    gc.collect()
    gc.freeze()
    _allow_files(web.most_streams + _MORE_CONNECTIONS + _OTHER_FILES)
    with listening(web) as bound:
        say(f"pages at {address_of(web, bound.getsockname()[1])}")
        _Server(config).run(sockets=[bound])


class _Server(uvicorn.Server):
    """Ends event streams first: it waits for what is being answered, and they would never end by themselves."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = cast("FastAPI", self.config.app)
        app.state.feed.close()
        await super().shutdown(sockets)


def _allow_files(number: int) -> None:
    """Ask the system for so many open files, each connection being one; often it gives 1,024 unless asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        most = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def configured(settings: Settings, *, token: str | None) -> uvicorn.Config:
    """Return how uvicorn serves the application: with limits on how much, how many and how long."""
    return uvicorn.Config(
        create_app(settings, token=token),
        # Named, since uvicorn takes others where they happen to be installed, which have no such limits.
        http=PatientProtocol,
        loop="asyncio",
        ws="none",
        h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
        log_config=None,
        access_log=False,  # an address can hold a name that isn't for logs
        server_header=False,
        proxy_headers=False,  # the application believes those of trusted proxies
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        limit_concurrency=settings.web.most_streams + _MORE_CONNECTIONS,
    )


def listening(web: WebSettings) -> socket.socket:
    """Return a socket that listens at the configured address; UsageError if it can't be had."""
    try:
        found = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            forget_the_dead(bound)
            bound.bind(address)
            bound.listen(2048)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise UsageError(
            f"[web] host and port: {web.host}:{web.port} can't be listened at: {error.strerror}; "
            "stop what listens there, or set another port"
        ) from error
    return bound
