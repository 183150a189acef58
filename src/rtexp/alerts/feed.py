"""What one target reads from Kafka, and how far it is: a consumer group of its own that has no members.

Positions are committed by hand for named partitions, so no rebalance takes anything away, and whoever starts after a
crash goes on at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from rtexp.alerts.mailbox import Position
from rtexp.errors import FatalError, StoreRefused, StoreUnavailable, UsageError
from rtexp.kafka.probe import probe
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from structlog.typing import FilteringBoundLogger

    from rtexp.settings import KafkaSettings

ALERTS, CONDITIONS, UNDELIVERED = "alerts", "conditions", "undelivered"
"""Topics, less the prefix. Each has one partition."""
MAX_RECORDS = 100
COORDINATOR_SECONDS = 30.0


class Read(NamedTuple):
    """One record."""

    topic: str
    """Less the prefix."""
    offset: int
    appended_ms: int
    value: bytes


class Feed(Protocol):
    """Where a target's records come from."""

    async def positions(self) -> Mapping[str, Position]:
        """Return by topic how far the target is; reading begins there."""

    async def read(self, wait_seconds: float) -> Iterable[Read]:
        """Return what comes next, waiting up to so long for it; nothing if nothing comes."""

    async def commit(self, topic: str, position: Position) -> None:
        """Keep a position."""


class KafkaFeed:
    """The feed of one target: an async context manager. Any error in it is for its process to end by."""

    def __init__(self, kafka: KafkaSettings, target: str) -> None:
        self._kafka = kafka
        self._group = group_of(kafka, target)
        self._tps = {name: TopicPartition(kafka.topic(name), 0) for name in (ALERTS, CONDITIONS)}
        self._names = {tp: name for name, tp in self._tps.items()}
        self._consumer = AIOKafkaConsumer(
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            **client_options(kafka),
        )
        self._log: FilteringBoundLogger = structlog.get_logger(__name__).bind(target=target)

    async def __aenter__(self) -> Self:
        await started(self._consumer, self._kafka, (tp.topic for tp in self._tps.values()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def positions(self) -> Mapping[str, Position]:
        """Return by topic how far the target is; a new one begins at the end, as old alerts are no news."""
        try:
            kept = await kept_positions(self._kafka, self._group)
            starts = await self._consumer.beginning_offsets(list(self._names))
            ends = await self._consumer.end_offsets(list(self._names))
        except (KafkaError, TimeoutError) as exc:
            raise await unanswered(self._kafka, exc) from exc
        # Assigned only now, and sought at once: the client would look for a start of its own.
        self._consumer.assign(list(self._names))
        found, new = {}, []
        for name, tp in self._tps.items():
            position = kept.get(tp)
            if position is None:
                position = Position(ends[tp])
                new.append(name)
            elif not starts[tp] <= position.offset <= ends[tp]:
                self._log.warning(
                    "position_gone", topic=tp.topic, position=position.offset, begins_at=starts[tp]
                )
                position = Position(starts[tp])
            self._consumer.seek(tp, position.offset)
            found[name] = position
        for name in new:
            await self.commit(name, found[name])
        return found

    async def read(self, wait_seconds: float) -> Iterable[Read]:
        """Return what comes next."""
        try:
            fetched = await self._consumer.getmany(
                timeout_ms=int(wait_seconds * 1000), max_records=MAX_RECORDS
            )
        except KafkaError as exc:
            raise FatalError(f"alerts can't be read: {exc!r}") from exc
        return [
            Read(self._names[tp], record.offset, record.timestamp, record.value or b"")
            for tp, records in fetched.items()
            for record in records
        ]

    async def commit(self, topic: str, position: Position) -> None:
        """Keep a position in the group."""
        kept = OffsetAndMetadata(position.offset, position.metadata())
        try:
            await self._consumer.commit({self._tps[topic]: kept})
        except (KafkaError, TimeoutError) as exc:
            raise FatalError(f"the position in {self._tps[topic].topic} can't be kept: {exc!r}") from exc


def group_of(kafka: KafkaSettings, target: str) -> str:
    """Return the consumer group that keeps a target's positions."""
    return f"{kafka.prefix}-alerts-{target}"


async def kept_positions(kafka: KafkaSettings, group: str) -> dict[TopicPartition, Position]:
    """Return what a group has committed; KafkaError or TimeoutError if nobody says."""
    client = AIOKafkaAdminClient(**client_options(kafka))
    try:
        await client.start()
        async with asyncio.timeout(COORDINATOR_SECONDS):
            offsets = await _offsets(client, group)
    finally:
        await client.close()
    return {
        tp: Position.read(kept.offset, kept.metadata or "")
        for tp, kept in offsets.items()
        if kept.offset >= 0
    }


async def _offsets(client: AIOKafkaAdminClient, group: str) -> Mapping[TopicPartition, OffsetAndMetadata]:
    while True:
        try:
            found: Mapping[TopicPartition, OffsetAndMetadata] = await client.list_consumer_group_offsets(
                group
            )
        except KafkaError as exc:
            # The first group of a new cluster waits for a topic to be made, one of a broker that starts for reading it.
            if not exc.retriable:
                raise
            await asyncio.sleep(0.2)
        else:
            return found


async def started(consumer: AIOKafkaConsumer, kafka: KafkaSettings, topics: Iterable[str]) -> None:
    """Start a consumer; StoreUnavailable if no broker answers, UsageError if one of the topics is missing."""
    try:
        await consumer.start()
        # Asked for the offsets of a topic that isn't there, the client waits for it.
        known = await consumer.topics()
        missing = [topic for topic in topics if topic not in known]
    except BaseException as exc:
        await consumer.stop()
        if isinstance(exc, KafkaError | TimeoutError):
            raise await unanswered(kafka, exc) from exc
        raise
    if missing:
        await consumer.stop()
        raise UsageError(f"there is no topic {missing[0]}: run `rtexp topics create`")


async def unanswered(kafka: KafkaSettings, error: Exception) -> StoreUnavailable:
    """Return the error to raise where a broker doesn't do what it was asked."""
    if (fault := await probe(kafka)) is None:
        brokers = ", ".join(kafka.brokers)
        return StoreUnavailable(f"Kafka at {brokers} doesn't answer: {error or type(error).__name__}")
    return StoreUnavailable(fault.text) if fault.away else StoreRefused(fault.text)
