from __future__ import annotations

from typing import Any

from tests.unit.agents.raw_records import (
    HOUR_MS,
    NOW_MS,
    START_MS,
    Raw,
    Reader,
    Row,
    Told,
    activation,
    bad,
    read_all,
)

from rtexp.agents.filter_activations import FilterActivations, filter_activations
from rtexp.engine.api import Commit, Forwarded, TopicPartition
from rtexp.records.filtered import Kind
from rtexp.records.snapshot import Experiment, Period, Ramp, Snapshot
from rtexp.settings import KafkaSettings, MetadataSettings, PipelineSettings, Settings

TP = TopicPartition("activations", 0)
OTHER = TopicPartition("activations", 1)
PERIOD = Period(START_MS, START_MS + 72 * HOUR_MS)
LATER = Experiment("later", "control", ["control"], [PERIOD], [Ramp("control", START_MS)], [])
FEED = Experiment(
    "feed", "control", ["control", "treatment"], [PERIOD], [Ramp("treatment", START_MS + HOUR_MS)], []
)
CONTROL = Kind("feed", "control", PERIOD.start_ms, PERIOD.end_ms, START_MS)


def snapshot(as_of_ms: int, *experiments: Experiment) -> Snapshot:
    return Snapshot(1, as_of_ms, list(experiments) or [FEED])


def make(*, clock: Any = "records", wait_seconds: float = 0) -> FilterActivations:
    made = filter_activations(
        Settings(
            kafka=KafkaSettings(partitions=1),
            pipeline=PipelineSettings(clock=clock, out_of_order_seconds=2.0),
            metadata=MetadataSettings(wait_seconds=wait_seconds),
        )
    )
    for tp in (TP, OTHER):
        made.assign(tp, None, log_start=0, partitions=2)
    return made


def drain(agent: FilterActivations, *, now_ms: int = NOW_MS, at_end_ms: int | None = None) -> Forwarded:
    return agent.drain(now_ms=now_ms, at_end_ms={} if at_end_ms is None else {TP: at_end_ms})


def feed(agent: FilterActivations, *records: Raw, tp: TopicPartition = TP) -> Reader:
    """Feed and drain; return what the one target partition was sent."""
    agent.feed(tp, records, now_ms=NOW_MS)
    return read_all(drain(agent).outputs, 1)[0]


def test_an_accepted_activation_gets_its_period_and_its_groups_ramp() -> None:
    agent = make()
    agent.set_snapshot(snapshot(NOW_MS))
    at_ms = START_MS + HOUR_MS
    reader = feed(agent, activation(0), activation(1, "u2", group="treatment", at_ms=at_ms))
    treatment = Kind("feed", "treatment", PERIOD.start_ms, PERIOD.end_ms, at_ms)
    assert reader.rows[0] == [
        Row(0, "u1", CONTROL, START_MS, START_MS),
        Row(1, "u2", treatment, at_ms, at_ms),
    ]


def test_what_no_period_accepts_is_dropped_by_reason() -> None:
    agent = make()
    agent.set_snapshot(snapshot(NOW_MS))
    end_ms = PERIOD.end_ms
    reader = feed(
        agent,
        activation(0, experiment="other"),
        activation(1, group="other"),
        activation(2, at_ms=START_MS - 1),
        activation(3, at_ms=end_ms - 1, arrival_ms=end_ms + HOUR_MS - 1),
        activation(4, at_ms=end_ms - 1, arrival_ms=end_ms + HOUR_MS),
    )
    assert reader.drops[0] == [
        (0, "unknown-experiment"),
        (1, "unknown-group"),
        (2, "outside-period"),
        (4, "late-activation"),
    ]
    assert [row.offset for row in reader.rows[0]] == [3]


def test_before_the_first_snapshot_everything_waits() -> None:
    agent = make()
    assert feed(agent, activation(0)) == Reader()
    assert agent.waiting_rows(TP) == 1
    assert agent.status().details == {"snapshot_as_of_ms": None}
    agent.set_snapshot(snapshot(START_MS))
    assert read_all(drain(agent).outputs, 1)[0].rows[0] == [Row(0, "u1", CONTROL, START_MS, START_MS)]
    assert agent.waiting_rows(TP) == 0


