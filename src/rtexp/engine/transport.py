"""Faust's transport with whole fetched batches, handed to the `Dispatcher` rather than message by message.

Overridden of Faust (and guarded by tests/unit/engine/test_contract.py): how the client is made, how records
are fetched, what a seek after a rebalance does, and what happens before partitions are given up.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnsupportedCodecError,
)
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaTopicPartition
from faust.transport.drivers import aiokafka as driver
from mode import Service

from rtexp.engine.api import Commit, TopicPartition
from rtexp.engine.failstop import die
from rtexp.engine.whole_batches import WholeBatchConsumer
from rtexp.errors import StateError, TooMuchBadInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from rtexp.engine.config import EngineConfig
    from rtexp.engine.dispatch import Dispatcher

IDLE_SECONDS = 0.05
WATCH_SECONDS = 1.0
LISTS_AT_ONCE = 4
"""Lists of records taken from the client in one call: most often one a partition."""
FETCH_WAIT_MS = 500
"""A fetch without news returns after this long, which is how often the end of an idle partition is seen."""


class End(NamedTuple):
    """What the client knows of one partition, all as of the same moment."""

    position: int
    """Next offset that the client will hand over."""
    end: int
    """The last stable offset, as of the last fetch."""
    polled_ms: int | None
    """Wall clock at which the fetch before that one was answered, so that this one's answer shows the log as it
    was then or later; None at first. (The answer's own time won't do: a process that was stopped, or a laptop that
    slept, takes up an old answer at a new time.)"""


class Fetched(NamedTuple):
    """What one call to the client brought."""

    records: dict[Any, list[Any]]
    ends: Mapping[TopicPartition, End]


class Offsets(NamedTuple):
    """First and next-to-be-written offset of partitions."""

    first: Mapping[TopicPartition, int]
    end: Mapping[TopicPartition, int]


class BatchConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust ships no usable types
    """The client in its own thread: heartbeats go on while the event loop computes."""

    def _create_worker_consumer(self, transport: Any) -> WholeBatchConsumer:  # noqa: ARG002 - Faust's signature
        config: EngineConfig = self.app.config
        self._assignor = self.app.assignor
        return WholeBatchConsumer(
            list_records=config.fetch_records,
            bootstrap_servers=list(config.brokers),
            client_id=self.app.conf.broker_client_id,
            group_id=config.group,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            # An offset that is gone must never become another one silently.
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_poll_records=LISTS_AT_ONCE,
            max_poll_interval_ms=int(max(300.0, 2 * config.transaction_timeout) * 1000),
            max_partition_fetch_bytes=config.fetch_bytes,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            request_timeout_ms=int(config.request_timeout * 1000),
            session_timeout_ms=int(config.session_timeout * 1000),
            heartbeat_interval_ms=int(min(3.0, config.session_timeout / 5) * 1000),
            rebalance_timeout_ms=int(config.transaction_timeout * 1000),
            **config.connection(),
        )

    async def _fetch_records(
        self, consumer: WholeBatchConsumer, active_partitions: set[Any], timeout: float | None = None,  # noqa: ASYNC109
        max_records: int | None = None,
    ) -> Fetched:  # fmt: skip
        lists = await super()._fetch_records(
            consumer, active_partitions, timeout=timeout, max_records=max_records
        )
        records = {tp: list(chain.from_iterable(some)) for tp, some in (lists or {}).items()}
        return Fetched(records, self._ends(consumer))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._answers: dict[TopicPartition, tuple[int, int | None]] = {}
        """When the last fetch that we know of was answered, and the one before it."""

    def _ends(self, consumer: Any) -> dict[TopicPartition, End]:
        """Return the ends of all partitions whose end is known; read here so that nothing is fetched meanwhile."""
        subscription = consumer._subscription.subscription  # noqa: SLF001 - position() would wait
        if subscription is None or subscription.assignment is None:
            return {}
        ends = {}
        for tp in subscription.assignment.tps:
            state = subscription.assignment.state_value(tp)
            if (
                state is not None
                and state.has_valid_position
                and state.lso is not None
                and state.timestamp is not None
            ):
                key = TopicPartition(tp.topic, tp.partition)
                last, before = self._answers.get(key, (state.timestamp, None))
                if state.timestamp != last:
                    last, before = state.timestamp, last
                self._answers[key] = last, before
                ends[key] = End(state.position, state.lso, before)
        return ends

    async def stay(self) -> None:
        """Tell the client that we are there though we fetch nothing: it would leave the group after a while."""
        await self.call_thread(self._stay)

    async def _stay(self) -> None:
        with self._ensure_consumer()._subscription.fetch_context():  # noqa: SLF001 - as a fetch would
            pass

    async def check_group(self) -> None:
        """Raise the KafkaError that keeps the client from its group, if there is one."""
        await self.call_thread(self._check_group)

    async def _check_group(self) -> None:
        consumer = self._consumer
        if consumer is not None and consumer._coordinator is not None:  # noqa: SLF001
            consumer._coordinator.check_errors()  # noqa: SLF001 - it holds errors until somebody asks

    async def offsets(self, tps: Iterable[TopicPartition]) -> Offsets:
        """Ask the broker for the bounds of partitions."""
        return await self.call_thread(self._offsets, [_kafka(tp) for tp in tps])  # type: ignore[no-any-return]

    async def _offsets(self, tps: list[KafkaTopicPartition]) -> Offsets:
        consumer = self._ensure_consumer()
        first = await consumer.beginning_offsets(tps)
        end = await consumer.end_offsets(tps)
        return Offsets(
            {TopicPartition(*tp): offset for tp, offset in first.items()},
            {TopicPartition(*tp): offset for tp, offset in end.items()},
        )

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """Return how many partitions these topics have.

        Faust's `topic_partitions` won't do: it asks the group's coordinator, who knows only what the leader of the
        group has looked up, and None where this worker isn't the leader.
        """
        return await self.call_thread(self._partition_counts, list(topics))  # type: ignore[no-any-return]

    async def _partition_counts(self, topics: list[str]) -> dict[str, int]:
        client = self._ensure_consumer()._client  # noqa: SLF001 - partitions_for_topic() may return None
        return {topic: len(await client._wait_on_metadata(topic)) for topic in topics}  # noqa: SLF001

    async def committed(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, Commit | None]:
        """Ask the group's coordinator for committed offsets and their metadata."""
        return await self.call_thread(self._committed, [_kafka(tp) for tp in tps])  # type: ignore[no-any-return]

    async def _committed(self, tps: list[KafkaTopicPartition]) -> dict[TopicPartition, Commit | None]:
        consumer = self._ensure_consumer()
        # consumer.committed() drops the metadata.
        found = await consumer._coordinator.fetch_committed_offsets(tps)  # noqa: SLF001
        commits: dict[TopicPartition, Commit | None] = dict.fromkeys(TopicPartition(*tp) for tp in tps)
        for tp, stored in found.items():
            if stored.offset >= 0:
                commits[TopicPartition(*tp)] = Commit(stored.offset, stored.metadata or "")
        return commits

    async def commit_with_metadata(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        """Commit; False if the group has moved on (then the partitions are someone else's by now)."""
        return await self.call_thread(self._commit_with_metadata, commits)  # type: ignore[no-any-return]

    async def _commit_with_metadata(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        consumer = self._ensure_consumer()
        try:
            await consumer.commit({_kafka(tp): OffsetAndMetadata(*commit) for tp, commit in commits.items()})
        except (CommitFailedError, IllegalStateError):
            return False
        return True

    async def seek_to(self, positions: Mapping[TopicPartition, int]) -> None:
        """Seek those partitions that are still assigned."""
        await self.call_thread(self._seek_to, positions)

    async def _seek_to(self, positions: Mapping[TopicPartition, int]) -> None:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        for tp, offset in positions.items():
            if _kafka(tp) in assigned:
                consumer.seek(_kafka(tp), offset)


class BatchConsumer(driver.Consumer):  # type: ignore[misc]
    """A consumer whose records never become Faust messages."""

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def dispatcher(self) -> Dispatcher:
        """Whom records are handed to."""
        return self.app.dispatcher  # type: ignore[no-any-return]

    @property
    def thread(self) -> BatchConsumerThread:
        """The client's thread; its coroutines may be awaited from the event loop."""
        return self._thread  # type: ignore[no-any-return]

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:  # noqa: ARG002 - Faust's signature
        return True  # positions are the marker's business

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch_group(self) -> None:
        """End the worker by what keeps it from its group: it asks for records only once it has partitions."""
        while not self.should_stop:
            await self.sleep(WATCH_SECONDS)
            await self._check_group()

    async def _check_group(self) -> None:
        try:
            await self.thread.check_group()
        except (GroupAuthorizationFailedError, TopicAuthorizationFailedError) as exc:
            die(f"Kafka doesn't let this user read ({exc!r}): grant it READ on that group or these topics")
        except KafkaError as exc:
            if not self.should_stop:
                die("the consumer group can't be joined", exc)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:  # noqa: ASYNC109 - Faust's signature
        """Fetch, and hand everything to the dispatcher; yields nothing."""
        try:
            await self._fetch_and_dispatch(timeout)
        except OffsetOutOfRangeError as exc:
            gone = ", ".join(f"{tp.topic}/{tp.partition} at {offset}" for tp, offset in exc.args[0].items())
            die(
                f"records that are still needed are gone from the log ({gone}): its retention is too short",
                exc,
            )
        except UnsupportedCodecError as exc:
            die(
                f"fetched records can't be unpacked ({exc}): install cramjam, which reads what producers compress"
            )
        except (KafkaError, ConsumerStoppedError) as exc:
            if not self.should_stop:
                die("fetching failed", exc)
        except StateError as exc:
            die(str(exc), exc)
        except TooMuchBadInput as exc:
            die(str(exc))  # for people, who can mend it: no traceback
        except Exception as exc:  # noqa: BLE001 - a step that fails has left state that may be wrong
            die("handling fetched records failed", exc)
        return
        yield

    async def _fetch_and_dispatch(self, timeout: float) -> None:  # noqa: ASYNC109
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        dispatcher = self.dispatcher
        generation = dispatcher.generation
        # Seeking here, and nowhere else, means that no fetch is under way meanwhile that might bring records
        # from before the seek.
        if seeks := dispatcher.take_seeks():
            await self.thread.seek_to(seeks)
        active = dispatcher.wanted()
        if not active or self.should_stop:
            await self.thread.stay()
            await self.sleep(IDLE_SECONDS)
            return
        try:
            fetched = await self._getmany({_kafka(tp) for tp in active}, min(timeout, 0.2))
        except (NoOffsetForPartitionError, OffsetOutOfRangeError):
            # The client had partitions of the next assignment already, which nobody has sought yet.
            if generation == dispatcher.generation:
                raise
            return
        if isinstance(fetched, Fetched) and generation == dispatcher.generation and not self.should_stop:
            dispatcher.dispatch(fetched.records, fetched.ends)

    async def perform_seek(self) -> None:
        """Take over the new assignment; Faust calls this after every rebalance."""
        assigned = {TopicPartition(tp.topic, tp.partition) for tp in self.assignment()}
        await self._take_over(assigned)

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        """Faust seeks, and so calls `perform_seek`, only when there is something to seek."""
        await super().on_partitions_assigned(assigned, generation_id)
        if not assigned:
            await self._take_over(set())

    async def _take_over(self, assigned: set[TopicPartition]) -> None:
        # Faust gives up waiting after a time, and at the next rebalance; a task must not be left half closed.
        await asyncio.shield(self._take_over_or_die(assigned))

    async def _take_over_or_die(self, assigned: set[TopicPartition]) -> None:
        try:
            await self.dispatcher.assigned(assigned, self.thread)
        except StateError as exc:
            die(str(exc))
        except Exception as exc:  # noqa: BLE001 - else the worker would own partitions that it doesn't run
            die("taking over partitions failed", exc)

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Let flushes in progress finish before the partitions may go to someone else."""
        self.stop_flow()
        await self.dispatcher.revoked()
        await super().on_partitions_revoked(revoked)


class BatchTransport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with our consumer."""

    Consumer = BatchConsumer


def _kafka(tp: TopicPartition) -> KafkaTopicPartition:
    return KafkaTopicPartition(tp.topic, tp.partition)
