"""The state of `aggregate` is a pure function of its two topics, whatever happens to the worker meanwhile.

A run is broken by flushes of any size, outputs taken at any time, checkpoints, crashes (the state goes back to
the checkpoint, and outputs up to the marker are thrown away), and pauses (what was decoded is read again).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import filtered_records
from tests.filtered_records import Row, segment
from tests.plain_partials import from_record, to_ranks

from rtexp.agents.aggregate import AggregateState, rules_of
from rtexp.core.cells import Cell, CellCounts, CellKey, merged
from rtexp.core.progress import SourceProgress
from rtexp.core.sketches import entry, sparse
from rtexp.core.users_plain import Action, Activation, PlainUsers
from rtexp.engine.api import Page
from rtexp.records import partials
from rtexp.records.filtered import Kind
from rtexp.settings import ActionSettings, KafkaSettings, PipelineSettings, Settings, SketchSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rtexp.agents.segments import FilteredBatch
    from rtexp.engine.api import Output

ACTIVATIONS, ACTIONS = TOPICS = ("rtexp.filtered-activations", "rtexp.filtered-actions")
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
SETTINGS = Settings(
    actions=ActionSettings(cap_per_hour=4),
    pipeline=PipelineSettings(period_hours=1, grace_minutes=10, dedup_minutes=1, join_delay_seconds=10),
    sketch=SketchSettings(lg_k=10),
    kafka=KafkaSettings(partitions=2),
)
KINDS = [
    Kind(experiment, group, START + offset, START + offset + HOUR, START + offset)
    for experiment, group, offset in [("a", "x", 0), ("a", "y", 0), ("b", "x", 0), ("a", "x", HOUR)]
]
EVENTS = ["search", "click", "untracked"]
USERS = ["u", "v", "w"]


class Piece(NamedTuple):
    """A segment to be: the rows of a source from ``first`` on, and what it claims."""

    source: int
    first: int
    following: int
    watermark_ms: int


@dataclass(frozen=True)
class Topic:
    """All raw rows of two sources, and the pieces of them in each record of the filtered topic."""

    rows: tuple[list[Row], list[Row]]
    records: list[list[Piece]]

    def encoded(self, topic: str) -> list[bytes]:
        made = []
        for pieces in self.records:
            segments = [
                segment(
                    self.rows[p.source][p.first : p.following],
                    first=p.first, following=p.following, source=p.source, watermark_ms=p.watermark_ms,
                )
                for p in pieces
            ]  # fmt: skip
            if topic == ACTIONS:
                made.append(filtered_records.actions(*segments, events=EVENTS, sources=2))
            else:
                made.append(filtered_records.activations(*segments, kinds=KINDS, sources=2))
        return made

    def counted(self) -> Iterator[Row]:
        """Yield the rows that count, in order, arrivals raised."""
        progress = SourceProgress()
        for pieces in self.records:
            progress.expect(2)
            for source, first, following, watermark_ms in pieces:
                fresh = progress.accept(
                    source, first_offset=first, next_offset=following, log_start=0, watermark_ms=watermark_ms
                )
                if fresh is not None:
                    for row in self.rows[source][max(first, fresh.from_offset) : following]:
                        yield row._replace(arrival_ms=max(row.arrival_ms, fresh.raised_to_ms))


@st.composite
def topics(draw: st.DrawFn, names: int) -> Topic:
    steps = st.sampled_from([0, 0, 1, SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, HOUR])
    sources = []
    for _ in range(2):
        arrival_ms = START
        rows: list[Row] = []
        for offset in range(draw(st.integers(0, 8))):
            arrival_ms += draw(steps)
            # Few distinct times, on edges: rows must meet as repeats, in buckets and at the end of periods.
            at_ms = START + draw(st.sampled_from([0, 1, 15 * MINUTE - 1, HOUR - 1, HOUR, HOUR + 1]))
            user, name = draw(st.sampled_from(USERS)), draw(st.integers(0, names - 1))
            back_ms = draw(st.sampled_from([0, 0, 2 * SECOND]))
            rows.append(Row(offset, user, name, at_ms, arrival_ms - back_ms))
        sources.append(rows)
    pieces = []
    for source, rows in enumerate(sources):
        # Any pieces at all, as zombies and lost records may leave them; then the owner sends everything.
        for _ in range(draw(st.integers(0, 3))):
            ends = sorted((draw(st.integers(0, len(rows))), draw(st.integers(0, len(rows)))))
            pieces.append(Piece(source, ends[0], ends[1], START + draw(steps)))
    pieces = draw(st.permutations(pieces))
    for source, rows in enumerate(sources):
        cut = draw(st.integers(0, len(rows)))
        pieces.append(Piece(source, 0, cut, START + draw(steps)))
        pieces.append(Piece(source, cut, len(rows), START + draw(steps)))
    records: list[list[Piece]] = []
    for piece in pieces:
        if not records or draw(st.booleans()):
            records.append([])
        records[-1].append(piece)
    return Topic((sources[0], sources[1]), records)


def with_end(topic: Topic, watermark_ms: int) -> Topic:
    """Append a record after which nothing of the topic is outstanding."""
    ends = [Piece(source, len(rows), len(rows), watermark_ms) for source, rows in enumerate(topic.rows)]
    return Topic(topic.rows, [*topic.records, ends])


def by_definition(activations: Topic, actions: Topic) -> dict[CellKey, Cell]:
    """Count all activations, then all actions, one by one."""
    users = PlainUsers(rules_of(SETTINGS))
    for row in activations.counted():
        kind = KINDS[row.name]
        users.activate(
            Activation(
                row.user, kind.experiment, kind.group, kind.period_start_ms, kind.period_end_ms,
                row.at_ms, row.arrival_ms,
            )
        )  # fmt: skip
    for row in actions.counted():
        users.act(Action(row.user, EVENTS[row.name], row.at_ms, row.arrival_ms))
    return {
        CellKey(*key): Cell(
            CellCounts(cell.volume, cell.actors, cell.sum_squares, cell.exposures, cell.multiple_exposures),
            to_ranks(sparse(np.array([entry(user, 10) for user in cell.users], np.uint32))),
        )
        for key, cell in users.take_cells().items()
    }


class Worker:
    """What the engine does to a state, with a changelog that survives crashes."""

    def __init__(self, records: dict[str, list[bytes]]) -> None:
        self.records = records
        self.pages: dict[bytes, bytes] = {}
        self.saved = dict.fromkeys(TOPICS, 0)
        self.mark = dict.fromkeys(TOPICS, 0)
        self.sent: list[Output] = []
        self.crash()

    def crash(self) -> None:
        self.state = AggregateState(SETTINGS, 0)
        self.state.load(Page(key, value) for key, value in self.pages.items())
        self.applied = dict(self.saved)
        self.pause()

    def pause(self) -> None:
        self.waiting: dict[str, deque[FilteredBatch]] = {topic: deque() for topic in TOPICS}

    @property
    def is_rewinding(self) -> bool:
        return self.applied != self.mark

    def feed(self, topic: str, count: int) -> None:
        limit = self.mark[topic] if self.is_rewinding else len(self.records[topic])
        first = self.applied[topic] + len(self.waiting[topic])
        for value in self.records[topic][first : min(first + count, limit)]:
            self.waiting[topic].append(self.state.decode(topic, value))

    def flush(self, most: int) -> None:
        was_rewinding = self.is_rewinding
        for topic in TOPICS:
            due: list[FilteredBatch] = []
            waiting = self.waiting[topic]
            while waiting and len(due) < most and self.state.is_due(topic, waiting[0]):
                due.append(waiting.popleft())
            if due:
                self.state.apply(topic, due)
                self.applied[topic] += len(due)
        outputs = self.state.collect()
        if not was_rewinding:
            self.sent += outputs
            self.mark = dict(self.applied)

    def save(self) -> None:
        if self.is_rewinding:
            return
        for key, value in self.state.changed_pages():
            if value is None:
                del self.pages[key]
            else:
                self.pages[key] = value
        self.saved = dict(self.applied)

    def finish(self) -> None:
        everything = {topic: len(records) for topic, records in self.records.items()}
        for _ in range(2 + 2 * sum(everything.values())):
            for topic in TOPICS:
                self.feed(topic, 100)
            self.flush(100)
        assert self.mark == everything


def sums(outputs: Sequence[Output]) -> dict[CellKey, Cell]:
    return merged(part for output in outputs for part in from_record(partials.decode(output.value or b"")))


def canonical(worker: Worker) -> dict[str, Any]:
    return worker.state._table.users.canonical()


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["actions", "actions", "activations", "activations", "flush", "flush", "save", "pause", "crash"]
        ),
        st.integers(1, 4),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=150)
@given(topics(len(KINDS)), topics(len(EVENTS)), steps)
def test_partials_add_up_to_the_definition_whatever_happens_on_the_way(
    activations: Topic, actions: Topic, steps: list[tuple[str, int]]
) -> None:
    activations, actions = with_end(activations, START + 100 * HOUR), with_end(actions, START + 50 * HOUR)
    worker = Worker({ACTIVATIONS: activations.encoded(ACTIVATIONS), ACTIONS: actions.encoded(ACTIONS)})
    for step, size in steps:
        if step == "actions":
            worker.feed(ACTIONS, size)
        elif step == "activations":
            worker.feed(ACTIVATIONS, size)
        elif step == "flush":
            worker.flush(size)
        elif step == "save":
            worker.save()
        elif step == "pause":
            worker.pause()
        else:
            worker.crash()
    worker.finish()
    assert sums(worker.sent) == by_definition(activations, actions)
    told = [partials.decode(output.value or b"").watermark_ms for output in worker.sent]
    assert told == sorted(told)
    assert told[-1] == START + 50 * HOUR

    straight = Worker(worker.records)
    straight.finish()
    assert worker.state.status() == straight.state.status()
    assert canonical(worker) == canonical(straight)
    worker.save()
    worker.crash()
    assert canonical(worker) == canonical(straight)
