"""A fenced transactional producer, one for each partition of a table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from rtexp.errors import FatalError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.engine.api import Output
    from rtexp.engine.config import EngineConfig

_MAX_REQUEST = 8 << 20
_MAX_BATCH = 900_000
"""Brokers refuse record batches above 1 MB by default."""


class FencedProducer:
    """Sends in transactions; starting one fences every earlier owner of the same id, and ends its transaction.

    Every error is fatal for the process: whether a commit that failed or timed out took place is unknown.
    """

    def __init__(self, config: EngineConfig, transactional_id: str) -> None:
        self._timeout = config.transaction_timeout
        self._id = transactional_id
        self._producer = AIOKafkaProducer(
            bootstrap_servers=list(config.brokers),
            transactional_id=transactional_id,
            transaction_timeout_ms=int(config.transaction_timeout * 1000),
            request_timeout_ms=int(config.request_timeout * 1000),
            max_request_size=_MAX_REQUEST,
            max_batch_size=_MAX_BATCH,
            **config.connection(),
        )

    async def start(self) -> None:
        """Fence earlier owners; after this nothing of theirs can be committed any more.

        FatalError if that isn't done in time: the client itself would ask for a coordinator for ever, and the
        partition would be nobody's without a word.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._producer.start()
        except Exception as exc:
            raise FatalError(
                f"no transactions could be had as {self._id} ({type(exc).__name__}: {exc}): can the brokers be "
                "reached, may this user write with that transactional id, and are there as many brokers as their "
                "transaction.state.log.replication.factor?"
            ) from exc

    async def transact(self, outputs: Iterable[Output]) -> list[Any]:
        """Send all outputs in one transaction; return their metadata (offsets) once it is committed."""
        outputs = list(outputs)
        try:
            async with asyncio.timeout(self._timeout):
                return await self._transact(outputs)
        except MessageSizeTooLargeError as exc:
            largest = max(outputs, key=lambda out: len(out.value or b""))
            raise FatalError(
                f"a record of {len(largest.value or b''):,} bytes, {(largest.key or b'').decode(errors='replace')!r}, "
                f"is more than {largest.topic} takes: raise its max.message.bytes; {_MAX_REQUEST:,} are sent at most"
            ) from exc
        except Exception as exc:
            raise FatalError(f"a transaction failed ({type(exc).__name__}: {exc})") from exc

    async def _transact(self, outputs: Iterable[Output]) -> list[Any]:
        producer = self._producer
        await producer.begin_transaction()
        sent = [
            await producer.send(
                out.topic, out.value, key=out.key, partition=out.partition, headers=list(out.headers) or None
            )
            for out in outputs
        ]
        metadata = await asyncio.gather(*sent)
        await self._commit()
        return metadata

    async def _commit(self) -> None:
        await self._producer.commit_transaction()

    async def stop(self) -> None:
        """Close the connection."""
        await self._producer.stop()
