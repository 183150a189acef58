"""Laws of ingest: however records are fed, drained and read again, every reader gets the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.agents.raw_records import (
    HOUR_MS,
    NOW_MS,
    START_MS,
    Raw,
    Reader,
    action,
    activation,
    bad,
    marker,
    read_all,
)

from rtexp.agents.filter_actions import filter_actions
from rtexp.agents.filter_activations import filter_activations
from rtexp.engine.api import Commit, TopicPartition
from rtexp.records.snapshot import Experiment, Period, Snapshot
from rtexp.settings import KafkaSettings, PipelineSettings, Settings

if TYPE_CHECKING:
    from rtexp.agents.filtering import Filter

TARGETS = 3
SOURCES = 2
USERS = [f"u{number}" for number in range(6)]
SETTINGS = Settings(
    kafka=KafkaSettings(partitions=TARGETS),
    pipeline=PipelineSettings(clock="records", out_of_order_seconds=2.0, dead_letter_ratio=1.0),
)
FULL = Snapshot(
    1,
    NOW_MS,
    [Experiment("feed", "control", ["control"], [Period(START_MS, START_MS + 72 * HOUR_MS)], [], [])],
)
EMPTY = Snapshot(1, 0, [])

KINDS = st.sampled_from(["action", "action", "action", "untracked", "bad", "marker"])
SECONDS = st.integers(0, 20).map(lambda seconds: seconds * 500)
LOGS = st.lists(
    st.lists(st.tuples(KINDS, st.sampled_from(USERS), SECONDS, SECONDS), max_size=12),
    min_size=SOURCES,
    max_size=SOURCES,
)


class Feed(NamedTuple):
    """Give the agent the next records of a source."""

    source: int
    records: int


class Drain(NamedTuple):
    """Let it send; a crash loses the commits of this drain, after its outputs were delivered."""

    crash: bool


class News(NamedTuple):
    """The experiments become known."""


FEEDS = st.builds(Feed, st.integers(0, SOURCES - 1), st.integers(1, 5))
STEPS = st.lists(FEEDS | st.builds(Drain, st.booleans()) | st.builds(News), max_size=25)
CALM = st.lists(FEEDS | st.builds(Drain, st.just(False)), max_size=25)


def action_log(log: list[tuple[str, str, int, int]]) -> list[Raw]:
    made = []
    for number, (kind, user, time, arrival) in enumerate(log):
        offset = 2 * number  # logs have holes
        if kind == "bad":
            made.append(bad(offset, arrival_ms=START_MS + arrival))
        elif kind == "marker":
            made.append(marker(offset, START_MS + arrival))
        else:
            event = "search" if kind == "action" else "view"
            made.append(action(offset, user, event, at_ms=START_MS + time, arrival_ms=START_MS + arrival))
    return made


def activation_log(log: list[tuple[str, str, int, int]]) -> list[Raw]:
    return [
        activation(raw.offset, user, at_ms=START_MS + time, arrival_ms=raw.timestamp)
        if kind == "action"
        else activation(raw.offset, user, "other", at_ms=START_MS + time, arrival_ms=raw.timestamp)
        if kind == "untracked"
        else raw
        for raw, (kind, user, time, _) in zip(action_log(log), log, strict=True)
    ]


class Ingest:
    """One topic's ingest over crashes: what was delivered stays delivered, what was committed stays committed."""

    def __init__(self, topic: str, logs: list[list[Raw]]) -> None:
        self.readers = [Reader() for _ in range(TARGETS)]
        self.commits: dict[TopicPartition, Commit] = {}
        self._logs = {TopicPartition(topic, source): log for source, log in enumerate(logs)}
        self._snapshot = EMPTY
        self._start()

    def _start(self) -> None:
        is_actions = next(iter(self._logs)).topic == "actions"
        self._agent: Filter[str] | Filter[object]
        if is_actions:
            self._agent = filter_actions(SETTINGS)
        else:
            activations = filter_activations(SETTINGS)
            activations.set_snapshot(self._snapshot)
            self._agent = activations  # type: ignore[assignment]
        self._left = {}
        for tp, log in self._logs.items():
            committed = self.commits.get(tp)
            self._agent.assign(tp, committed, log_start=0, partitions=SOURCES)
            start = committed.next_offset if committed else 0
            self._left[tp] = [raw for raw in log if raw.offset >= start]

    def step(self, step: Feed | Drain | News) -> None:
        if isinstance(step, News):
            self._snapshot = FULL
            if hasattr(self._agent, "set_snapshot"):
                self._agent.set_snapshot(FULL)
        elif isinstance(step, Feed):
            tp = list(self._logs)[step.source]
            fed, self._left[tp] = self._left[tp][: step.records], self._left[tp][step.records :]
            if fed:
                self._agent.feed(tp, fed, now_ms=NOW_MS)
        else:
            forwarded = self._agent.drain(now_ms=NOW_MS, at_end_ms={})
            read_all(forwarded.outputs, TARGETS, self.readers)
            if step.crash:
                self._start()
            else:
                self.commits.update(forwarded.commits)

    def finish(self) -> list[Reader]:
        for source in range(SOURCES):
            self.step(Feed(source, 1_000))
        self.step(News())
        self.step(Drain(crash=False))
        return self.readers


