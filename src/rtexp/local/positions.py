"""How far the topics reach, and how far the jobs have got, as the broker and the `status` topic say."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from rtexp.errors import StoreUnavailable
from rtexp.local.status_board import StatusFollower
from rtexp.local.unreachable import no_topic, unreachable
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from rtexp.local.status_board import Report
    from rtexp.local.waiting import Offsets
    from rtexp.settings import Settings

LOOK_BACK = (2, 16, 128, 1024, 8192)
"""How many offsets before the end to look for the last record; most often only one mark follows it."""
READ_SECONDS = 30.0


@asynccontextmanager
async def kafka_observer(settings: Settings) -> AsyncIterator[KafkaObserver]:
    """Connect; StoreUnavailable if no broker answers."""
    options = client_options(settings.kafka)
    consumer = AIOKafkaConsumer(enable_auto_commit=False, isolation_level="read_committed", **options)
    uncommitted = AIOKafkaConsumer(enable_auto_commit=False, **options)
    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        await consumer.start()
        await uncommitted.start()
        async with StatusFollower(settings.kafka) as follower:
            yield KafkaObserver(settings, consumer, uncommitted, admin, follower)
    except (KafkaError, TimeoutError) as exc:
        raise await unreachable(settings.kafka, exc, doing="telling positions") from exc
    finally:
        await consumer.stop()
        await uncommitted.stop()
        await admin.close()


class KafkaObserver:
    """A `rtexp.local.waiting.Observer`; made by `kafka_observer`."""

    def __init__(
        self, settings: Settings, consumer: Any, uncommitted: Any, admin: Any, follower: StatusFollower
    ) -> None:
        """``consumer`` sees committed records only, ``uncommitted`` all."""
        self._raw = (settings.activations.topic, settings.actions.topic)
        kafka = settings.kafka
        self._group = f"{kafka.prefix}-ingest"
        self._filtered = (kafka.topic("filtered-activations"), kafka.topic("filtered-actions"))
        self._partials = kafka.topic("partials")
        self._consumer = consumer
        self._uncommitted = uncommitted
        self._admin = admin
        self._follower = follower

    async def raw_ends(self) -> Offsets:
        """Return the next offsets after the last committed record of each raw partition, empty ones left out."""
        # Producers may send in transactions: whose marks count in the ends, and are never read as records.
        return await self._after_last_records(await self._ends(self._raw))

    async def ingested(self) -> Offsets:
        """Return what ingest has committed of the raw topics; takes a moment."""
        await self._follower.read()
        try:
            offsets = await self._admin.list_consumer_group_offsets(self._group)
        except GroupCoordinatorNotAvailableError:
            return {}  # a new broker is still making its topic of offsets, so nobody has committed any
        return {_name(tp): found.offset for tp, found in offsets.items()}

    async def filtered_ends(self) -> Offsets:
        """Return the ends of both filtered topics' partitions, those that are empty left out."""
        return await self._ends(self._filtered)

    async def aggregated(self) -> dict[str, Report]:
        """Return aggregate's reports of both filtered topics; takes a moment."""
        board = await self._follower.read()
        return {
            f"{topic}/{partition}": report
            for topic in self._filtered
            for partition, report in board.reports("aggregate", topic).items()
        }

    async def partials_ends(self) -> Offsets:
        """Return the next offsets after the last committed record of each partition of partials."""
        return await self._after_last_records(await self._settled_ends(self._partials))

    async def published(self) -> Offsets:
        """Return up to which offsets of partials SQL has the cells; takes a moment."""
        board = await self._follower.read()
        positions = board.furthest_detail("results", "published")
        return {f"{self._partials}/{partition}": position for partition, position in positions.items()}

    async def _ends(self, topics: Sequence[str], consumer: Any = None) -> Offsets:
        consumer = consumer or self._consumer
        cut = {topic["topic"]: len(topic["partitions"]) for topic in await self._admin.describe_topics()}
        if missing := [topic for topic in topics if topic not in cut]:
            raise no_topic(missing[0])
        tps = [TopicPartition(topic, partition) for topic in topics for partition in range(cut[topic])]
        starts = await consumer.beginning_offsets(tps)
        ends = await consumer.end_offsets(tps)
        return {_name(tp): ends[tp] for tp in tps if ends[tp] > starts[tp]}

    async def _settled_ends(self, topic: str) -> Offsets:
        """Return ends below which no transaction is open: a commit returns before its mark stands there."""
        goal = await self._ends([topic], self._uncommitted)
        give_up = monotonic() + READ_SECONDS
        while True:
            ends = await self._ends([topic])
            if all(ends.get(name, 0) >= end for name, end in goal.items()):
                return ends
            if monotonic() > give_up:
                raise StoreUnavailable(f"{topic} has a transaction that doesn't end: has its worker stopped?")
            await asyncio.sleep(0.05)

    async def _after_last_records(self, ends: Offsets) -> Offsets:
        """Return the next offset after the last record below each end; none where there is no record.

        An end itself counts the marks of transactions too, which no reader of records ever sees.
        """
        found: dict[str, int] = {}
        starts = await self._consumer.beginning_offsets([_tp(name) for name in ends])
        missing = {_tp(name): end for name, end in ends.items()}
        for back in (*LOOK_BACK, max(ends.values(), default=0)):
            looked_from = {tp: max(starts[tp], end - back) for tp, end in missing.items()}
            last = await self._last_records(looked_from, missing) if missing else {}
            found |= {_name(tp): offset + 1 for tp, offset in last.items()}
            missing = {
                tp: end
                for tp, end in missing.items()
                if tp not in last and looked_from[tp] > starts[tp]  # else there is nothing at all
            }
        return found

    async def _last_records(
        self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Return the offset of the last record with ``start <= offset < end``, where there is one."""
        last: dict[TopicPartition, int] = {}
        # All at once: each time that the client is given another partition, it takes half a second to turn to it.
        self._consumer.assign(list(starts))
        for tp, start in starts.items():
            self._consumer.seek(tp, start)
        give_up = monotonic() + READ_SECONDS
        while unread := [tp for tp in starts if await self._consumer.position(tp) < ends[tp]]:
            for tp, messages in (await self._consumer.getmany(*unread, timeout_ms=200)).items():
                offsets = [message.offset for message in messages if message.offset < ends[tp]]
                if offsets:
                    last[tp] = offsets[-1]
            if monotonic() > give_up:
                raise StoreUnavailable(f"{_name(unread[0])} can't be read up to offset {ends[unread[0]]}")
        return last


def _name(tp: TopicPartition) -> str:
    return f"{tp.topic}/{tp.partition}"


def _tp(name: str) -> TopicPartition:
    topic, _, partition = name.rpartition("/")
    return TopicPartition(topic, int(partition))
