"""Whether the process of alerts does its work, and why not: for `/health/ready` and `/metrics`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

from rtexp.metrics.exposition import Sample
from rtexp.metrics.tasks import build_info
from rtexp.records.conditions import ConditionKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from rtexp.alerts.delivery import Delivery

JOB = "alerts"
BROKER_SECONDS = 5.0


class Standing:
    """Filled by whoever delivers; until then it has not started. Targets appear by name, never by address."""

    def __init__(self) -> None:
        self._deliveries: Mapping[str, Delivery] = {}
        self._conditions: Callable[[], Iterable[ConditionKind]] = tuple
        self._has_started = False
        self.broker_up: bool | None = None
        """None until it is known; so is that of SQL."""
        self.store_up: bool | None = None

    def begin(
        self, deliveries: Mapping[str, Delivery], conditions: Callable[[], Iterable[ConditionKind]]
    ) -> None:
        """Say that delivery has begun: by name of the target, and what is wrong with the pipeline as people know it."""
        self._deliveries = deliveries
        self._conditions = conditions
        self._has_started = True

    def reasons(self) -> list[str]:
        """Return why it isn't ready, as stable codes."""
        found = [] if self._has_started else ["not-started"]
        if self.broker_up is False:
            found.append("broker")
        if self.store_up is False:
            found.append("store-unavailable")
        return found + [f"target:{name}" for name in self.failing()]

    def failing(self) -> dict[str, str]:
        """Return since when targets fail, by name: ISO 8601 in UTC."""
        return {
            name: datetime.fromtimestamp(since_ms / 1000, UTC).isoformat(timespec="seconds")
            for name, delivery in self._deliveries.items()
            if (since_ms := delivery.tally.failing_since_ms) is not None
        }

    def samples(self) -> Iterator[Sample]:
        """Yield what `/metrics` shows, as of now; what isn't known yet is absent."""
        yield build_info(JOB, "")
        if self.broker_up is not None:
            yield Sample("rtexp_broker_up", (), self.broker_up)
        if self.store_up is not None:
            yield Sample("rtexp_store_up", (JOB,), self.store_up)
        for name, delivery in self._deliveries.items():
            tally, waiting = delivery.tally, delivery.waiting()
            if tally.was_tried:
                yield Sample("rtexp_alerts_target_up", (name,), tally.failing_since_ms is None)
            yield Sample("rtexp_alerts_delivered_total", (name,), tally.delivered)
            yield Sample("rtexp_alerts_delayed_total", (name,), tally.delayed)
            yield Sample("rtexp_alerts_undelivered_total", (name,), tally.undelivered)
            yield Sample("rtexp_alerts_pending", (name,), waiting.pending)
            yield Sample("rtexp_alerts_held", (name,), waiting.held)
            if waiting.oldest_ms is not None:
                oldest_s = waiting.oldest_ms / 1000
                yield Sample("rtexp_alerts_oldest_pending_timestamp_seconds", (name,), oldest_s)
        if self._has_started:
            known = list(self._conditions())
            for kind in get_args(ConditionKind):
                yield Sample("rtexp_alerts_conditions_open", (kind,), known.count(kind))


async def watch_broker(standing: Standing, answers: Callable[[], Awaitable[bool]]) -> None:
    """Ask the brokers again and again whether they are there, until cancelled: who only reads isn't told."""
    while True:
        standing.broker_up = await answers()
        await asyncio.sleep(BROKER_SECONDS)
