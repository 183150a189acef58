"""Reading whole topics of alerts to their present end, and writing to them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from rtexp.alerts.feed import CONDITIONS, UNDELIVERED, started, unanswered
from rtexp.errors import FatalError
from rtexp.records import conditions
from rtexp.settings import client_options

if TYPE_CHECKING:
    from types import TracebackType

    from aiokafka import ConsumerRecord

    from rtexp.records.conditions import Condition, Undelivered
    from rtexp.settings import KafkaSettings

ANSWER_SECONDS = 5.0


async def records_from(kafka: KafkaSettings, name: str, offset: int = 0) -> list[ConsumerRecord]:
    """Return the committed records of one of the topics, from an offset to its end at the call."""
    tp = TopicPartition(kafka.topic(name), 0)
    consumer = AIOKafkaConsumer(
        enable_auto_commit=False, isolation_level="read_committed", **client_options(kafka)
    )
    await started(consumer, kafka, [tp.topic])
    found: list[ConsumerRecord] = []
    try:
        consumer.assign([tp])
        starts, ends = await consumer.beginning_offsets([tp]), await consumer.end_offsets([tp])
        consumer.seek(tp, max(offset, starts[tp]))
        while await consumer.position(tp) < ends[tp]:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
    except (KafkaError, TimeoutError) as exc:
        raise await unanswered(kafka, exc) from exc
    finally:
        await consumer.stop()
    return [record for record in found if record.offset < ends[tp]]


async def told_conditions(kafka: KafkaSettings) -> list[Condition]:
    """Return what people have been told of the pipeline, oldest first."""
    return [conditions.decode_condition(record.value) for record in await records_from(kafka, CONDITIONS)]


async def read_undelivered(kafka: KafkaSettings) -> list[Undelivered]:
    """Return what targets didn't take, oldest first."""
    return [conditions.decode_undelivered(record.value) for record in await records_from(kafka, UNDELIVERED)]


class Outlet:
    """Writes to `conditions` and `undelivered`: an async context manager."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._producer = AIOKafkaProducer(acks="all", enable_idempotence=True, **client_options(kafka))

    async def __aenter__(self) -> Self:
        try:
            await self._producer.start()
        except BaseException as exc:
            await self._producer.stop()
            if isinstance(exc, KafkaError | TimeoutError):
                raise await unanswered(self._kafka, exc) from exc
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()

    async def answers(self) -> bool:
        """Return whether a broker answers now."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return bool(await self._producer.client.force_metadata_update())
        except (KafkaError, TimeoutError):
            return False

    async def tell(self, condition: Condition) -> None:
        """Write a condition; FatalError if it can't be."""
        await self._send(CONDITIONS, condition.kind, condition)

    async def keep(self, undelivered: Undelivered) -> None:
        """Write what a target didn't take; FatalError if it can't be."""
        await self._send(UNDELIVERED, undelivered.target, undelivered)

    async def _send(self, name: str, key: str, record: Condition | Undelivered) -> None:
        topic = self._kafka.topic(name)
        try:
            await self._producer.send_and_wait(
                topic, conditions.encode(record), key=key.encode(), partition=0
            )
        except (KafkaError, TimeoutError) as exc:
            raise FatalError(f"{topic} can't be written: {exc!r}") from exc
