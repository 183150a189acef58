"""A broker that outlives the pipelines which are measured on it, so that others can be measured on the same topics."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from rtexp.local.broker import prepare, wait_until_it_answers
from rtexp.local.broker_files import BrokerFiles, find_java, find_libs, free_port
from rtexp.local.supervisor import Child, Supervisor
from rtexp.local.system import BROKER
from rtexp.settings import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path


class StandingBroker(NamedTuple):
    """Where it listens, and which process it is."""

    address: str
    pid: int


@asynccontextmanager
async def standing_broker(
    directory: Path, environ: Mapping[str, str], on_line: Callable[[str, str], None]
) -> AsyncIterator[StandingBroker]:
    """Run a broker with its data in ``directory``; it has stopped when the block has ended.

    ConfigError if there is no Java or no Kafka to start, StoreUnavailable if it doesn't come up.
    """
    port = free_port()
    address = f"127.0.0.1:{port}"
    files = BrokerFiles(directory / "kafka", find_libs(environ), find_java(environ), port=port)
    await prepare(files)
    async with Supervisor(on_line) as supervisor:
        supervisor.add(Child(BROKER, files.command, environ))
        await wait_until_it_answers(
            KafkaSettings(brokers=(address,)),
            lambda: supervisor.tail(BROKER) if supervisor.exits else None,
        )
        yield StandingBroker(address, supervisor.pids[BROKER])
