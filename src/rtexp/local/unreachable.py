"""What a command says when Kafka doesn't do what it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import KafkaConnectionError

from rtexp.errors import StoreUnavailable, UsageError

if TYPE_CHECKING:
    from rtexp.settings import KafkaSettings


def unreachable(kafka: KafkaSettings, error: Exception, *, doing: str) -> StoreUnavailable:
    """Return the error to raise; ``doing`` completes "while", as in "listing topics"."""
    brokers = ", ".join(kafka.brokers)
    if isinstance(error, KafkaConnectionError):
        # Its text repeats the address, and no more.
        return StoreUnavailable(
            f"no Kafka answers at {brokers}: start it (`rtexp up` does so on this machine), "
            "or correct [kafka] brokers"
        )
    reason = str(error) or type(error).__name__
    return StoreUnavailable(f"Kafka at {brokers} failed while {doing}: {reason}")


def no_topic(name: str) -> UsageError:
    """Return the error to raise where a topic is missing."""
    return UsageError(f"there is no topic {name}: run `rtexp topics create`, and start the workers")
