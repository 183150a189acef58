"""Trying to use each broker once, as every client would: connect, TLS, login, and a request."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from rtexp.errors import StoreRefused, StoreUnavailable
from rtexp.kafka import faults
from rtexp.settings import security_options
from rtexp.settings.values import is_loopback_broker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from rtexp.kafka.faults import Fault
    from rtexp.settings import KafkaSettings

ANSWER_SECONDS = 5.0
AGAIN_SECONDS = 0.5
CLOSE_SECONDS = 0.2


async def probe(kafka: KafkaSettings, *, within_s: float = ANSWER_SECONDS) -> Fault | None:
    """Return why Kafka can't be used, None if it can: by one of its brokers, and where that one sends clients.

    ``within_s`` is for each step of it. ConfigError if a file that its security needs can't be read.
    """
    options = security_options(kafka)

    async def tried(address: str) -> Fault | list[str]:
        return await _try(kafka, address, options, within_s)

    found = await _all(kafka.brokers, tried)
    bad: dict[str, Fault] = {}
    for address, told in found.items():
        if isinstance(told, faults.Fault):
            bad[address] = told
            continue
        far = [other for other in told if not is_loopback_broker(other)]
        if kafka.protocol == "SASL_PLAINTEXT" and far:  # before any of them is tried, and told the password
            return faults.leads_away(address, far)
        others = found | await _all([other for other in told if other not in found], tried)
        astray = [(other, fault) for other in told if isinstance(fault := others[other], faults.Fault)]
        is_reached = len(astray) < len(told)
        for other, fault in astray:
            # Some may be down, as long as others answer; what is wrong with any stays wrong.
            if not (fault.away and is_reached):
                return fault if other in found else faults.elsewhere(address, fault)
        return None
    return faults.together(bad)


async def _all(
    addresses: Iterable[str], tried: Callable[[str], Awaitable[Fault | list[str]]]
) -> dict[str, Fault | list[str]]:
    addresses = list(addresses)
    return dict(zip(addresses, await asyncio.gather(*map(tried, addresses)), strict=True))


async def until_usable(kafka: KafkaSettings, *, within_s: float, say: Callable[[str], object]) -> None:
    """Return once Kafka can be used; ``say`` is told once why that takes a while.

    StoreRefused at once if people must change something, StoreUnavailable if it is away for so long.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + within_s
    is_told = False
    while (fault := await probe(kafka)) is not None:
        if not fault.away:
            raise StoreRefused(fault.text)
        if loop.time() > until_s:
            raise StoreUnavailable(f"{fault.text}; tried for {within_s:g} s")
        if not is_told:
            say(f"{fault.text}; trying for {within_s:g} s")
            is_told = True
        await asyncio.sleep(AGAIN_SECONDS)


async def _try(
    kafka: KafkaSettings, address: str, options: dict[str, Any], within_s: float
) -> Fault | list[str]:
    """Use a broker; return the addresses that it sends clients to, or why it can't be used."""
    try:
        async with asyncio.timeout(within_s):
            told = await _brokers_told(kafka, address, options, within_s)
    except (KafkaError, OSError, EOFError) as exc:
        causes = list(_causes(exc))
        found = next((fault for each in causes if (fault := faults.fault_of(kafka, address, each))), None)
        if found is not None and not isinstance(exc, TimeoutError):
            return found
        # Two who don't speak alike wait for each other, or hang up.
        return await _misunderstood(kafka, address, within_s) or found or faults.says_nothing(address)
    return told or faults.says_nothing(address)


async def _brokers_told(
    kafka: KafkaSettings, address: str, options: dict[str, Any], within_s: float
) -> Fault | list[str]:
    host, port = _parts(address)
    connection = AIOKafkaConnection(host, port, request_timeout_ms=int(within_s * 1000), **options)
    is_answered = False
    try:
        await connection.connect()
        is_answered = True
        answer = await connection.send(MetadataRequest([]))
    except KafkaConnectionError:
        if kafka.protocol.startswith("SASL") or not is_answered:
            raise
        # Whoever wants a login tells everybody which versions it speaks, and ends the connection at anything else.
        return faults.wants_login(kafka, address)
    finally:
        await _closed(connection)
    return [f"{f'[{each[1]}]' if ':' in each[1] else each[1]}:{each[2]}" for each in answer.brokers]


async def _closed(connection: Any) -> None:
    # What still closes when its event loop ends is complained of; where nobody answered there is nothing to close.
    await asyncio.wait([connection.close()], timeout=CLOSE_SECONDS)


async def _misunderstood(kafka: KafkaSettings, address: str, within_s: float) -> Fault | None:
    """Tell whether a broker speaks TLS where we don't, or the other way round."""
    host, port = _parts(address)
    try:
        async with asyncio.timeout(within_s):
            if kafka.protocol.endswith("SSL"):
                connection = await create_conn(host, port, request_timeout_ms=int(within_s * 1000))
                await _closed(connection)
                return faults.speaks_no_tls(kafka, address)
            # Only whether there is TLS: nothing is sent that somebody else could read.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
            return faults.speaks_tls(kafka, address)
    except (KafkaError, OSError, EOFError, TimeoutError):
        return None


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _causes(error: BaseException) -> Iterable[BaseException]:
    """Yield an error and what it came from: the client wraps what TLS says after a handshake."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
