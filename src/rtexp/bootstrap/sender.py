"""A plain producer for low-volume records, outside of transactions."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from rtexp.errors import FatalError
from rtexp.records.snapshot import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rtexp.engine.api import Output

_FRAME_BYTES = 1 << 16
"""For what a record has besides its value. The client compares sizes before it compresses, the broker afterwards."""
LATE_SECONDS = 10.0
"""A broker that hasn't taken a record within this time is taken for lost, long before the client gives up."""


class Sender:
    """Connects when first used, and keeps track of whether the broker takes what it is given."""

    def __init__(
        self, options: Callable[[], Mapping[str, Any]], *, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        """``options`` returns those of the client, whenever it has to connect."""
        self._options = options
        self._seconds = seconds
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()
        self._waiting: dict[int, float] = {}
        """Since when which record waits to be taken."""
        self._sent = 0
        self._failed = False

    async def send(self, out: Output) -> None:
        """Return once a record has been delivered; FatalError if it can't be."""
        self._sent += 1
        number = self._sent
        self._waiting[number] = self._seconds()
        try:
            producer = await self._connected()
            await producer.send_and_wait(out.topic, out.value, key=out.key, partition=out.partition)
        except (KafkaError, TimeoutError) as exc:
            self._failed = True
            raise FatalError(f"{out.topic} can't be written: {exc!r}") from exc
        finally:
            del self._waiting[number]
        self._failed = False

    def is_well(self) -> bool:
        """Tell whether the broker took the last record, and hasn't left one waiting; True before the first."""
        oldest = min(self._waiting.values(), default=None)
        return not self._failed and (oldest is None or self._seconds() - oldest < LATE_SECONDS)

    async def _connected(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._options(),
                    compression_type="gzip",
                    max_request_size=MOST_BYTES + _FRAME_BYTES,
                    acks="all",
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        """Close for good."""
        if self._producer is not None:
            await self._producer.stop()
