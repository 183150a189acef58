"""Stand-ins for what the engine talks to, and a state that remembers how it was called."""

# ruff: noqa: ARG002 - fakes keep the signatures of what they stand for

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.errors import ProducerFenced

from rtexp.engine import changelog
from rtexp.engine.api import BatchAgent, Commit, Output, Page, PartitionStatus, TopicPartition
from rtexp.engine.config import EngineConfig
from rtexp.engine.store import LAYOUT, Head
from rtexp.engine.transport import Offsets
from rtexp.errors import FatalError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rtexp.engine.api import ReadPage
    from rtexp.engine.sensors import TaskSensors
    from rtexp.engine.store import PartitionStore
    from rtexp.engine.transport import BatchConsumerThread as _Thread
else:
    _Thread = object

LEFT, RIGHT, OUT, TABLE = "left", "right", "out", "table"
NOW = 1_767_225_600.0


class Rec(NamedTuple):
    """A record as the client hands it over."""

    offset: int
    value: bytes | None
    timestamp: int = 0
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def records(*values: str, start: int = 0) -> list[Rec]:
    return [Rec(start + n, value.encode()) for n, value in enumerate(values)]


class Word(NamedTuple):
    """``word``, or ``word@3``: due once three records of `LEFT` have been applied."""

    text: str
    after: int
    rows: int = 1


class Ledger:
    """A state that writes down what is done to it; its pages are the words seen, with their counts."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.counts: Counter[str] = Counter()
        self.calls: list[tuple[str, list[str]]] = []
        self.asked: list[str] = []
        self.noted: list[Page] = []
        """What the next flush takes as the journal."""
        self.read: ReadPage
        self._unsent: list[str] = []
        self._changed: set[str] = set()

    def decode(self, topic: str, value: bytes) -> Word:
        text, _, after = value.decode().partition("@")
        return Word(text, int(after or 0))

    def is_due(self, topic: str, batch: Word) -> bool:
        self.asked.append(batch.text)
        return self.counts[LEFT] >= batch.after

    def apply(self, topic: str, batches: Sequence[Word]) -> None:
        words = [batch.text for batch in batches]
        self.calls.append((topic, words))
        self.counts.update([*words, *[topic for _ in words]])
        self._unsent += words
        self._changed.update([*words, topic])

    def collect(self) -> Sequence[Output]:
        unsent, self._unsent = self._unsent, []
        return [Output(OUT, self.partition, " ".join(unsent).encode())] if unsent else []

    def journal(self) -> Sequence[Page]:
        noted, self.noted = self.noted, []
        return noted

    def changed_pages(self) -> Iterator[Page]:
        changed, self._changed = sorted(self._changed), set()
        yield from (Page(word.encode(), b"%d" % self.counts[word]) for word in changed)

    def load(self, pages: Iterable[Page], read: ReadPage) -> None:
        self.read = read
        for page in pages:
            if page.value == b"damaged":
                raise StateError("a page doesn't verify")
            self.counts[page.key.decode()] = int(page.value or b"0")

    def status(self) -> PartitionStatus:
        return PartitionStatus(watermarks_ms={LEFT: 7}, counters={"words": self.counts.total()})


class Sent(NamedTuple):
    """What a send resolves to."""

    offset: int


class FakeProducer:
    """For `FencedProducer`: every transaction as a list; the changelog's offsets as a broker would count them."""

    def __init__(self, transactional_id: str, *, next_offset: int = 1) -> None:
        self.transactional_id = transactional_id
        self.started = 0
        self.stopped = False
        self.transactions: list[list[Output]] = []
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.committing = asyncio.Event()
        self.fenced = False
        self._next_offset = next_offset

    async def start(self) -> None:
        self.started += 1
        await self.may_start.wait()

    async def transact(self, outputs: Iterable[Output]) -> list[Sent]:
        sending = list(outputs)
        self.committing.set()
        await self.may_commit.wait()
        if self.fenced:
            raise FatalError("a transaction failed (ProducerFenced)") from ProducerFenced()
        self.transactions.append(sending)
        sent = [Sent(self._next_offset + n) for n in range(len(sending))]
        self._next_offset += len(sending) + 1  # the mark of the commit
        return sent

    async def stop(self) -> None:
        self.stopped = True


