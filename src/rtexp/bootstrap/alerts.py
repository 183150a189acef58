"""The process of alerts, put together: delivery, and beside it its health and metrics."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple

from rtexp.alerts.running import deliver
from rtexp.alerts.standing import Standing
from rtexp.metrics.exposition import Exposition
from rtexp.web.address import ALERTS_HOST, read_token
from rtexp.worker_web import health
from rtexp.worker_web.metrics import metrics
from rtexp.worker_web.server import Listener, WorkerServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtexp.settings import Settings

_LISTENER = Listener(
    "health and metrics",
    "set [alerts] port to one that is free, or to 0 for any. Delivery goes on",
)


class _Address(NamedTuple):
    """In Faust's words, which the server of workers reads."""

    web_bind: str
    web_host: str


async def deliver_and_serve(settings: Settings, environ: Mapping[str, str], *, port: int) -> None:
    """Deliver as `deliver` does, and serve health and metrics at a port until it ends.

    A port that is taken is said, and tried again. ConfigError if the address needs a token and there is none.
    """
    host = settings.alerts.host
    token = read_token(settings.web, environ, host=host, key=ALERTS_HOST)
    standing = Standing()
    server = make_server(host, port, token, standing)
    await server.start()
    try:
        await deliver(settings, standing)
    finally:
        await server.stop()


def make_server(host: str, port: int, token: str | None, standing: Standing) -> WorkerServer:
    """Return what serves health and metrics, not started."""

    def judge() -> health.Readiness:
        return health.Readiness(standing.reasons(), {}, standing.failing())

    address = _Address(host, socket.gethostname())
    server = WorkerServer(address, lambda: port, read_token=lambda _: token, listener=_LISTENER)
    server.add("/health/live", health.live)
    server.add("/health/ready", health.ready(judge))
    server.add("/metrics", metrics(Exposition([standing.samples])))
    return server
