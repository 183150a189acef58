"""A producer that fences: its start, and what comes of errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.engine.fakes import config

from rtexp.engine.api import Output
from rtexp.engine.transactions import FencedProducer
from rtexp.errors import FatalError

if TYPE_CHECKING:
    from pathlib import Path


class Client:
    """For the client's producer, on a broker that has no coordinator of transactions and never will."""

    def __init__(self, **_: Any) -> None:
        pass

    async def start(self) -> None:
        await asyncio.Event().wait()

    async def begin_transaction(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def producer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FencedProducer:
    monkeypatch.setattr("rtexp.engine.transactions.AIOKafkaProducer", Client)
    return FencedProducer(config(tmp_path, transaction_timeout=0.01), "job-ledger-0")


async def test_a_start_without_end_is_fatal_and_says_what_to_look_at(producer: FencedProducer) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(FatalError, match=r"job-ledger-0 .*transaction\.state\.log\.replication\.factor"):
            await producer.start()


async def test_a_transaction_without_end_is_fatal(producer: FencedProducer) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(FatalError, match="a transaction failed"):
            await producer.transact([Output("out", 0, b"a")])