def head(
    base: Mapping[str, int] | None = None, mark: Mapping[str, int] | None = None, *, semantics: str = "s1"
) -> Head:
    """What recovery finds: S and M, None for a changelog without them."""
    encoded = [
        b"" if offsets is None else changelog.encode_position(semantics, dict(offsets))
        for offsets in (base, mark)
    ]
    return Head(LAYOUT, "incarnation", 1, encoded[0], encoded[1], NOW)


@dataclass
class World:
    """The broker as tasks see it. By partition: what recovery finds, and the producer."""

    heads: dict[int, Head] = field(default_factory=dict)
    pages: dict[int, list[Page]] = field(default_factory=dict)
    producers: dict[int, FakeProducer] = field(default_factory=dict)
    recovered: list[int] = field(default_factory=list)
    made: list[Ledger] = field(default_factory=list)

    def producer(self, partition: int = 0) -> FakeProducer:
        return self.producers.setdefault(partition, FakeProducer(f"job-ledger-{partition}"))

    def fenced_producer(self, _config: EngineConfig, transactional_id: str) -> FakeProducer:
        return self.producer(int(transactional_id.rpartition("-")[2]))

    async def recover(
        self, _config: EngineConfig, _table: str, partition: int,
        *, store: PartitionStore, producer: FakeProducer, sensors: TaskSensors,
    ) -> Head:  # fmt: skip
        assert producer.started, "whoever recovers must have fenced the others first"
        self.recovered.append(partition)
        found = self.heads.get(partition, head())
        list(store.write(iter(self.pages.get(partition, [])), found))
        return found

    def make_state(self, partition: int) -> Ledger:
        self.made.append(Ledger(partition))
        return self.made[-1]

    def state(self, partition: int = 0) -> Ledger:
        return [state for state in self.made if state.partition == partition][-1]

    def agent(self, semantics: str = "s1") -> BatchAgent:
        return BatchAgent("ledger", (LEFT, RIGHT), TABLE, (OUT,), semantics, self.make_state)


@dataclass
class FakeThread(_Thread):
    """For `BatchConsumerThread`: answers at once, or when told to."""

    first: dict[TopicPartition, int] = field(default_factory=dict)
    end: dict[TopicPartition, int] = field(default_factory=dict)
    stored: dict[TopicPartition, Commit] = field(default_factory=dict)
    commits: list[dict[TopicPartition, Commit]] = field(default_factory=list)
    commits_fail: bool = False
    partitions: int = 4
    seeks: list[dict[TopicPartition, int]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    stays: int = 0
    group_error: Exception | None = None
    on_seek: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def check_group(self) -> None:
        if self.group_error is not None:
            raise self.group_error

    async def offsets(self, tps: Iterable[TopicPartition]) -> Offsets:
        self.asked.set()
        await self.may_answer.wait()
        return Offsets({tp: self.first.get(tp, 0) for tp in tps}, {tp: self.end.get(tp, 1000) for tp in tps})

    async def committed(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, Commit | None]:
        return {tp: self.stored.get(tp) for tp in tps}

    async def commit_with_metadata(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        self.commits.append(dict(commits))
        return not self.commits_fail

    async def seek_to(self, positions: Mapping[TopicPartition, int]) -> None:
        self.seeks.append(dict(positions))
        self.on_seek()

    async def stay(self) -> None:
        self.stays += 1

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        return dict.fromkeys(topics, self.partitions)


def config(directory: Path, **changes: Any) -> EngineConfig:
    """Nothing happens by itself: tests flush and drain."""
    patient = EngineConfig(
        group="job",
        brokers=("nowhere:1",),
        data_directory=directory,
        flush_interval=3600.0,
        checkpoint_interval=3600.0,
    )
    return replace(patient, **changes)
