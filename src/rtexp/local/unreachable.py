"""What a command says when Kafka doesn't do what it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.errors import StoreRefused, StoreUnavailable, UsageError
from rtexp.kafka.probe import probe

if TYPE_CHECKING:
    from rtexp.settings import KafkaSettings


async def unreachable(kafka: KafkaSettings, error: Exception, *, doing: str) -> StoreUnavailable:
    """Return the error to raise; ``doing`` completes "while", as in "listing topics"."""
    if (fault := await probe(kafka)) is None:
        brokers = ", ".join(kafka.brokers)
        return StoreUnavailable(f"Kafka at {brokers} failed while {doing}: {error or type(error).__name__}")
    if not fault.away:
        return StoreRefused(fault.text)
    return StoreUnavailable(
        f"{fault.text}: start it (`rtexp up` does so on this machine), or correct [kafka] brokers"
    )


def no_topic(name: str) -> UsageError:
    """Return the error to raise where a topic is missing."""
    return UsageError(f"there is no topic {name}: run `rtexp topics create`, and start the workers")
