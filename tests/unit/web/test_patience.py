"""Requests that never become whole: a real server lets go of them, and goes on answering others."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from starlette.responses import StreamingResponse
from tests.unit.store.databases import SqliteFile, open_database
from tests.unit.web.sites import TOKEN

from rtexp.settings import Settings, WebSettings
from rtexp.web import access, patience
from rtexp.web.server import configured, listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SECONDS = 0.5
LINE = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"
WHOLE = LINE + b"\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server as `rtexp web` has it, but with little patience, and a page that takes longer than that."""
    database = SqliteFile(tmp_path_factory.mktemp("patience") / "x.db")
    with open_database(database):
        pass
    settings = Settings(store=database.settings, web=WebSettings(port=0))
    config = configured(settings, token=TOKEN)
    app: Any = config.app
    app.add_api_route("/health/slow", slow)
    server = uvicorn.Server(config)
    with pytest.MonkeyPatch.context() as patched, listening(settings.web) as bound:
        patched.setattr(patience, "REQUEST_SECONDS", SECONDS)
        patched.setattr(access, "_OPEN", ("/health/live", "/health/slow"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield bound.getsockname()[1]
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


async def slow() -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"a", b"b", b"c"):
            yield part
            await asyncio.sleep(SECONDS)

    return StreamingResponse(parts())


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as opened:
        yield opened


def until_closed(opened: socket.socket) -> bytes:
    """Return all that comes before the other side closes; TimeoutError if it doesn't."""
    received = b""
    with suppress(ConnectionResetError):
        while part := opened.recv(65_536):
            received += part
    return received


def answer(opened: socket.socket, request: bytes = WHOLE, *, end: bytes = b'{"live":true}') -> bytes:
    """Send a request, and return what comes up to and with ``end``."""
    opened.sendall(request)
    received = b""
    while not received.endswith(end):
        part = opened.recv(65_536)
        assert part, received
        received += part
    return received


LOGIN = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20\r\n\r\ntoken="


@pytest.mark.parametrize(
    "sent", [b"", b"G", LINE, LOGIN], ids=["nothing", "a byte", "half a head", "half a body"]
)
def test_what_does_not_become_a_request_is_let_go(port: int, sent: bytes) -> None:
    with connected(port) as opened:
        began = time.monotonic()
        opened.sendall(sent)
        assert until_closed(opened) == b""
        assert SECONDS * 0.9 <= time.monotonic() - began < 15


def test_who_sends_a_byte_now_and_then_gains_no_time(port: int) -> None:
    began = time.monotonic()
    with connected(port) as opened, suppress(ConnectionError):
        opened.sendall(LINE)
        while time.monotonic() - began < 20:
            opened.sendall(b"x-more: 1\r\n")
            time.sleep(0.05)
    assert time.monotonic() - began < 15


def test_an_answer_may_take_longer_than_a_request(port: int) -> None:
    with connected(port) as opened:
        request = WHOLE.replace(b"live", b"slow")
        assert b"\r\nc\r\n" in answer(opened, request, end=b"0\r\n\r\n")


def test_a_connection_may_rest_between_requests(port: int) -> None:
    with connected(port) as opened:
        for _ in range(3):
            assert b" 200 OK" in answer(opened)
            time.sleep(SECONDS * 1.5)
        assert answer(opened, WHOLE * 2).count(b" 200 OK") >= 1


def test_head_has_no_body_behind_which_the_next_answer_would_be_lost(port: int) -> None:
    with connected(port) as opened:
        told = answer(opened, WHOLE.replace(b"GET", b"HEAD"), end=b"\r\n\r\n")
        assert b"content-length: 13" in told
        assert answer(opened).startswith(b"HTTP/1.1 200 OK")


def test_hundreds_of_silent_connections_keep_nobody_from_an_answer(port: int) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(port)) for _ in range(300)]
        with connected(port) as opened:
            assert b" 200 OK" in answer(opened)
        for each in silent:
            assert until_closed(each) == b""


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(LINE + b"x: " + b"y" * 400_000 + b"\r\n\r\n", id="a long header"),
        pytest.param(LINE + b"x: y\r\n" * 70_000 + b"\r\n", id="many headers"),
        pytest.param(b"GET /" + b"x" * 400_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id="a long path"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two hosts"),
        pytest.param(b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", id="a zero byte"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100, id="TLS"),
    ],
)
def test_what_is_no_request_is_answered_so_and_let_go(port: int, request_: bytes) -> None:
    with connected(port) as opened:
        with suppress(ConnectionError):  # it may have said enough already
            opened.sendall(request_)
        received = until_closed(opened)
    assert b" 200 " not in received
    with connected(port) as opened:
        assert b" 200 OK" in answer(opened)


def test_a_body_without_end_is_let_go(port: int) -> None:
    with connected(port) as opened:
        assert b" 200 OK" in answer(opened, LINE + b"Transfer-Encoding: chunked\r\n\r\n")
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < 20:
                opened.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
    assert time.monotonic() - began < 15


def test_the_system_is_asked_to_end_connections_whose_other_side_is_gone() -> None:
    with listening(WebSettings(port=0)) as bound, connected(bound.getsockname()[1]):
        accepted, _ = bound.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
