"""From raw records to cells without a broker: ingest's and aggregate's own parts against the oracle."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracle import cells as oracle
from tests.plain_partials import from_record
from tests.unit.agents.raw_records import Raw

from rtexp.agents.aggregate import AggregateState
from rtexp.agents.filter_actions import filter_actions
from rtexp.agents.filter_activations import filter_activations
from rtexp.core.cells import CellCounts, merged
from rtexp.engine.api import TopicPartition
from rtexp.records import partials
from rtexp.records.snapshot import Experiment, Period, Snapshot
from rtexp.settings import ActionSettings, KafkaSettings, PipelineSettings, Settings, SketchSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.agents.filtering import Filter
    from rtexp.agents.segments import FilteredBatch
    from rtexp.engine.api import Output

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
NOW = START + 1_000 * HOUR
SOURCES, TARGETS = 2, 3
SETTINGS = Settings(
    kafka=KafkaSettings(partitions=TARGETS),
    actions=ActionSettings(cap_per_hour=2),
    pipeline=PipelineSettings(
        clock="records", period_hours=1, grace_minutes=10, dedup_minutes=1, dead_letter_ratio=1.0
    ),
    sketch=SketchSettings(lg_k=10),
)
RULES = oracle.Rules(
    cap_per_hour=2, period_ms=HOUR, grace_ms=10 * MINUTE, dedup_ms=MINUTE, join_delay_ms=10 * SECOND
)
GROUPS = ("x", "y")
EXPERIMENTS = [
    oracle.Experiment(
        "a", GROUPS, (oracle.Allocation("x", 5, START), oracle.Allocation("y", 5, START + HOUR))
    ),
    oracle.Experiment("b", GROUPS, (oracle.Allocation("x", 5, START + MINUTE),)),
]
SNAPSHOT = Snapshot(
    1,
    NOW,
    [
        Experiment(e.name, "x", list(GROUPS), [Period(*p) for p in oracle.periods(e, HOUR)], [], [])
        for e in EXPERIMENTS
    ],
)


class Thing(NamedTuple):
    """What a record is to be: drawn small, so that failures are; ``what`` picks an event, or a kind."""

    user: int
    what: int
    at_ms: int
    step_ms: int
    back_ms: int


# Few times, most of them on edges of periods, buckets and slots, where things meet.
TIMES = st.sampled_from([-1, 0, 1, 7, 15 * MINUTE - 1, 15 * MINUTE, HOUR - 1, HOUR, HOUR + 1, 2 * HOUR])
STEPS = st.sampled_from([0, 0, 0, 1, SECOND, 9_999, 10_001, MINUTE, 2 * MINUTE, 10 * MINUTE, HOUR])
BACK = st.sampled_from([0, 0, 0, 1, 2 * SECOND, 5 * SECOND])
THINGS = st.lists(
    st.builds(Thing, st.integers(0, 4), st.integers(0, 9), TIMES, STEPS, BACK), min_size=5, max_size=40
)

EVENTS = ["search", "search", "search", "search", "click", "click", "scroll"]
KINDS = [("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("a", "z"), ("c", "x")]


def logs(things: Sequence[Thing], topic: str) -> list[list[Raw]]:
    """Records by source partition, arrivals going back now and then; the last of each promises the end."""
    made: list[list[Raw]] = [[] for _ in range(SOURCES)]
    arrival_ms = START
    for user, what, at_ms, step_ms, back_ms in things:
        arrival_ms += step_ms
        log = made[user % SOURCES]
        fields: dict[str, object] = {"user_id": f"u{user}", "ts": START + at_ms}
        if what == 8:
            log.append(Raw(2 * len(log), arrival_ms, b"{no JSON"))
            continue
        if what == 9:
            log.append(marker(2 * len(log), arrival_ms))
            continue
        if topic == "actions":
            fields["event"] = EVENTS[what % len(EVENTS)]
        else:
            fields["experiment"], fields["group"] = KINDS[what % len(KINDS)]
        log.append(Raw(2 * len(log), arrival_ms - back_ms, json.dumps(fields).encode()))
    for log in made:
        log.append(marker(2 * len(log), START + 900 * HOUR))
    return made


def marker(offset: int, watermark_ms: int) -> Raw:
    return Raw(offset, START, None, None, (("rtexp-watermark", b"%d" % watermark_ms),))


def by_oracle(actions: list[list[Raw]], activations: list[list[Raw]]) -> oracle.Result:
    def records(logs: list[list[Raw]]) -> list[oracle.RawRecord]:
        return [
            oracle.RawRecord(source, raw.offset, raw.timestamp, raw.key, raw.value, raw.headers)
            for source, log in enumerate(logs)
            for raw in log
        ]

    return oracle.recompute(records(actions), records(activations), EXPERIMENTS, RULES)


def ingested(agent: Filter[Any], topic: str, logs: list[list[Raw]], dice: Random) -> list[Output]:
    """Feed all records, cut and drained anywhere; return what was sent, in order."""
    left = {TopicPartition(topic, source): deque(log) for source, log in enumerate(logs)}
    for tp in left:
        agent.assign(tp, None, log_start=0, partitions=SOURCES)
    outputs: list[Output] = []
    while any(left.values()):
        tp = dice.choice([tp for tp, log in left.items() if log])
        taken = [left[tp].popleft() for _ in range(min(len(left[tp]), dice.choice((1, 2, 7, 50))))]
        agent.feed(tp, taken, now_ms=NOW)
        if dice.random() < 0.5:
            outputs += agent.drain(now_ms=NOW, at_end_ms={}).outputs
    return [*outputs, *agent.drain(now_ms=NOW, at_end_ms={}).outputs]


def aggregated(sent: Sequence[Output], partition: int, dice: Random) -> tuple[list[Output], dict[str, int]]:
    """Let one partition's state count, flushed anywhere, whichever input comes first."""
    state = AggregateState(SETTINGS, partition)
    left: defaultdict[str, deque[FilteredBatch]] = defaultdict(deque)
    for output in sent:
        if output.partition == partition and not output.topic.endswith("dead-letters"):
            left[output.topic].append(state.decode(output.topic, output.value or b""))
    outputs: list[Output] = []
    while any(left.values()):
        topic = dice.choice([topic for topic, batches in left.items() if batches])
        due: list[FilteredBatch] = []
        while left[topic] and len(due) < dice.choice((1, 3, 9)) and state.is_due(topic, left[topic][0]):
            due.append(left[topic].popleft())
        if due:
            state.apply(topic, due)
        if dice.random() < 0.5:
            outputs += state.collect()
    return [*outputs, *state.collect()], dict(state.status().counters)


