"""What each target has yet to get, and what it didn't take: read from Kafka, whether or not delivery runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from rtexp.alerts.feed import ALERTS, CONDITIONS, group_of, kept_positions, unanswered
from rtexp.alerts.topics import read_undelivered, records_from

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.records.conditions import Undelivered
    from rtexp.settings import KafkaSettings, Target


@dataclass(frozen=True, slots=True)
class Backlog:
    """Of one target."""

    target: str
    kind: str
    has_begun: bool
    """Whether delivery has ever run with it."""
    pending: int
    oldest_ms: int | None
    """When the oldest that is pending came; None if none is."""
    undelivered: list[Undelivered]

    def as_object(self) -> dict[str, Any]:
        """Return what JSON shows."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


async def read_backlogs(kafka: KafkaSettings, targets: Iterable[Target]) -> list[Backlog]:
    """Return the backlog of each target; StoreUnavailable if Kafka doesn't answer."""
    records = {name: await records_from(kafka, name) for name in (ALERTS, CONDITIONS)}
    undelivered = await read_undelivered(kafka)
    backlogs = []
    for target in targets:
        try:
            kept = await kept_positions(kafka, group_of(kafka, target.name))
        except (KafkaError, TimeoutError) as exc:
            raise await unanswered(kafka, exc) from exc
        pending = [
            record.timestamp
            for name, of_topic in records.items()
            if (position := kept.get(TopicPartition(kafka.topic(name), 0))) is not None
            for record in of_topic
            if record.offset >= position.offset and record.offset not in position.ahead
        ]
        lost = [item for item in undelivered if item.target == target.name]
        backlogs.append(
            Backlog(target.name, target.kind, bool(kept), len(pending), min(pending, default=None), lost)
        )
    return backlogs
