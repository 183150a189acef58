"""What an agent offers to the engine, and what it may expect of it. Read this before any other module of it.

Two kinds of agents exist. A **batch agent** keeps state and counts exactly once: the engine makes one
`PartitionState` for every partition that this worker owns, and runs it in transactions. A **forward agent**
keeps nothing: it turns records into records, at least once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence


class Record(Protocol):
    """A record as the Kafka client hands it over."""

    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102 - epoch ms
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...  # noqa: D102


class TopicPartition(NamedTuple):
    """Equal to, and hashed like, the tuples of the same name of Faust and of the client."""

    topic: str
    partition: int


class Output(NamedTuple):
    """A record to send. ``value`` None is a tombstone (then ``key`` is needed)."""

    topic: str
    partition: int
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Page(NamedTuple):
    """A piece of state as the changelog keeps it; ``value`` None says that the page is empty now."""

    key: bytes
    value: bytes | None


class ReadPage(Protocol):
    """Reads a page of a state back from the local store, by its key; None if there is none.

    The store has what the last checkpoint left: to be asked inside of `PartitionState.load`, `PartitionState.apply`
    and between two flushes, but not from `PartitionState.changed_pages` on until the next `apply`, when pages that
    were yielded may or may not have arrived. Takes some 10 us, more from a disk; every error ends the worker.
    """

    def __call__(self, key: bytes, /) -> bytes | None: ...  # noqa: D102


class Batch(Protocol):
    """One decoded input record; the engine only asks how much work it is."""

    @property
    def rows(self) -> int: ...  # noqa: D102


class PartitionState(Protocol):
    """State of one partition, and what its inputs do to it. One caller at a time, never two calls at once.

    State and outputs must be a pure function of the inputs: their records, and their order within each input.
    How records are cut into calls, and how the inputs interleave (as far as `is_due` allows), may change
    nothing but how outputs are cut. No method may look at a clock. Recovery rests on this: after a crash the
    engine loads the last checkpoint and runs the same records again, with outputs thrown away.
    """

    def decode(self, topic: str, value: bytes) -> Batch:
        """Decode a record of one of the inputs. StateError if it can't be read: that ends the worker."""

    def is_due(self, topic: str, batch: Any) -> bool:
        """Tell whether what ``batch`` needs of the other inputs has been applied. Once true, it stays true."""

    def apply(self, topic: str, batches: Sequence[Any]) -> None:
        """Apply records of one input, in order. Inputs are applied in the order in which they were declared."""

    def collect(self) -> Sequence[Output]:
        """Return what is to be sent for all that was applied since the last call."""

    def journal(self) -> Sequence[Page]:
        """Return pages that go into this flush's transaction, checkpoint or not; each only once.

        They hold what doesn't follow from the inputs, such as a decision that was taken with knowledge from
        elsewhere: inputs can be run again, this can't. So after a crash they are loaded as of the last commit, while
        all other pages are as of the last checkpoint; no page may be both.
        """

    def changed_pages(self) -> Iterator[Page]:
        """Yield the pages that changed since the last call, encoded one by one; each takes under 50 ms.

        Between two pages other tasks may run, but nothing is applied to this state.
        """

    def load(self, pages: Iterable[Page], read: ReadPage) -> None:
        """Take over the pages of a checkpoint; called once, before anything is applied. StateError if unreadable.

        Not all of it needs to stay in memory: what hasn't changed since a checkpoint can be had again from ``read``,
        for as long as this state lives.
        """

    def status(self) -> PartitionStatus:
        """Say what an operator wants to see; cheap."""


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """Watermarks by input topic, absolute counters by reason, and anything else worth showing (JSON values)."""

    watermarks_ms: Mapping[str, int] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchAgent:
    """Declaration of a batch agent: see `rtexp.engine.app.EngineApp.batch_agent`."""

    name: str
    inputs: tuple[str, ...]
    """Topics with equal partition counts; partition p of each goes to the same state."""
    table: str
    """The changelog topic; compacted, with as many partitions as the inputs."""
    outputs: tuple[str, ...]
    semantics: str
    """Version of the step and a hash of every setting that it reads. See SemanticsChanged."""
    make_state: Callable[[int], PartitionState]


class Commit(NamedTuple):
    """How far an input partition is done: the next offset to read, and text for whoever reads on from there."""

    next_offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What a forwarder wants sent now, and what will be done once all of it has been delivered."""

    outputs: Sequence[Output]
    commits: Mapping[TopicPartition, Commit]


class Forwarder(Protocol):
    """Turns records of any partitions into records; keeps nothing that the inputs and metadata don't hold.

    After a crash, records from the last commit on come again. One caller at a time.
    """

    def assign(
        self, tp: TopicPartition, committed: Commit | None, *, log_start: int, partitions: int
    ) -> None:
        """Start reading ``tp`` at the committed offset, or at ``log_start`` if there is none.

        ``partitions`` is how many the topic has. Forget whatever was known of ``tp`` before.
        """

    def revoke(self, tps: Iterable[TopicPartition]) -> None:
        """Stop: these partitions are, or may be, someone else's now."""

    def feed(self, tp: TopicPartition, records: Sequence[Record], *, now_ms: int) -> None:
        """Take over the next records of ``tp``, in order. FatalError ends the worker (too much bad input)."""

    def drain(self, *, now_ms: int, at_end_ms: Mapping[TopicPartition, int]) -> Forwarded:
        """Return what can go out now.

        ``at_end_ms`` has, for each partition that has been read to its end, the wall clock of the fetch that
        showed it: every record in the log at that time has been fed. It is absent for all others.
        """

    def waiting_rows(self, tp: TopicPartition) -> int:
        """Return how many rows of ``tp`` wait inside; the engine stops reading ``tp`` while they are too many."""

    def waiting_bytes(self) -> int:
        """Return how many bytes the next `drain` has of records as they came; reading stops while they are too many."""

    def status(self) -> PartitionStatus:
        """Say what an operator wants to see; watermarks by ``topic/partition``."""


@dataclass(frozen=True, slots=True)
class ForwardAgent:
    """Declaration of a forward agent: see `rtexp.engine.app.EngineApp.forward_agent`."""

    name: str
    inputs: tuple[str, ...]
    outputs: Mapping[str, int]
    """By topic, how many partitions the forwarder takes it to have: a worker that is wrong about it doesn't start."""
    forwarder: Forwarder