@settings(deadline=None, max_examples=100)
@given(THINGS, THINGS, st.integers(0, 2**32).map(Random))
def test_any_raw_records_cut_anywhere_become_the_oracles_cells_drops_and_dead_letters(
    acting: list[Thing], entering: list[Thing], dice: Random
) -> None:
    actions, activations = logs(acting, "actions"), logs(entering, "activations")
    expected = by_oracle(actions, activations)

    accepting = filter_activations(SETTINGS)
    accepting.set_snapshot(SNAPSHOT)
    sent = ingested(accepting, "activations", activations, dice)
    sent += ingested(filter_actions(SETTINGS), "actions", actions, dice)
    counted = [aggregated(sent, partition, dice) for partition in range(TARGETS)]

    cells = merged(
        part
        for outputs, _ in counted
        for output in outputs
        for part in from_record(partials.decode(output.value or b""))
    )
    assert {tuple(key): numbers(cell.counts) for key, cell in cells.items()} == {
        key: numbers(cell) for key, cell in expected.cells.items()
    }
    drops: defaultdict[str, int] = defaultdict(int)
    for _, counters in counted:
        for reason, n in counters.items():
            drops[reason] += n
    drops.pop("actions/late-action", None)  # counted for what may join nothing; the oracle drops none for it
    assert {reason: n for reason, n in drops.items() if n} == {
        f"{kind}/{reason}": n for (kind, reason), n in (expected.dropped + expected.dead).items()
    }
    letters = [output for output in sent if output.topic.endswith("dead-letters")]
    assert len(letters) == expected.dead.total()


def numbers(counts: CellCounts | oracle.Cell) -> tuple[int, ...]:
    return tuple(getattr(counts, name) for name in CellCounts.__slots__)
