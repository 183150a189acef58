"""A producer that fences: its start, and what comes of errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError
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


async def test_a_record_that_is_too_large_is_named_with_what_to_raise(
    producer: FencedProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(_: Client) -> None:
        return

    async def refuse(_: Client, topic: str, *_words: object, **_named: object) -> None:
        raise MessageSizeTooLargeError(topic)

    monkeypatch.setattr(Client, "begin_transaction", at_once)
    monkeypatch.setattr(Client, "send", refuse, raising=False)
    records = [Output("out", 0, b"a"), Output("state", 0, b"a" * 1200, b"sums/t/x"), Output("state", 0, None)]
    with pytest.raises(
        FatalError, match=r"1,200 bytes, 'sums/t/x', is more than state takes: .*max\.message\.bytes"
    ):
        await producer.transact(records)


async def test_a_transaction_without_end_is_fatal(producer: FencedProducer) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(FatalError, match="a transaction failed"):
            await producer.transact([Output("out", 0, b"a")])
