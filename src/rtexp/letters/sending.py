"""Sending letters to their raw topics: value and replayed origin in one transaction, so that each comes with the other.

There is one transactional id for all who replay: whoever begins ends the transaction of whoever was there before,
and then reads what had been committed. So nothing is sent twice, by two at once or after a kill.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

from rtexp.errors import FatalError
from rtexp.local.unreachable import unreachable
from rtexp.records import letters
from rtexp.records.letters import REPLAYED_HEADER, REPLAYED_VERSION, Origin, Replayed, encode_replayed
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from rtexp.records.letters import Letter
    from rtexp.settings import KafkaSettings

TRANSACTION_SECONDS = 30.0
"""A raw partition whose sender was killed can't be read on for so long, unless the next replay begins earlier."""
STOP_SECONDS = 5.0
MAX_BATCH_BYTES = 200_000


class Ready(NamedTuple):
    """A letter that is about to be sent again."""

    letter: Letter
    value: bytes
    partition: int


class LetterSender:
    """Sends batches of letters; made by `letter_sender`."""

    def __init__(self, kafka: KafkaSettings, producer: Any, *, keeps_times: bool) -> None:
        """``keeps_times``: records get the time stamps of their origins; otherwise that of now."""
        self._replayed_topic = kafka.topic(letters.REPLAYED_TOPIC)
        self._producer = producer
        self._keeps_times = keeps_times

    async def send(self, batch: Sequence[Ready]) -> None:
        """Send all of a batch, in order, or nothing of it; FatalError if it isn't known to stand there then."""
        try:
            # Nothing is aborted where this fails: the client would wait for a broker that is away, for ever. Whoever
            # begins next does it, or the broker itself after the same time.
            async with asyncio.timeout(TRANSACTION_SECONDS):
                await self._producer.begin_transaction()
                await self._send(batch)
                await self._producer.commit_transaction()
        except ProducerFenced as exc:
            raise FatalError(
                "another `rtexp dead-letters replay` has begun, which ends this one; what this one had sent, it knows"
            ) from exc
        except (KafkaError, TimeoutError) as exc:
            why = (
                f"no answer within {TRANSACTION_SECONDS:g} s" if isinstance(exc, TimeoutError) else repr(exc)
            )
            raise FatalError(
                f"whether {len(batch):,} letters were sent is unknown ({why}): run it again, none is sent twice"
            ) from exc

    async def _send(self, batch: Sequence[Ready]) -> None:
        sent = [
            await self._producer.send(
                letter.origin.topic,
                value,
                key=letter.key,
                partition=partition,
                timestamp_ms=letter.time_ms if self._keeps_times else None,
                headers=[(REPLAYED_HEADER, str(letter.origin).encode())],
            )
            for letter, value, partition in batch
        ]
        now_ms = time.time_ns() // 1_000_000
        notes = []
        for ready, at in zip(batch, await asyncio.gather(*sent), strict=True):
            note = Replayed(REPLAYED_VERSION, now_ms, str(Origin(at.topic, at.partition, at.offset)))
            key = str(ready.letter.origin).encode()
            notes.append(
                await self._producer.send(self._replayed_topic, encode_replayed(note), key=key, partition=0)
            )
        await asyncio.gather(*notes)


@asynccontextmanager
async def letter_sender(
    kafka: KafkaSettings, *, limits: Sequence[int], keeps_times: bool
) -> AsyncIterator[LetterSender]:
    """Begin: after this, no other replay that was there before can commit anything.

    ``limits`` are the largest batches, in bytes, that the raw topics take. StoreUnavailable if no broker answers,
    FatalError if it grants no transactions.
    """
    id_ = f"{kafka.prefix}-dead-letters-replay"
    producer = AIOKafkaProducer(
        transactional_id=id_,
        transaction_timeout_ms=int(TRANSACTION_SECONDS * 1000),
        max_request_size=max(limits),
        max_batch_size=min(MAX_BATCH_BYTES, *limits),  # a single record may be larger
        **client_options(kafka),
    )
    try:
        try:
            async with asyncio.timeout(2 * TRANSACTION_SECONDS):  # the client itself would try for ever
                await producer.start()
        except KafkaError as exc:
            raise await unreachable(kafka, exc, doing="beginning transactions") from exc
        except TimeoutError as exc:
            raise FatalError(
                f"no transactions could be had as {id_}: may this user write with that transactional id, and are "
                "there as many brokers as their transaction.state.log.replication.factor?"
            ) from exc
        yield LetterSender(kafka, producer, keeps_times=keeps_times)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):  # it waits for what a broker that is away doesn't take
                await producer.stop()
