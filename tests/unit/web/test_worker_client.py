"""Asking workers: one hop to whoever has the key, the token only where it belongs, and faults that say what to do."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest
from tests.unit.worker_web.servers import TOKEN, serving
from tests.unit.worker_web.workers import PARTITION, USER, Task, said, users, worker

from rtexp.web.keys import COOKIE, PASS, PASS_SECONDS, Keys
from rtexp.web.worker_client import WorkerClient, WorkerFault

if TYPE_CHECKING:
    from rtexp.records.status import Status

CLIENT = WorkerClient(None)


async def test_a_key_is_found_from_the_wrong_worker() -> None:
    owner = worker(Task("users", PARTITION, users()))
    async with serving(owner):
        wrong = worker(statuses=[said("right", PARTITION, url=owner.url)])
        async with serving(wrong):
            found = await asyncio.to_thread(CLIENT.entry, wrong.url, "users", {"key": USER})
            assert found["partition"] == PARTITION
            assert found["triggers"][0]["experiment"] == "exp"


async def test_workers_that_send_each_other_round_in_circles_are_asked_twice_only() -> None:
    statuses: list[Status] = []
    first = worker(statuses=statuses)
    async with serving(first):
        second = worker(statuses=[said("first", PARTITION, url=first.url)])
        async with serving(second):
            statuses.append(said("second", PARTITION, url=second.url))
            with pytest.raises(WorkerFault, match="sharing their partitions out anew"):
                await asyncio.to_thread(CLIENT.entry, first.url, "users", {"key": USER})


async def test_the_token_is_sent_and_a_wrong_one_is_said_to_be_so() -> None:
    server = worker(Task("users", PARTITION, users()), token=TOKEN)
    async with serving(server):
        found = await asyncio.to_thread(WorkerClient(TOKEN).tables, server.url)
        assert found["partitions"][0]["entries"] == 1
        for client in (CLIENT, WorkerClient(f"{TOKEN}x")):
            with pytest.raises(WorkerFault, match="the same \\[web\\] token_file") as fault:
                await asyncio.to_thread(client.tables, server.url)
            assert TOKEN not in str(fault.value)


async def test_a_worker_that_is_gone_or_silent_is_said_to_be_so_in_time() -> None:
    server = worker()
    async with serving(server):
        url = server.url
    with pytest.raises(WorkerFault, match="doesn't answer"):
        await asyncio.to_thread(CLIENT.tables, url)

    began = time.monotonic()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(WorkerFault, match="doesn't answer"):
            await asyncio.to_thread(
                WorkerClient(None, seconds=0.2).tables, f"http://127.0.0.1:{silent.getsockname()[1]}"
            )
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "url", ["", "file:///etc/passwd", "ftp://127.0.0.1", "https://127.0.0.1", "http://["]
)
def test_only_http_is_asked(url: str) -> None:
    with pytest.raises(WorkerFault, match="serves no state"):
        CLIENT.tables(url)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n[1]\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n",
    ],
)
async def test_what_is_no_answer_of_a_worker_is_a_fault(said: bytes) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(WorkerFault, match="doesn't answer"):
        await asyncio.to_thread(CLIENT.tables, f"http://127.0.0.1:{port}")
    server.close()


async def test_an_address_that_is_none_is_a_fault() -> None:
    with pytest.raises(WorkerFault, match="doesn't answer"):
        await asyncio.to_thread(CLIENT.tables, "http://here\r\nX: y")


async def test_an_answer_that_never_ends_is_not_waited_for() -> None:
    gone = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            gone.set()
        writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(10):
            with pytest.raises(WorkerFault, match="takes too long"):
                await asyncio.to_thread(WorkerClient(None, seconds=0.2).tables, url)
            await gone.wait()


@pytest.mark.parametrize("by_way_of", ["sql", "worker"])
async def test_an_address_that_was_forged_gets_nothing_that_opens_anything(by_way_of: str) -> None:
    heard: list[str] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as forger:
        url = f"http://127.0.0.1:{forger.sockets[0].getsockname()[1]}"
        misled = worker(statuses=[said("forged", PARTITION, url=url)], token=TOKEN)
        async with serving(misled) as ask:
            asked = misled.url if by_way_of == "worker" else url
            await asyncio.to_thread(WorkerClient(TOKEN).entry, asked, "users", {"key": USER})
            (request,) = heard
            assert TOKEN not in request
            (got,) = [
                line.partition(": ")[2] for line in request.split("\r\n") if line.startswith("Authorization")
            ]
            host = {"Host": url.partition("//")[2]}
            assert (await ask("/state/tables", headers={"Authorization": got})).status == 401
            assert (await ask("/state/tables", headers={"Authorization": got, **host})).status == 401
            own = f"{PASS} {Keys(TOKEN).pass_to(misled.url, time.time())}"
            assert (await ask("/state/tables", headers={"Authorization": own})).status == 200
            late = f"{PASS} {Keys(TOKEN).pass_to(misled.url, time.time() - PASS_SECONDS)}"
            assert (await ask("/state/tables", headers={"Authorization": late})).status == 401
            as_session = {"Cookie": f"{COOKIE}={got.partition(' ')[2]}"}
            assert (await ask("/state/tables", headers=as_session)).status == 401
