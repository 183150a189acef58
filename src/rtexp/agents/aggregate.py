"""`aggregate`: counts what the users of one partition do, exactly once, into deltas of cells.

The state is a pure function of the two filtered topics. Where they meet, `is_due` makes it so: an action is
applied once every activation that could still count for it has been.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from rtexp.agents.cell_outputs import CellOutputs
from rtexp.agents.segments import FilteredBatch, Intake
from rtexp.core.progress import PlainProgress
from rtexp.core.rules import Rules
from rtexp.engine.api import Output, Page, PartitionStatus, TopicPartition
from rtexp.errors import StateError
from rtexp.records.filtered import decode_actions, decode_activations
from rtexp.tables import users
from rtexp.tables.pages import PageLayout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rtexp.core.users_columns import ColumnarUsers
    from rtexp.engine.api import ReadPage
    from rtexp.records.filtered import Kind
    from rtexp.settings import Settings

VERSION = 1
"""Of the step: raised with every change that counts the same rows differently."""

PROGRESS = b"progress"
"""Key of the page that says how far both inputs are, and what has been dropped on the way."""


class _Progress(msgspec.Struct, array_like=True, frozen=True):
    actions: tuple[PlainProgress, dict[str, int]]
    activations: tuple[PlainProgress, dict[str, int]]


_PROGRESS_PAGE: PageLayout[_Progress] = PageLayout("users", 1, _Progress)


class AggregateState:
    """`rtexp.engine.api.PartitionState` of one partition of users."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._rules = rules_of(settings)
        self._actions_topic = settings.kafka.topic("filtered-actions")
        self._activations_topic = settings.kafka.topic("filtered-activations")
        self._partition = partition
        self._partitions = settings.kafka.partitions
        self._partials_topic = settings.kafka.topic("partials")
        self._actions: Intake[str] = Intake(
            decode_actions, lambda record: record.events, counts_losses_of=self._speaks_for
        )
        self._activations: Intake[Kind] = Intake(
            decode_activations, lambda record: record.kinds, counts_losses_of=self._speaks_for
        )
        self._raw: dict[str, Intake[Any]] = {
            settings.actions.topic: self._actions,
            settings.activations.topic: self._activations,
        }
        self._table = users.UsersTable(self._rules)
        self._outputs = self._make_outputs()

    @property
    def users(self) -> ColumnarUsers:
        """Return the users, to be looked at only."""
        return self._table.users

    def _speaks_for(self, source: int) -> bool:
        # Every partition of users sees the same offsets of a source; one of them counts those that are lost.
        return source % self._partitions == self._partition

    def _make_outputs(self) -> CellOutputs:
        return CellOutputs(
            self._partials_topic,
            source=self._partition,
            sources=self._partitions,
            lg_k=self._rules.lg_k,
            sent_ms=self._watermark_ms,
        )

    @property
    def _watermark_ms(self) -> int:
        """What arrived before this time has been counted: exposures as well as actions."""
        return min(self._actions.watermark_ms, self._activations.watermark_ms)

    def decode(self, topic: str, value: bytes) -> FilteredBatch:
        """Decode a record of either filtered topic."""
        return (self._actions if topic == self._actions_topic else self._activations).decode(value)

    def is_due(self, topic: str, batch: FilteredBatch) -> bool:
        """Tell whether every activation that may count for these actions has been applied.

        That is one which arrived up to ``join_delay`` after the action: the watermark must have passed it.
        Asked for the records of a topic in order; those that are due are applied before it's asked again.
        """
        if topic == self._activations_topic:
            return True
        return self._actions.fits(batch, self._activations.watermark_ms - self._rules.join_delay_ms)

    def apply(self, topic: str, batches: Sequence[FilteredBatch]) -> None:
        """Count the new rows of records that are due."""
        state = self._table.users
        if topic == self._activations_topic:
            starts = self._activations.take(batches)
            if starts.users:
                state.activate(starts.users, starts.index, starts.names, starts.times_ms, starts.arrivals_ms)
        else:
            rows = self._actions.take(batches)
            if rows.users:
                self._check_held_back(int(rows.arrivals_ms.max()))
                state.act(rows.users, rows.index, rows.names, rows.times_ms, rows.arrivals_ms)
        state.advance(self._actions.watermark_ms, self._activations.watermark_ms)

    def _check_held_back(self, newest_arrival_ms: int) -> None:
        """Refuse to count an action too early: the count would depend on how the inputs interleaved."""
        if newest_arrival_ms + self._rules.join_delay_ms >= self._activations.watermark_ms:
            raise StateError(
                f"aggregate/{self._partition}: an action that arrived at {newest_arrival_ms} was about to be "
                f"counted when activations had come to {self._activations.watermark_ms}; please report this"
            )

    def collect(self) -> Sequence[Output]:
        """Return the deltas of cells since the last call; the watermark alone when only that has moved."""
        return self._outputs.outputs(self._table.users.take_deltas(), self._watermark_ms)

    def journal(self) -> Sequence[Page]:
        """Return nothing: all of this follows from the inputs."""
        return ()

    def changed_pages(self) -> Iterator[Page]:
        """Yield the changed pages of the users table, then the progress that they stand for."""
        yield from self._table.changed_pages()
        progress = _Progress(actions=self._actions.to_plain(), activations=self._activations.to_plain())
        yield Page(PROGRESS, _PROGRESS_PAGE.encode(progress))

    def load(self, pages: Iterable[Page], read: ReadPage | None = None) -> None:  # noqa: ARG002 - likewise
        """Take over a checkpoint; StateError if a page is damaged or the one with the progress missing."""
        found: list[_Progress] = []
        others = 0

        def of_users() -> Iterator[Page]:
            nonlocal others
            for page in pages:
                if page.key != PROGRESS:
                    others += 1
                    yield page
                elif page.value is not None:
                    found.append(_PROGRESS_PAGE.decode(page.key, page.value))

        self._table.load(of_users())
        if found:
            self._actions.load(found[0].actions)
            self._activations.load(found[0].activations)
        elif others:
            raise StateError("the users table has pages but none that says what they stand for")
        self._outputs = self._make_outputs()

    def raw_offsets(self) -> dict[TopicPartition, int]:
        """Return, by raw partition, the next offset after those that have been taken."""
        return {
            TopicPartition(topic, source): offset
            for topic, intake in self._raw.items()
            for source, offset in intake.next_offsets.items()
        }

    def status(self) -> PartitionStatus:
        """Say how far both inputs are, and what was dropped, by reason."""
        return PartitionStatus(
            watermarks_ms={
                self._actions_topic: self._actions.watermark_ms,
                self._activations_topic: self._activations.watermark_ms,
            },
            counters=self._counters(),
            details={
                "ignored_segments": self._actions.ignored_segments + self._activations.ignored_segments,
            },
        )

    def _counters(self) -> dict[str, int]:
        counters = {f"activations/{reason}": n for reason, n in self._activations.counters.items()}
        counters |= {f"actions/{reason}": n for reason, n in self._actions.counters.items()}
        for reason, n in self._table.users.counters.items():
            topic = "activations" if reason == "late-activation" else "actions"
            counters[f"{topic}/{reason}"] = counters.get(f"{topic}/{reason}", 0) + n
        return counters


