"""`write_operations`: what all workers report becomes rows in SQL, for the operator's view.

It runs on one worker, the leader, which follows the `status` topic from its beginning: that is compacted, and short.
Counting doesn't wait for any of it, nor rest on it. While SQL is away it takes in what is reported, and writes it
afterwards; should two lead for a moment, or one wake up late, newer rows stand.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import KafkaError

from rtexp.agents.counter_book import CounterBook
from rtexp.agents.operations_view import OperationsView
from rtexp.errors import StoreUnavailable
from rtexp.records import status as records
from rtexp.store.availability import Availability
from rtexp.store.engine import reading, writing
from rtexp.store.operations import (
    KEPT_MS,
    read_freshness,
    read_newest_counters,
    read_workers,
    remove_older,
    upsert_counters,
    upsert_freshness,
    upsert_pipeline,
    upsert_workers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Engine
    from structlog.typing import FilteringBoundLogger

    from rtexp.records.status import Status

T = TypeVar("T")

WRITE_SECONDS = 5.0
REMOVE_SECONDS = 600.0
READ_RECORDS = 500
"""At once: decoding these takes some 10 ms, in which the event loop does nothing else."""


class OperationsWriter:
    """The tables `pipeline`, `counters`, `workers` and `freshness`, while this worker leads."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        """``clock`` tells epoch seconds."""
        self._engine = engine
        self._clock = clock
        self._known: _Known | None = None
        self._remove_at = 0.0
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)
        self.store = Availability(self._log)

    async def begin(self) -> bool:
        """Start from what SQL has; then all statuses are to be taken, the oldest first. False: it doesn't answer."""
        self._known = await self._asked(self._read)
        return self._known is not None

    def take(self, status: Status) -> None:
        """Take in one status; not before `begin` has returned True."""
        assert self._known is not None
        self._known.view.take(status)
        self._known.book.take(status)

    async def write(self) -> None:
        """Write what SQL lacks, in one transaction; if it doesn't answer, the next call does so."""
        assert self._known is not None
        view, book = self._known
        now = self._clock()
        rows, counted = view.rows(int(now * 1000)), book.rows()

        def upsert() -> bool:
            with writing(self._engine) as connection:
                # Workers and counters belong together: how far a worker was taken says what is in its counters.
                upsert_workers(connection, rows.workers)
                upsert_counters(connection, counted)
                upsert_pipeline(connection, rows.pipeline)
                upsert_freshness(connection, rows.freshness)
            return True

        if await self._asked(upsert):
            view.written(rows)
            book.written(counted)
            await self._remove_old(now)

    async def _remove_old(self, now: float) -> None:
        if now < self._remove_at:
            return

        def remove() -> bool:
            with writing(self._engine) as connection:
                remove_older(connection, int(now * 1000) - KEPT_MS)
            return True

        if await self._asked(remove):
            self._remove_at = now + REMOVE_SECONDS

    def _read(self) -> _Known:
        with reading(self._engine) as connection:
            fresh = read_freshness(connection, since_ms=int(self._clock() * 1000) - KEPT_MS)
            return _Known(
                OperationsView(fresh_from_ms=fresh[-1].minute_ms if fresh else 0),
                CounterBook(read_newest_counters(connection), read_workers(connection)),
            )

    async def _asked(self, ask: Callable[[], T]) -> T | None:
        """Ask SQL in a thread; None if it doesn't answer."""
        try:
            answer = await asyncio.to_thread(ask)
        except StoreUnavailable as error:
            self.store.lost(error)
            return None
        self.store.found()
        return answer


class _Known(NamedTuple):
    view: OperationsView
    book: CounterBook


async def follow_and_write(
    writer: OperationsWriter,
    connection: Mapping[str, Any],
    topic: str,
    is_leader: Callable[[], bool],
    *,
    write_seconds: float = WRITE_SECONDS,
) -> None:
    """Follow ``topic``, the one of statuses, and write every so many seconds, for as long as ``is_leader`` says so.

    ``connection`` are the client's keyword arguments that say where the broker is. A broker that fails ends it as
    well: call it again. UnsupportedVersion and StateError for a record that can't be read.
    """
    while not await writer.begin():
        await asyncio.sleep(write_seconds)
        if not is_leader():
            return
    consumer = AIOKafkaConsumer(
        **connection, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
        consumer.assign([ClientPartition(topic, 0)])
        write_at = time.monotonic() + write_seconds
        while is_leader():
            fetched = await consumer.getmany(timeout_ms=500, max_records=READ_RECORDS)
            for message in (message for messages in fetched.values() for message in messages):
                if message.value is not None:
                    writer.take(records.decode(message.value))
            if time.monotonic() >= write_at:
                await writer.write()
                write_at = time.monotonic() + write_seconds
    except KafkaError as error:
        structlog.get_logger(__name__).warning("status_not_read", error=repr(error))
    finally:
        await consumer.stop()
