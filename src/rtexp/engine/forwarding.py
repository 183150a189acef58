"""Running a forward agent: feed, drain, deliver, and only then commit. At least once, in order.

There is one drain in flight at a time and one idempotent producer, so whatever a partition receives from this
worker is in the order in which it was drained, and a commit says that all of it has been delivered. An error
or time-out in delivering ends the process: what was not committed is read again by whoever comes next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer

from rtexp.engine.sensors import InputStatus, TaskSensors, TaskStatus
from rtexp.errors import FatalError, StateError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from rtexp.engine.api import Commit, ForwardAgent, Record, TopicPartition
    from rtexp.engine.config import EngineConfig

    CommitOffsets = Callable[[Mapping[TopicPartition, Commit]], Awaitable[bool]]

log = logging.getLogger(__name__)


class ForwardRunner:
    """Runs one `Forwarder` for all partitions of this worker. All methods belong to the worker's event loop."""

    def __init__(self, agent: ForwardAgent, config: EngineConfig, commit: CommitOffsets) -> None:
        self.agent = agent
        self.sensors = TaskSensors()
        self._config = config
        self._commit = commit
        self._fetched: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._at_end_ms: dict[TopicPartition, int] = {}
        self._lock = asyncio.Lock()
        self._work = asyncio.Event()
        self._rows = 0
        self._closed = False
        self._paused = True
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. StateError if an output is cut into other partitions than those that the forwarder sends to."""
        config = self._config
        self._producer = AIOKafkaProducer(
            bootstrap_servers=list(config.brokers),
            enable_idempotence=True,
            acks="all",
            request_timeout_ms=int(config.request_timeout * 1000),
            max_request_size=8 << 20,
            # Just above what a raw record may be: a dead letter carries the original and its headers.
            max_batch_size=1_000_000,
            linger_ms=0,
            **config.connection(),
        )
        async with asyncio.timeout(config.transaction_timeout):  # the client itself would try for ever
            await self._producer.start()
        for topic, partitions in self.agent.outputs.items():
            found = len(await self._producer.partitions_for(topic))
            # With fewer than there are, rows would go to other places than those before them, and nobody would say so.
            if found != partitions:
                raise StateError(
                    f"{topic} has {found} partitions, but this worker is set to send to {partitions}: put [kafka] "
                    "partitions back to what it was, or begin anew with another [kafka] prefix"
                )

    def assign(
        self, starts: Mapping[TopicPartition, Commit | None], log_starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int], partitions: Mapping[str, int],
    ) -> dict[TopicPartition, int]:  # fmt: skip
        """Start these partitions, and no others; return where to read each from.

        StateError if a raw topic is shorter than what has been read of it: it was deleted and made again.
        """
        self._fetched.clear()
        self._at_end_ms.clear()
        for tp, committed in starts.items():
            if committed is not None and committed.next_offset > ends[tp]:
                raise StateError(
                    f"{tp.topic}/{tp.partition} ends at {ends[tp]}, but had been read up to {committed.next_offset}: "
                    "the topic was deleted and made again. Start with a new [kafka] prefix, or remove rtexp's own "
                    "topics and its data directory, so that nothing of the old topic is counted with the new one"
                )
            start = max(committed.next_offset, log_starts[tp]) if committed is not None else log_starts[tp]
            self._fetched[tp] = start
            self._committed[tp] = start
            self.agent.forwarder.assign(
                tp, committed, log_start=log_starts[tp], partitions=partitions[tp.topic]
            )
        self._paused = self._closed
        return dict(self._fetched)

    async def pause(self) -> None:
        """Finish the drain in progress and give all partitions up."""
        self._paused = True
        async with self._lock:
            self.agent.forwarder.revoke(list(self._fetched))
            self._fetched.clear()
            self._at_end_ms.clear()

    def wants(self, tp: TopicPartition) -> bool:
        """Tell whether records of this partition should be fetched now."""
        return (
            not self._paused
            and tp in self._fetched
            and self.agent.forwarder.waiting_rows(tp) < self._config.waiting_rows
            and self.agent.forwarder.waiting_bytes() < self._config.waiting_bytes
        )

    def feed(self, tp: TopicPartition, records: Sequence[Record]) -> bool:
        """Take over fetched records, in order; return True if they could not be taken and must be fetched again."""
        if self._paused or tp not in self._fetched:
            return True
        fetched = self._fetched[tp]
        if records[0].offset < fetched:
            records = [record for record in records if record.offset >= fetched]
            if not records:
                return False
        self.agent.forwarder.feed(tp, records, now_ms=_now_ms())
        self._fetched[tp] = records[-1].offset + 1
        self._at_end_ms.pop(tp, None)
        self.sensors.rows += len(records)
        self._rows += len(records)
        if self._rows >= self._config.flush_rows:
            self._work.set()
        return False

    def next_offset(self, tp: TopicPartition) -> int:
        """Return the offset that the transport has to hand over next."""
        return self._fetched[tp]

    def saw_end(self, tp: TopicPartition, end: int, *, reached_ms: int | None) -> None:
        """Note the end of a partition, and when it was seen that all of it had been handed over."""
        if tp in self._fetched:
            self._ends[tp] = end
            if reached_ms is not None:
                self._at_end_ms[tp] = reached_ms

    async def run(self) -> None:
        """Drain until closed: every interval, or as soon as there is enough to do."""
        while not self._closed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._work.wait(), self._config.flush_interval)
            self._work.clear()
            await self.drain()

    async def drain(self) -> None:
        """Send what can go out, wait until all of it has arrived, then commit."""
        async with self._lock:
            if self._paused:
                return
            assert self._producer is not None
            started, rows = time.monotonic(), self._rows
            self._rows = 0
            forwarded = self.agent.forwarder.drain(now_ms=_now_ms(), at_end_ms=dict(self._at_end_ms))
            try:
                async with asyncio.timeout(self._config.transaction_timeout):
                    sent = [
                        await self._producer.send(
                            out.topic,
                            out.value,
                            key=out.key,
                            partition=out.partition,
                            headers=list(out.headers) or None,
                        )
                        for out in forwarded.outputs
                    ]
                    await asyncio.gather(*sent)
            except Exception as exc:
                raise FatalError(f"delivering failed ({type(exc).__name__}: {exc})") from exc
            if forwarded.commits and await self._commit(forwarded.commits):
                self._committed.update({tp: done.next_offset for tp, done in forwarded.commits.items()})
            if forwarded.outputs:
                seconds = time.monotonic() - started
                self.sensors.flushed(seconds)
                fields = {"agent": self.agent.name, "rows": rows, "outputs": len(forwarded.outputs)}
                log.debug("flush", extra={**fields, "took_ms": round(seconds * 1000)})

    async def close(self) -> None:
        """Deliver and commit what is there, then disconnect."""
        if self._producer is not None:
            await self.drain()
        # Before anything else runs: a drain that waited for this one would find the producer stopped.
        self._paused = self._closed = True
        self._work.set()
        if self._producer is not None:
            await self._producer.stop()

    def _end(self, tp: TopicPartition) -> int:
        # Behind the last record there may be marks of transactions, which nobody lags behind.
        return self._fetched[tp] if tp in self._at_end_ms else self._ends.get(tp, -1)

    def status(self) -> TaskStatus:
        """Say what an operator wants to see."""
        state = self.agent.forwarder.status()
        inputs = {
            f"{tp.topic}/{tp.partition}": InputStatus(
                self._committed[tp], self._end(tp), self.agent.forwarder.waiting_rows(tp),
                state.watermarks_ms.get(f"{tp.topic}/{tp.partition}", 0),
            )
            for tp in self._fetched
        }  # fmt: skip
        details = {name: getattr(self.sensors, name) for name in ("rows", "flushes", "flush_seconds")}
        return TaskStatus(
            self.agent.name, -1, not self._paused, "live" if not self._paused else "paused", inputs,
            state.counters, details | dict(state.details),
        )  # fmt: skip


def _now_ms() -> int:
    return int(time.time() * 1000)
