"""Whether the broker takes what a worker says, with brokers that really don't."""

from __future__ import annotations

import asyncio
import socket

import pytest

from rtexp.bootstrap.sender import LATE_SECONDS, Sender
from rtexp.engine.api import Output
from rtexp.errors import FatalError

RECORD = Output("status", 0, b"x", key=b"k")


async def test_a_broker_that_is_away_makes_it_unwell_until_a_record_is_taken() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        servers = [f"127.0.0.1:{free.getsockname()[1]}"]
        sender = Sender(lambda: {"bootstrap_servers": servers})
    assert sender.is_well()
    for _ in range(2):
        with pytest.raises(FatalError, match="status can't be written"):
            await sender.send(RECORD)
        assert not sender.is_well()


async def test_a_broker_that_says_nothing_makes_it_unwell_long_before_the_client_gives_up() -> None:
    now = 0.0
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        servers = [f"127.0.0.1:{silent.getsockname()[1]}"]
        sender = Sender(lambda: {"bootstrap_servers": servers}, seconds=lambda: now)
        sending = asyncio.create_task(sender.send(RECORD))
        await asyncio.sleep(0)
        assert sender.is_well()
        now = LATE_SECONDS
        assert not sender.is_well()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert sender.is_well(), "nothing waits any more, and nothing has failed"