def test_an_experiment_made_seconds_after_its_first_activations_loses_none() -> None:
    agent = make()
    agent.set_snapshot(snapshot(START_MS))
    waiting = activation(0, experiment="later")
    assert feed(agent, waiting, activation(1, "u2")) == Reader()
    agent.set_snapshot(snapshot(START_MS + 1, FEED, LATER))
    rows = read_all(drain(agent).outputs, 1)[0].rows[0]
    assert [(row.offset, row.name.experiment) for row in rows] == [(0, "later"), (1, "feed")]


def test_a_waiting_activation_holds_what_is_behind_it_and_nothing_else() -> None:
    agent = make()
    agent.set_snapshot(snapshot(START_MS))
    first = activation(0, at_ms=START_MS)
    waits = activation(1, experiment="later", at_ms=START_MS + 5_000)
    behind = activation(3, at_ms=START_MS + 9_000)
    agent.feed(TP, [first, waits, bad(2, arrival_ms=START_MS + 9_000), behind], now_ms=NOW_MS)
    agent.feed(OTHER, [activation(0, "u2")], now_ms=NOW_MS)
    forwarded = drain(agent)
    reader = read_all(forwarded.outputs, 1)[0]
    assert [row.offset for row in reader.rows[0]] == [0]
    assert [row.offset for row in reader.rows[1]] == [0]
    # Up to the waiting row: what its partition's clock said just before it came.
    assert reader.told[0] == [Told(0, 1, START_MS - 2_000, 0)]
    assert reader.drops[0] == []
    assert forwarded.commits[TP].next_offset == 1
    agent.set_snapshot(snapshot(NOW_MS))
    later = read_all(drain(agent).outputs, 1)[0]
    assert later.told[0] == [Told(1, 4, START_MS + 7_000, 0)]
    assert later.drops[0] == [(1, "unknown-experiment"), (2, "invalid-json")]
    assert [row.offset for row in later.rows[0]] == [3]


def test_waiting_holds_the_watermark_of_a_live_partition_that_was_read_to_its_end() -> None:
    agent = make(clock="live")
    agent.set_snapshot(snapshot(START_MS))
    agent.feed(TP, [activation(0), activation(1, experiment="later")], now_ms=NOW_MS)
    told = read_all(drain(agent, at_end_ms=NOW_MS).outputs, 1)[0].told[0]
    assert told == [Told(0, 1, START_MS - 2_000, 0)]
    assert drain(agent, now_ms=NOW_MS + HOUR_MS, at_end_ms=NOW_MS + HOUR_MS) == Forwarded([], {})
    agent.set_snapshot(snapshot(NOW_MS))
    told = read_all(drain(agent, at_end_ms=NOW_MS).outputs, 1)[0].told[0]
    assert told == [Told(1, 2, NOW_MS - 2_000, 0)]


def test_a_restart_while_something_waits_changes_no_arrival() -> None:
    records = [
        activation(0, at_ms=START_MS + 60_000),
        activation(1, experiment="later", at_ms=START_MS),
        activation(2, at_ms=START_MS),
    ]
    agent = make()
    agent.set_snapshot(snapshot(START_MS))
    agent.feed(TP, records, now_ms=NOW_MS)
    commit = drain(agent).commits[TP]
    assert commit == Commit(1, f"1:{START_MS + 58_000}")
    agent.assign(TP, commit, log_start=0, partitions=2)
    agent.set_snapshot(snapshot(NOW_MS, FEED, LATER))
    assert [row.arrival_ms for row in feed(agent, *records[1:]).rows[0]] == [START_MS + 58_000] * 2


def test_a_snapshot_that_is_not_newer_is_ignored() -> None:
    agent = make()
    agent.set_snapshot(snapshot(NOW_MS))
    agent.set_snapshot(snapshot(NOW_MS, LATER))
    agent.set_snapshot(snapshot(START_MS, LATER))
    assert agent.status().details == {"snapshot_as_of_ms": NOW_MS}
    assert [row.offset for row in feed(agent, activation(0)).rows[0]] == [0]


def test_a_rejection_waits_for_a_snapshot_as_much_later_as_configured() -> None:
    agent = make(wait_seconds=3)
    agent.set_snapshot(snapshot(START_MS + 2_999))
    assert feed(agent, activation(0, experiment="later")) == Reader()
    agent.set_snapshot(snapshot(START_MS + 3_000))
    assert read_all(drain(agent).outputs, 1)[0].drops[0] == [(0, "unknown-experiment")]
