"""A worker's web server: who may ask, how much, and what a port that is taken does."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from base64 import b64encode
from hashlib import sha256
from html import escape

import pytest
from aiohttp import web
from tests.unit.worker_web.servers import BEARER, TOKEN, conf, make_server, serving

from rtexp.engine import failstop
from rtexp.web.attempts import ATTEMPTS
from rtexp.web.keys import COOKIE, Keys
from rtexp.worker_web import guard as guards
from rtexp.worker_web import health
from rtexp.worker_web import server as servers
from rtexp.worker_web.answers import answer


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


async def test_everybody_on_this_machine_may_ask_without_a_token() -> None:
    server = make_server()
    server.add("/hello", hello)
    async with serving(server) as ask:
        given = await ask("/hello")
        assert (given.status, given.text) == (200, "hello")
        assert given.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "aiohttp" not in str(given.headers)


async def test_a_page_from_elsewhere_that_gives_itself_a_name_of_this_machine_is_refused() -> None:
    server = make_server()
    server.add("/hello", hello)
    async with serving(server) as ask:
        for host in ("rebound.example", "rebound.example:6066", "", "127.0.0.1.example"):
            assert (await ask("/hello", headers={"Host": host})).status == 421


async def test_with_a_token_every_path_but_health_is_refused_without_it() -> None:
    server = make_server(token=TOKEN)
    server.add("/health/live", health.live)
    server.add("/hello", hello)
    async with serving(server) as ask:
        for path in (
            *server.paths,
            "/nothing",
            "/table/",
            "/router/",
            "/health",
            "/health/live/x",
            "/%2Fhealth/live",
        ):
            for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE"):
                given = await ask(path, method)
                assert (given.status == 401) == (path != "/health/live"), f"{method} {path}: {given.status}"
        assert (await ask("/health/live")).status == 200
        assert (await ask("/hello", headers={"Authorization": f"Bearer {TOKEN}x"})).status == 401
        assert (await ask("/hello", headers=BEARER)).text == "hello"


async def test_guesses_have_to_wait_and_health_does_not() -> None:
    server = make_server(token=TOKEN)
    server.add("/health/live", health.live)
    server.add("/hello", hello)
    async with serving(server) as ask:
        wrong = {"Authorization": f"Bearer {TOKEN}x"}
        statuses = [(await ask("/hello", headers=wrong)).status for _ in range(ATTEMPTS + 1)]
        assert statuses == [401] * ATTEMPTS + [429]
        assert (await ask("/hello", headers=BEARER)).status == 429
        assert (await ask("/health/live")).status == 200


async def test_a_session_of_the_pages_holds_here_too() -> None:
    server = make_server(token=TOKEN)
    server.add("/hello", hello)
    async with serving(server) as ask:
        good = Keys(TOKEN).session(time.time())
        assert (await ask("/hello", headers={"Cookie": f"{COOKIE}={good}"})).status == 200
        forged = Keys(TOKEN + "x").session(time.time())
        assert (await ask("/hello", headers={"Cookie": f"{COOKIE}={forged}"})).status == 401


async def test_an_address_that_others_reach_is_refused_without_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    def refuse(reason: str, _: object = None) -> None:
        said.append(reason)
        raise SystemExit

    monkeypatch.setattr(servers, "die", refuse)
    with pytest.raises(SystemExit):
        await make_server(conf("0.0.0.0")).on_start()
    assert "--web-bind, [web] worker_host: 0.0.0.0 can be reached from other machines" in said[0]
    assert failstop.die is not refuse


async def test_a_port_that_is_taken_is_one_line_and_is_taken_once_it_is_free(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(servers, "AGAIN_SECONDS", 0.01)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = make_server(conf(port=other.getsockname()[1]))
        server.add("/hello", hello)
        await server.start()
        await asyncio.sleep(0.1)  # ten attempts, of which one may speak
        assert server.url == ""
        (line,) = [record.message for record in caplog.records if "can't be listened at" in record.message]
        assert "--web-port of its own. Counting goes on" in line
    try:
        async with asyncio.timeout(5):
            while not server.url:  # noqa: ASYNC110 - what it waits for is the server's own retry
                await asyncio.sleep(0.01)
    finally:
        await server.stop()


async def test_requests_are_bounded_in_number_and_time_and_health_is_answered_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        guards.Guard.__init__, "__kwdefaults__", {"url": str, "seconds": 0.5, "clock": lambda: 0.0}
    )
    server = make_server()
    forever = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await forever.wait()
        return web.Response()

    server.add("/wait", wait)
    server.add("/health/live", health.live)
    async with serving(server) as ask:
        waiting = [asyncio.create_task(ask("/wait")) for _ in range(guards.MOST_AT_ONCE + 1)]
        first, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = first
        assert refused.result().status == 503
        assert json.loads(refused.result().text)["code"] == "busy"
        assert refused.result().headers["Retry-After"] == "5"
        assert (await ask("/health/live")).status == 200
        answers = await asyncio.gather(*waiting)
        assert {answer.status for answer in answers} == {503}
        forever.set()
        assert (await ask("/wait")).status == 200


async def test_connections_that_say_nothing_keep_nobody_from_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "MOST_CONNECTIONS", 3)
    server = make_server(token=TOKEN)
    server.add("/health/live", health.live)
    async with serving(server) as ask:
        port = int(server.url.rpartition(":")[2])
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        assert (await asyncio.wait_for(ask("/health/live"), 5)).status == 200
        assert await asyncio.wait_for(silent[0][0].read(), 5) == b"", "the oldest makes room"
        for _, each in silent:
            each.close()


async def test_a_connection_too_many_is_hung_up_on_while_all_are_being_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "MOST_CONNECTIONS", 2)
    server, going_on, begun = make_server(), asyncio.Event(), asyncio.Semaphore(0)

    async def wait(_: web.Request) -> web.Response:
        begun.release()
        await going_on.wait()
        return web.Response(text="done")

    server.add("/wait", wait)
    async with serving(server) as ask:
        waiting = [asyncio.create_task(ask("/wait")) for _ in range(2)]
        for _ in waiting:
            await asyncio.wait_for(begun.acquire(), 5)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)
        writer.close()
        going_on.set()
        assert [each.text for each in await asyncio.gather(*waiting)] == ["done", "done"]


async def test_a_half_open_connection_is_closed_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "IDLE_SECONDS", 0.1)
    server = make_server()
    async with serving(server):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"GET /hel")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_fault_is_answered_without_what_it_says() -> None:
    server = make_server()

    async def fail(_: web.Request) -> web.Response:
        raise KeyError("u-4711")

    server.add("/fail", fail)
    async with serving(server) as ask:
        given = await ask("/fail")
        assert given.status == 500
        assert "u-4711" not in given.text
        assert json.loads((await ask("/nothing")).text)["code"] == "http"


async def test_a_cookie_that_is_no_text_is_refused_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    server = make_server(token=TOKEN)
    async with serving(server):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"GET /x HTTP/1.1\r\nHost: here\r\nCookie: rtexp=\xff.\xff\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 401 ")
        writer.close()
    assert not caplog.records


async def test_in_a_page_no_name_is_markup_and_no_style_but_ours_is_obeyed() -> None:
    server = make_server()
    nasty = "<script>x</script><style>*{}</style>\"'"

    async def page(request: web.Request) -> web.Response:
        return answer(request, nasty, {nasty: [{nasty: nasty}], "b": [nasty], "c": nasty})

    server.add("/page", page)
    async with serving(server) as ask:
        given = await ask("/page", headers={"Accept": "text/html"})
    assert given.text.count(escape(nasty)) == 7  # the title twice
    assert "<script" not in given.text
    (style,) = re.findall("<style>(.*?)</style>", given.text)
    source = f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"
    policy = dict(part.split(" ", 1) for part in given.headers["Content-Security-Policy"].split("; "))
    assert policy["style-src"] == source
    assert {policy[name] for name in ("default-src", "form-action", "base-uri", "frame-ancestors")} == {
        "'none'"
    }