def rules_of(settings: Settings) -> Rules:
    """Return what the state machine reads of the settings."""
    pipeline = settings.pipeline
    return Rules(
        tracked=settings.actions.tracked,
        bucket_ms=pipeline.bucket_minutes * 60_000,
        dedup_ms=pipeline.dedup_minutes * 60_000,
        cap_per_hour=settings.actions.cap_per_hour,
        join_delay_ms=round(pipeline.join_delay_seconds * 1000),
        grace_ms=round(pipeline.grace_minutes * 60_000),
        period_ms=pipeline.period_hours * 3_600_000,
        lg_k=settings.sketch.lg_k,
    )


def semantics(settings: Settings) -> str:
    """Return the versions of the step and of the state machine, and a hash of every setting that they read."""
    # Partitions decide who counts what retention removed, and to how many the readers of partials listen.
    return f"aggregate-{VERSION}-{settings.kafka.partitions}-{users.semantics(rules_of(settings))}"


def aggregate_state(settings: Settings, partition: int) -> AggregateState:
    """Return the empty state of one partition of users.

    StateError for a partition that there would not be with these settings.
    """
    if partition >= settings.kafka.partitions:
        raise StateError(
            f"{settings.kafka.topic('filtered-actions')} has a partition {partition}, but [kafka] partitions is "
            f"{settings.kafka.partitions}: put it back to what it was, or begin anew with another [kafka] prefix"
        )
    return AggregateState(settings, partition)
