"""What a probe says of places where no Kafka is; with a real one: tests/integration/test_secure_broker.py."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from rtexp.errors import StoreUnavailable
from rtexp.kafka.faults import Fault, together
from rtexp.kafka.probe import probe, until_usable
from rtexp.settings import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOBODY, NOBODY_ELSE = "127.0.0.1:1", "127.0.0.1:2"


@asynccontextmanager
async def listening(*, hangs_up: bool) -> AsyncIterator[str]:
    """A port where somebody takes connections, and says nothing."""

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not hangs_up:
            await held.wait()
        writer.close()

    held = asyncio.Event()
    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        held.set()
        server.close()
        await server.wait_closed()


async def told(*brokers: str, protocol: str = "PLAINTEXT") -> str:
    kafka = KafkaSettings.model_validate({"brokers": brokers, "protocol": protocol})
    fault = await probe(kafka, within_s=0.5)
    assert fault is not None
    assert fault.away, "it may come back"
    return fault.text


async def test_all_brokers_are_named_where_nobody_listens() -> None:
    assert await told(NOBODY) == f"no Kafka answers at {NOBODY}"
    assert await told(NOBODY, NOBODY_ELSE) == f"no Kafka answers at {NOBODY}, {NOBODY_ELSE}"


async def test_a_host_that_does_not_exist_is_said_to() -> None:
    assert (
        await told("nowhere.invalid:1")
        == "no Kafka answers at nowhere.invalid:1 (there is no host of this name)"
    )


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
async def test_who_says_nothing_is_not_waited_for_longer_than_asked(protocol: str) -> None:
    async with listening(hangs_up=False) as address, asyncio.timeout(20):
        assert await told(address, protocol=protocol) == f"no Kafka answers at {address} (it says nothing)"


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
async def test_who_hangs_up_is_said_to(protocol: str) -> None:
    async with listening(hangs_up=True) as address:
        assert (
            await told(address, protocol=protocol)
            == f"no Kafka answers at {address} (it ends the connection)"
        )


async def test_who_is_away_is_tried_for_as_long_as_asked_and_told_of_once() -> None:
    said: list[str] = []
    with pytest.raises(StoreUnavailable, match=f"^no Kafka answers at {NOBODY}; tried for 1 s$"):
        await until_usable(KafkaSettings(brokers=(NOBODY,)), within_s=1, say=said.append)
    assert said == [f"no Kafka answers at {NOBODY}; trying for 1 s"]


def test_what_people_must_mend_is_told_before_what_may_be_over_by_itself() -> None:
    wrong = Fault("Kafka at b:1 refuses", away=False)
    assert together({"a:1": Fault("no Kafka answers at a:1", away=True), "b:1": wrong}) == wrong


async def test_a_login_without_tls_goes_nowhere_but_to_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret-password")
    tried: list[str] = []

    async def broker(_kafka: KafkaSettings, address: str, *_: object) -> list[str]:
        tried.append(address)
        return ["localhost:9092", "kafka.example:9092"]

    monkeypatch.setattr("rtexp.kafka.probe._try", broker)
    kafka = KafkaSettings(protocol="SASL_PLAINTEXT", username="me", password_file=secret)
    fault = await probe(kafka)
    assert fault is not None
    assert not fault.away
    assert "sends clients to kafka.example:9092 (its advertised.listeners), and without TLS" in fault.text
    assert tried == list(kafka.brokers)
    assert await probe(KafkaSettings()) is None
