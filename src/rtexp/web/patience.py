"""How long one waits for a request: uvicorn waits for ever, which a few thousand silent connections live on."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

REQUEST_SECONDS = 20.0
"""From the connection, or from a further request's first byte, until the request is whole, body included."""
DEAD_PEER_SECONDS = 60
"""Who acknowledges nothing for so long is gone, though it never said so."""


class PatientProtocol(H11Protocol):
    """Closes a connection whose request doesn't become whole in time; answers may take as long as they like."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        """Take what has come, and go on waiting while that isn't all."""
        if self._deadline is None:
            self._await_request()
        super().data_received(data)
        state = self.conn.their_state
        if state not in {h11.IDLE, h11.SEND_BODY} or (state is h11.IDLE and not self.conn.trailing_data[0]):
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        # Not `close`, which would wait until what has been written is read.
        self.transport.abort()


def forget_the_dead(listening: socket.socket) -> None:
    """Let the system end connections whose other side is gone: sockets that are accepted inherit this."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_PEER_SECONDS // 2)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, DEAD_PEER_SECONDS // 6)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_SECONDS * 1000)