def run(topic: str, logs: list[list[Raw]], steps: list[Feed | Drain | News]) -> list[Reader]:
    ingest = Ingest(topic, logs)
    for step in steps:
        ingest.step(step)
    return ingest.finish()


def assert_same_content(found: list[Reader], expected: list[Reader]) -> None:
    for one, other in zip(found, expected, strict=True):
        for source in range(SOURCES):
            assert one.rows.get(source) == other.rows.get(source)
            assert one.drops.get(source) == other.drops.get(source)
            assert one.told.get(source, [None])[-1] == other.told.get(source, [None])[-1] or (
                one.told[source][-1][1:] == other.told[source][-1][1:]
            )


@settings(max_examples=80, deadline=None)
@given(LOGS, STEPS)
def test_any_cut_and_any_crash_gives_every_reader_the_same_actions(
    logs: list[list[tuple[str, str, int, int]]], steps: list[Feed | Drain | News]
) -> None:
    raw = [action_log(log) for log in logs]
    assert_same_content(run("actions", raw, steps), run("actions", raw, []))


@settings(max_examples=80, deadline=None)
@given(LOGS, STEPS)
def test_any_wait_for_metadata_and_any_crash_gives_every_reader_the_same_activations(
    logs: list[list[tuple[str, str, int, int]]], steps: list[Feed | Drain | News]
) -> None:
    raw = [activation_log(log) for log in logs]
    readers = run("activations", raw, steps)
    assert_same_content(readers, run("activations", raw, []))
    for reader in readers:
        for rows in reader.rows.values():  # what waits is never overtaken
            assert [row.offset for row in rows] == sorted({row.offset for row in rows})


@settings(max_examples=50, deadline=None)
@given(LOGS, CALM)
def test_without_crashes_every_offset_is_covered_once(
    logs: list[list[tuple[str, str, int, int]]], steps: list[Feed | Drain | News]
) -> None:
    raw = [action_log(log) for log in logs]
    for reader in run("actions", raw, steps):
        for source, log in enumerate(raw):
            told = reader.told.get(source, [])
            assert [segment.first_offset for segment in told] == [0, *(t.next_offset for t in told)][
                : len(told)
            ]
            assert [segment.next_offset for segment in told][-1:] == [log[-1].offset + 1 for _ in log[-1:]]


@settings(max_examples=50, deadline=None)
@given(LOGS)
def test_every_record_is_a_row_or_counted_as_a_drop(logs: list[list[tuple[str, str, int, int]]]) -> None:
    raw = [activation_log(log) for log in logs]
    readers = run("activations", raw, [])
    for source, log in enumerate(raw):
        kept = [row.offset for reader in readers for row in reader.rows.get(source, [])]
        dropped = [offset for reader in readers for offset, _ in reader.drops.get(source, [])]
        assert sorted(kept + dropped) == [record.offset for record in log]


class Watch(Reader):
    """A reader that holds every row against what was announced before it."""

    def read(self, topic: str, value: bytes) -> None:
        before = {
            source: (told[-1].watermark_ms, len(self.rows[source])) for source, told in self.told.items()
        }
        super().read(topic, value)
        for source, (announced_ms, seen) in before.items():
            assert all(row.arrival_ms >= announced_ms for row in self.rows[source][seen:])
            assert all(told.watermark_ms >= announced_ms for told in self.told[source][-1:])


@settings(max_examples=80, deadline=None)
@given(
    LOGS, STEPS.map(lambda steps: [step for step in steps if not (isinstance(step, Drain) and step.crash)])
)
def test_nothing_arrives_below_a_watermark_that_was_announced(
    logs: list[list[tuple[str, str, int, int]]], steps: list[Feed | Drain | News]
) -> None:
    ingest = Ingest("activations", [activation_log(log) for log in logs])
    ingest.readers = [Watch() for _ in range(TARGETS)]
    for step in steps:
        ingest.step(step)
    ingest.finish()
