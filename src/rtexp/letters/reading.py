"""Reading dead letters, what has been replayed, and the raw records that they come from."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from rtexp.errors import StoreUnavailable
from rtexp.local.unreachable import no_topic, unreachable
from rtexp.records import letters
from rtexp.records.letters import Letter, Origin, Replayed, decode_letter, decode_replayed
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from rtexp.settings import KafkaSettings

STALLED_SECONDS = 60.0
AT_ONCE = 1_000


class Stretch(NamedTuple):
    """What there is to read of some partitions: from the first offset to just before the end."""

    starts: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]

    @property
    def records(self) -> int:
        """Return about how many records there are; marks of transactions count, and what was compacted away."""
        return sum(self.ends[tp] - start for tp, start in self.starts.items())


class LetterReader:
    """Reads committed records of the topics; made by `letter_reader`. One thing at a time: it has one place to read.

    Every method may raise StoreUnavailable.
    """

    def __init__(self, kafka: KafkaSettings, consumer: Any, topics: Mapping[str, int]) -> None:
        """``topics`` has the number of partitions of each topic that there is."""
        self._kafka = kafka
        self._consumer = consumer
        self._topics = topics

    async def letters_since(self, since_ms: int | None = None, *, partition: int | None = None) -> Stretch:
        """Return where the letters stand that were sent at ``since_ms`` or later; UsageError without the topic."""
        name = self._kafka.topic(letters.TOPIC)
        if name not in self._topics:
            raise no_topic(name)
        partitions = range(letters.PARTITIONS) if partition is None else [partition]
        return await self._stretch([TopicPartition(name, number) for number in partitions], since_ms)

    async def letters(self, stretch: Stretch) -> AsyncIterator[Letter]:
        """Yield dead letters in the order in which they were sent, as far as clocks can tell.

        Of a raw partition that is the order of offsets, but for letters that came again after a crash.
        """
        async for record in self._records(stretch):
            yield decode_letter(record)

    async def replayed(self) -> AsyncIterator[tuple[Origin, Replayed]]:
        """Yield what has been replayed; nothing where the topic hasn't been made yet."""
        name = self._kafka.topic(letters.REPLAYED_TOPIC)
        if name not in self._topics:
            return
        async for record in self._records(await self._stretch([TopicPartition(name, 0)])):
            origin = Origin.read((record.key or b"").decode())
            if origin is not None and record.value is not None:
                yield origin, decode_replayed(record.value)

    async def original(self, letter: Letter) -> bytes | None:
        """Return the whole value of a letter that was cut, from its raw topic; None if it is there no more."""
        topic, partition, offset = letter.origin
        tp = TopicPartition(topic, partition)
        if partition >= self._topics.get(topic, 0):
            return None
        whole = await self._stretch([tp])
        if not whole.starts[tp] <= offset < whole.ends[tp]:
            return None
        async for record in self._records(Stretch({tp: offset}, {tp: offset + 1})):
            value: bytes = record.value or b""
            # After a topic was made again, another record may stand there.
            if len(value) == letter.original_bytes and value.startswith(letter.value or b""):
                return value
        return None

    async def _stretch(self, tps: Sequence[TopicPartition], since_ms: int | None = None) -> Stretch:
        async with _answers(self._kafka):
            starts = await self._consumer.beginning_offsets(tps)
            ends = await self._consumer.end_offsets(tps)
            if since_ms is not None:
                found = await self._consumer.offsets_for_times(dict.fromkeys(tps, max(0, since_ms)))
                starts = {tp: found[tp].offset if found[tp] else ends[tp] for tp in tps}
        return Stretch({tp: min(starts[tp], ends[tp]) for tp in tps}, ends)

    async def _records(self, stretch: Stretch) -> AsyncIterator[Any]:
        """Yield records, those of several partitions merged by their time stamps and keys."""
        unread = {tp: deque[Any]() for tp, start in stretch.starts.items() if start < stretch.ends[tp]}
        if not unread:
            # Nor may anything be assigned then: a client that is stopped before it has turned to what was assigned
            # last never stops (aiokafka 0.14: its fetcher takes the cancellation for that of a fetch).
            return
        async with _answers(self._kafka):
            self._consumer.assign(list(unread))
            for tp in unread:
                self._consumer.seek(tp, stretch.starts[tp])
        while True:
            for tp in list(unread):
                if not unread[tp]:
                    found = await self._next_records(tp, stretch.ends[tp])
                    unread[tp].extend((record.timestamp, _place(record), record) for record in found)
                if not unread[tp]:
                    del unread[tp]
            if not unread:
                return
            # A record at least of each partition is here, so none that is still to come belongs before the first.
            yield min(unread.values(), key=lambda waiting: waiting[0][:2]).popleft()[2]

    async def _next_records(self, tp: TopicPartition, end: int) -> list[Any]:
        """Return the next records below ``end``; nothing when there is none."""
        give_up = monotonic() + STALLED_SECONDS
        async with _answers(self._kafka):
            while (at := await self._consumer.position(tp)) < end:
                found = await self._consumer.getmany(tp, timeout_ms=1_000, max_records=AT_ONCE)
                if records := [record for record in found.get(tp, ()) if record.offset < end]:
                    return records
                if monotonic() > give_up and await self._consumer.position(tp) == at:
                    raise StoreUnavailable(f"{tp.topic}/{tp.partition} can't be read from offset {at} on")
        return []


def _place(record: Any) -> tuple[str, int, int]:
    return Origin.read((record.key or b"").decode("utf-8", "replace")) or ("", 0, 0)


@asynccontextmanager
async def _answers(kafka: KafkaSettings) -> AsyncIterator[None]:
    try:
        yield
    except (KafkaError, TimeoutError) as exc:
        raise await unreachable(kafka, exc, doing="reading dead letters") from exc


async def _topics(kafka: KafkaSettings) -> dict[str, int]:
    client = AIOKafkaAdminClient(**client_options(kafka))
    try:
        await client.start()
        return await partition_counts(client)
    finally:
        await client.close()


async def partition_counts(client: AIOKafkaAdminClient) -> dict[str, int]:
    """Return how many partitions each topic has.

    All are listed: asking for one by name would make it, on a broker that creates topics by itself.
    """
    return {topic["topic"]: len(topic["partitions"]) for topic in await client.describe_topics()}


@asynccontextmanager
async def letter_reader(kafka: KafkaSettings) -> AsyncIterator[LetterReader]:
    """Connect; StoreUnavailable if no broker answers."""
    consumer = AIOKafkaConsumer(
        enable_auto_commit=False,
        isolation_level="read_committed",
        # What retention removes under our eyes is passed over.
        auto_offset_reset="earliest",
        **client_options(kafka),
    )
    try:
        async with _answers(kafka):
            topics = await _topics(kafka)
            await consumer.start()
        yield LetterReader(kafka, consumer, topics)
    finally:
        await consumer.stop()
