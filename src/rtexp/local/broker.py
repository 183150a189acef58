"""A Kafka of one node on this machine, for those who have none: whether it answers, and until it does."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from rtexp.errors import StoreUnavailable
from rtexp.kafka.probe import ANSWER_SECONDS, probe
from rtexp.local.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rtexp.local.broker_files import BrokerFiles
    from rtexp.settings import KafkaSettings

START_SECONDS = 60.0


async def answers(kafka: KafkaSettings, *, within_s: float = ANSWER_SECONDS) -> bool:
    """Tell whether Kafka can be used.

    ConfigError if a file that its security needs is missing.
    """
    return await probe(kafka, within_s=within_s) is None


async def prepare(files: BrokerFiles) -> None:
    """Make the data directory a broker's if it isn't one yet.

    StoreUnavailable, with what Kafka's tool said, if that fails.
    """
    if files.formatted:
        return
    said: list[str] = []
    process = await Process.start("broker", files.format_command())
    try:
        code = await process.ended(lambda _name, line: said.append(line))
    except asyncio.CancelledError:
        process.signal(signal.SIGKILL)
        # Seen to its end: a child that outlives the event loop complains when Python collects it.
        await process.ended(lambda _name, _line: None)
        raise
    if code or not files.formatted:
        raise StoreUnavailable(_with_tail(f"Kafka can't use {files.directory}", said))


async def wait_until_it_answers(
    kafka: KafkaSettings, ended: Callable[[], Sequence[str] | None], *, within_s: float = START_SECONDS
) -> None:
    """Return once a broker that was started answers.

    ``ended()`` is None while it runs, else its last lines. StoreUnavailable, with those, when it ends
    or stays mute.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + within_s
    while not await answers(kafka):
        tail = ended()
        if tail is not None:
            raise StoreUnavailable(_with_tail("Kafka ended while it started", tail))
        if loop.time() > until_s:
            raise StoreUnavailable(f"Kafka was started, but doesn't answer within {within_s:g} s")
        await asyncio.sleep(0.2)  # nothing tells when a port opens


def _with_tail(message: str, tail: Sequence[str]) -> str:
    return "\n".join([f"{message}; it said:" if tail else f"{message}, and said nothing", *tail])
