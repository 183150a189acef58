"""What counts, by the whole pipeline: raw topics in, SQL out, on a real broker with workers of their own.

Most cases share one pipeline, whose clock is that of the records: each takes the next hours of it, and an
experiment and users of its own. All of it runs twice, with its experiments and cells in SQLite and on a server.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from tests.faults.cluster import make_settings
from tests.faults.compare import compare, differences, read_raw, stored, truth
from tests.faults.random_run import experiments_of
from tests.faults.worker import STOP_BEFORE_OFFSETS
from tests.integration.pipelines import (
    CONTROL,
    TREATMENT,
    Pipeline,
    action,
    activation,
    experiment,
    now_ms,
)

from rtexp.core import sketches
from rtexp.local.generator import Generator
from rtexp.local.raw_records import partition_of
from rtexp.local.story import Story
from rtexp.local.topics import create_topics
from rtexp.local.truth import Rules
from rtexp.records.snapshot import Allocation
from rtexp.store.definitions import Experiment
from rtexp.store.engine import opened, reading
from rtexp.store.operations import read_counters, read_freshness, read_pipeline, read_workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.integration.conftest import NewStore
    from tests.integration.pipelines import DeadLetter
    from tests.oracle import cells as oracle

    from rtexp.local.raw_records import RawRecord
    from rtexp.settings import Settings
    from rtexp.store.cells import CellRow

pytestmark = pytest.mark.integration

SECOND_MS, MINUTE_MS, HOUR_MS = 1_000, 60_000, 3_600_000
BUCKET_MS = 15 * MINUTE_MS
START_MS = 1_420_416_000_000
STORY = Story(START_MS, 72 * HOUR_MS)
CASES_MS = STORY.cycle_start_ms(1) + 20 * HOUR_MS
"""When the named cases begin, long after the generated stream; an edge of hours, slots and buckets."""
SLOT_HOURS = 5
CASES = ("late-activations", "no-metrics", "unstopped", "stopped", "fighting", "replayed")

PARTITIONS = 3
IDLE, OF_PARTITIONS = 5, 8
"""Generated users avoid one partition of eight, so that it never gets a record where there are eight."""

EVENTS_MUCH_ALIKE = ("Click", "clíck", "cli\u0301ck", "click ")
GROUPS_MUCH_ALIKE = (CONTROL, TREATMENT, "Treatment", "treatmént", "treatment ")
EXPERIMENTS_MUCH_ALIKE = ("alike", "Alike", "älike", "alike ", "alike\t")

STANDARD_ERROR = 1.0390 / 2 ** (12 / 2)


# --- One pipeline for all that can share one, and what the generated stream has become in it


def records_settings(directory: Path, broker: str, partitions: int, new_store: NewStore) -> Settings:
    prefix = f"p{uuid4().hex[:8]}"
    made = make_settings(directory, broker, prefix, partitions=partitions, store=new_store())
    actions = made.actions.model_copy(update={"tracked": (*made.actions.tracked, *EVENTS_MUCH_ALIKE)})
    return made.model_copy(update={"actions": actions})


@contextmanager
def pipeline(directory: Path, settings: Settings, jobs: dict[str, int]) -> Iterator[Pipeline]:
    made = Pipeline(directory / "workers", settings, jobs)
    try:
        yield made
    finally:
        made.stop()


def generated(settings: Settings) -> list[RawRecord]:
    rules = replace(Rules.of(settings), tracked=frozenset({"search", "click"}))
    generator = Generator(STORY, rules, seed=3, users=1500, records_per_cycle=24_000)
    records = (told.record for told in generator.cycle(0))
    return [record for record in records if partition_of(record.key, OF_PARTITIONS) != IDLE]


@dataclass
class Shared:
    """The pipeline that cases share, its hours, and how the generated stream ended."""

    pipeline: Pipeline
    rows: list[CellRow]
    truth: oracle.Result
    dead_letters: list[DeadLetter]
    drops: Counter[str]
    taken: int = 0

    def hours(self) -> int:
        """Return when the next case begins; whatever comes earlier by the clock of records has been sent."""
        self.taken += 1
        return CASES_MS + (self.taken - 1) * SLOT_HOURS * HOUR_MS


@pytest.fixture(scope="module")
def shared(broker: str, new_store: NewStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    directory = tmp_path_factory.mktemp("shared")
    settings = records_settings(directory, broker, PARTITIONS, new_store)
    with pipeline(directory, settings, {"ingest": 2, "aggregate": 2, "results": 1}) as made:

        async def play() -> Shared:
            cases = [experiment(name, CASES_MS) for name in CASES]
            alike = [much_alike(name) for name in EXPERIMENTS_MUCH_ALIKE]
            await made.begin([*experiments_of(STORY, 1), *cases, *alike])
            await made.play(generated(settings), rows=2_000)
            await made.send([], marker_ms=CASES_MS)
            assert (await made.counted()).held_actions == 0
            return Shared(
                made, made.rows(), await truth(settings), await made.dead_letters(), await made.drops()
            )

        yield asyncio.run(play())


def counts_of(rows: Sequence[CellRow]) -> dict[oracle.CellKey, tuple[int, ...]]:
    return {row[:5]: row[5:10] for row in rows}


# --- The generated stream


def test_generated_stream_equals_the_oracle(shared: Shared) -> None:
    comparison = differences(shared.truth, counts_of(shared.rows))  # type: ignore[arg-type]
    assert comparison.cells > 2_000
    assert comparison.differing == {}


def test_each_bad_record_of_the_generated_stream_is_one_dead_letter_with_its_reason(shared: Shared) -> None:
    topics = {
        shared.pipeline.settings.actions.topic: "actions",
        shared.pipeline.settings.activations.topic: "activations",
    }
    origins = [letter.origin for letter in shared.dead_letters]
    assert len(set(origins)) == len(origins)
    assert Counter((topics[d.topic], d.reason) for d in shared.dead_letters) == shared.truth.dead
    assert len(shared.truth.dead) > 10


def test_drops_of_the_generated_stream_are_counted_by_reason(shared: Shared) -> None:
    expected = shared.truth.dropped + shared.truth.dead
    # A late action may have been counted for one period or none; the oracle doesn't call it a drop. What a worker
    # sends again because another has joined is no record of its own.
    others = ("actions/late-action", "actions/seen-offset", "activations/seen-offset")
    found = {name: n for name, n in shared.drops.items() if name not in others}
    assert found == {f"{kind}/{reason}": n for (kind, reason), n in expected.items()}
    assert {"actions/repeat", "actions/capped", "activations/outside-period"} <= found.keys()


@pytest.mark.parametrize("hours", [1, 6, 72], ids=["each hour", "every 6 hours", "whole periods"])
def test_estimated_uniques_of_any_range_of_buckets_are_near_the_exact_ones(
    shared: Shared, hours: int
) -> None:
    def range_of(key: tuple[Any, ...]) -> tuple[Any, ...]:
        """Experiment, period, group, event, and which range since the period's start."""
        first_bucket_ms = key[1] // BUCKET_MS * BUCKET_MS
        # A period of 72 hours that begins inside a bucket touches one bucket more.
        return (*key[:4], min((key[4] - first_bucket_ms) // (hours * HOUR_MS), 72 // hours - 1))

    exact: defaultdict[tuple[Any, ...], set[str]] = defaultdict(set)
    for key, cell in shared.truth.cells.items():
        exact[range_of(key)] |= cell.users
    found = defaultdict(list)
    for row in shared.rows:
        found[range_of(row[:5])].append(sketches.from_bytes(row.sketch or b"", 12))
    assert found.keys() == exact.keys()
    for key, users in exact.items():
        estimate = sketches.estimate(sketches.union(*found[key]), 12)
        # Two of a handful of users may share a register: an error of one user is the least there is.
        assert abs(estimate - len(users)) <= max(5 * STANDARD_ERROR * len(users), 1.05), key
    assert max(map(len, exact.values())) >= (400 if hours == 72 else 25)


# --- Named cases, hour after hour


async def test_an_activation_that_arrives_after_its_action_counts_within_join_delay_and_not_beyond(
    shared: Shared,
) -> None:
    #  arrival:    t            t + 10 s
    #  in-time     A            T           join_delay is 10 s
    #  too-late    A            .T          1 ms more; so its next action is the first that counts
    t = shared.hours()
    name = "late-activations"
    await shared.pipeline.send(
        [
            action("in-time", t),
            action("too-late", t),
            activation("in-time", name, t, TREATMENT, arrival_ms=t + 10 * SECOND_MS),
            activation("too-late", name, t, CONTROL, arrival_ms=t + 10 * SECOND_MS + 1),
            action("too-late", t + 1, "click", arrival_ms=t + 10 * SECOND_MS + 1),
        ],
        marker_ms=t + HOUR_MS,
    )
    await shared.pipeline.counted()
    assert shared.pipeline.counts(name, t) == {
        (TREATMENT, "", 0): (0, 0, 0, 1, 0),
        (TREATMENT, "search", 0): (1, 1, 1, 0, 0),
        (CONTROL, "", 0): (0, 0, 0, 1, 0),
        (CONTROL, "click", 0): (1, 1, 1, 0, 0),
    }


async def test_untracked_events_and_unknown_groups_and_experiments_are_dropped_and_counted(
    shared: Shared,
) -> None:
    t = shared.hours()
    name = "no-metrics"
    before = await shared.pipeline.drops()
    await shared.pipeline.send(
        [
            activation("known", name, t),
            activation("of-no-group", name, t, "no-such-group"),
            activation("of-no-experiment", "no-such-experiment", t),
            action("known", t + 1, "scroll"),
            action("of-no-group", t + 1),
            action("of-no-experiment", t + 1),
            action("known", t + 2),
        ],
        marker_ms=t + HOUR_MS,
    )
    await shared.pipeline.counted()
    assert shared.pipeline.counts(name, t) == {
        (TREATMENT, "", 0): (0, 0, 0, 1, 0),
        (TREATMENT, "search", 0): (1, 1, 1, 0, 0),
    }
    assert not shared.pipeline.rows("no-such-experiment")
    markers = {"actions/marker": PARTITIONS, "activations/marker": PARTITIONS}
    assert await shared.pipeline.drops() - before == Counter(
        {
            "actions/untracked": 1,
            "activations/unknown-group": 1,
            "activations/unknown-experiment": 1,
            **markers,
        }
    )


def much_alike(name: str) -> Experiment:
    return Experiment(
        name, CONTROL, GROUPS_MUCH_ALIKE, tuple(Allocation(g, 20.0, CASES_MS) for g in GROUPS_MUCH_ALIKE)
    )


async def test_names_that_differ_by_case_accents_or_spaces_at_the_end_stay_apart(shared: Shared) -> None:
    t = shared.hours()
    records, expected = [], {}
    for e, name in enumerate(EXPERIMENTS_MUCH_ALIKE):
        for g, group in enumerate(GROUPS_MUCH_ALIKE):
            user = f"alike-{e}-{g}"
            records.append(activation(user, name, t, group))
            expected[name, group, ""] = (0, 0, 0, 1, 0)
            for v, event in enumerate(("click", *EVENTS_MUCH_ALIKE)):
                # The groups differ in how long, the events in how much; of each hour 20 count.
                times = [t + half * HOUR_MS // 2 + n for half in range(g + 1) for n in range(1, v % 3 + 2)]
                records += [action(user, at_ms + v * SECOND_MS, event) for at_ms in times]
                expected[name, group, event] = (len(times), 1, len(times) ** 2, 0, 0)
    await shared.pipeline.send(sorted(records), marker_ms=t + 4 * HOUR_MS)
    await shared.pipeline.counted()
    found: defaultdict[tuple[str, str, str], Counter[int]] = defaultdict(Counter)
    for row in shared.pipeline.rows():
        if row.experiment in EXPERIMENTS_MUCH_ALIKE:
            found[row.experiment, row.group_name, row.event].update(dict(enumerate(row[5:10])))
    assert {key: tuple(sums[n] for n in range(5)) for key, sums in found.items()} == expected


def three_hours(name: str, start_ms: int) -> list[list[RawRecord]]:
    """Hour by hour, in order of arrival: users who act every 7 minutes, and enter at some minute of all three."""
    users = [f"{name}-{number}" for number in range(40)]
    records = []
    for number, user in enumerate(users):
        enters_ms = start_ms + number * 4 * MINUTE_MS + 3
        # Every third one's activation is on its way for 8 seconds: later than the action of the same time.
        late_ms = 8 * SECOND_MS if number % 3 == 0 else 0
        records.append(activation(user, name, enters_ms, arrival_ms=enters_ms + late_ms))
        records.append(action(user, enters_ms, "click"))
        records += [action(user, start_ms + m * MINUTE_MS + number) for m in range(1, 175, 7)]
    records.sort()
    return [
        [record for record in records if hour == (record.arrival_ms - start_ms) // HOUR_MS]
        for hour in range(3)
    ]


async def test_activations_stopped_for_an_hour_then_resumed_give_the_same_cells_as_without_the_stop(
    shared: Shared,
) -> None:
    #  hour          0       1          2
    #  unstopped     A+T     A+T        A+T      in order of arrival, with markers
    #  stopped       A+T     A          T, A+T   the second hour's activations come when its actions are there
    made = shared.pipeline
    straight_ms = shared.hours()
    for hour in three_hours("unstopped", straight_ms):
        await made.play(hour, rows=50)
    await made.send([], marker_ms=straight_ms + 4 * HOUR_MS)

    t = shared.hours()
    first, second, third = three_hours("stopped", t)
    await made.play(first, rows=50)
    await made.send(record for record in second if record.kind == "actions")
    assert (await made.counted()).held_actions > 200
    while_stopped = made.counts("stopped", t)
    await made.send(record for record in second if record.kind == "activations")
    await made.play(third, rows=50)
    await made.send([], marker_ms=t + 4 * HOUR_MS)
    assert (await made.counted()).held_actions == 0

    resumed = made.counts("stopped", t)
    assert resumed == made.counts("unstopped", straight_ms)
    assert not [key for key in while_stopped if key[2] >= HOUR_MS], "nothing of the second hour was counted"
    exposures_in_the_stop = sum(c[3] for key, c in resumed.items() if HOUR_MS <= key[2] < 2 * HOUR_MS)
    assert exposures_in_the_stop == 15


async def test_the_same_raw_offsets_read_twice_change_nothing(shared: Shared) -> None:
    made, settings = shared.pipeline, shared.pipeline.settings
    t = shared.hours()
    await made.send([activation("again", "replayed", t), action("again", t + 1)], marker_ms=t + HOUR_MS)
    await made.counted()
    before, drops = made.rows(), await made.drops()
    filtered_before = len(await made.records("filtered-actions"))

    ingests = [made.workers[name] for name in ("ingest-1", "ingest-2")]
    codes = await asyncio.gather(*(asyncio.to_thread(worker.end, signal.SIGTERM) for worker in ingests))
    assert codes == [0, 0]
    await reset_offsets(settings, f"{settings.kafka.prefix}-ingest")
    made.start("ingest-1", "ingest-2")
    await made.counted()

    assert len(await made.records("filtered-actions")) > filtered_before
    assert made.rows() == before
    again = await made.drops() - drops
    assert again.keys() == {"actions/seen-offset", "activations/seen-offset"}
    assert again["actions/seen-offset"] == len(await read_raw(settings, settings.actions.topic))

    await made.send([action("again", t + HOUR_MS)], marker_ms=t + 2 * HOUR_MS)
    await made.counted()
    assert made.counts("replayed", t) == {
        (TREATMENT, "", 0): (0, 0, 0, 1, 0),
        (TREATMENT, "search", 0): (1, 1, 1, 0, 0),
        (TREATMENT, "search", HOUR_MS): (1, 0, 3, 0, 0),
    }


async def reset_offsets(settings: Settings, group: str) -> None:
    """Send an idle consumer group back to the beginning of the raw topics, as Kafka's own tool does."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=list(settings.kafka.brokers), group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        tps = [
            TopicPartition(topic, partition)
            for topic in (settings.actions.topic, settings.activations.topic)
            for partition in range(settings.kafka.partitions)
        ]
        consumer.assign(tps)
        await consumer.commit(dict.fromkeys(tps, 0))
    finally:
        await consumer.stop()


async def test_an_ingest_worker_that_sleeps_beyond_its_session_and_wakes_up_changes_nothing(
    shared: Shared,
) -> None:
    made = shared.pipeline
    sleeper = made.with_failpoints("ingest-2")
    started_ms = now_ms()
    await made.board(lambda board: len(owners_of_raw(board, since_ms=started_ms)) == 2)
    t = shared.hours()
    users = [f"fighting-{number}" for number in range(200)]
    entering = [activation(user, "fighting", t + number) for number, user in enumerate(users)]
    acting = [
        action(user, t + minute * MINUTE_MS + number)
        for minute in range(1, 200, 4)  # 15 an hour, below the cap
        for number, user in enumerate(users)
    ]
    before = await made.drops()
    # It falls asleep when what it read is on its way to aggregate, and nobody has been told so.
    sleeper.arm(STOP_BEFORE_OFFSETS)
    await made.send([*entering, *acting[:2_000]])
    await sleeper.has_failed(STOP_BEFORE_OFFSETS)
    await made.send(acting[2_000:6_000])
    # All is counted although a half was the sleeper's: the other one has taken it over, once the session ended,
    # and has sent again what the sleeper had sent.
    await made.counted()
    woken_ms = now_ms()
    os.kill(sleeper.pid, signal.SIGCONT)
    await made.play(acting[6_000:], rows=1_000)
    await made.send([], marker_ms=t + 4 * HOUR_MS)
    await made.board(lambda board: len(owners_of_raw(board, since_ms=woken_ms)) == 2)  # it has found back
    await made.counted()

    more = await made.drops() - before
    assert more["actions/seen-offset"] + more["activations/seen-offset"] > 0
    assert more["actions/repeat"] == 0
    counts = made.counts("fighting", t)
    assert sum(c[0] for c in counts.values()) == len(acting)
    assert sum(c[2] for c in counts.values()) == len(users) * 50**2
    assert differences(await truth(made.settings), stored(made.settings)).differing == {}


def owners_of_raw(board: Any, *, since_ms: int) -> list[str]:
    """The live ingest workers that have reported since then that they read some raw partition."""
    live = board.live_workers("ingest", now_ms())
    return [worker for worker, status in live.items() if status.inputs and status.at_ms > since_ms]


# --- Other numbers of partitions and workers


async def test_one_partition_and_one_worker_count_the_same(
    shared: Shared, broker: str, new_store: NewStore, tmp_path: Path
) -> None:
    settings = records_settings(tmp_path, broker, 1, new_store)
    with pipeline(tmp_path, settings, {"ingest": 1, "aggregate": 1, "results": 1}) as made:
        await made.begin(experiments_of(STORY, 1))
        await made.play(generated(settings), rows=10_000)
        await made.send([], marker_ms=CASES_MS)
        await made.counted()
        assert counts_of(made.rows()) == counts_of(shared.rows)


async def test_late_actions_count_in_cells_that_have_left_memory_after_restarts_and_rewinds(
    broker: str, tmp_path: Path
) -> None:
    #  hour   0      1                    10
    #         [ acts )                    marker: hour 0 is over, and cold after a restart
    #           ^ ^ late: counted, rewound after a kill, and counted on
    settings = records_settings(tmp_path, broker, 1, new_store=lambda: None)
    # No checkpoint but that of a clean stop: everything since then is rewound.
    settings = settings.model_copy(
        update={"pipeline": settings.pipeline.model_copy(update={"checkpoint_seconds": 3600.0})}
    )
    minutes = [CASES_MS + minute * MINUTE_MS for minute in range(30)]
    with pipeline(tmp_path, settings, {"ingest": 1, "aggregate": 1, "results": 1}) as made:
        results = made.workers["results-1"]
        await made.begin([experiment("cold", CASES_MS)])
        users = [f"user-{n}" for n in range(20)]
        await made.send(activation(user, "cold", CASES_MS) for user in users)
        await made.send([action(user, at) for at in minutes[0:30:2] for user in users[:10]])
        await made.send([], marker_ms=CASES_MS + 10 * HOUR_MS)
        await made.counted()

        assert await asyncio.to_thread(results.end, signal.SIGTERM) == 0
        results.start()
        await made.board(lambda board: cells_in_memory(board) == {0})
        before = made.counts("cold", CASES_MS)

        late_ms = CASES_MS + 10 * HOUR_MS + 1
        await made.send(
            [action(user, minutes[1] + 1, arrival_ms=late_ms) for user in users],
            marker_ms=late_ms + MINUTE_MS,
        )
        await made.counted()
        await made.board(lambda board: min(cells_in_memory(board), default=0) > 0)
        await asyncio.to_thread(results.end, signal.SIGKILL)
        results.start()
        await made.send(
            [action(user, minutes[20] + 1, arrival_ms=late_ms + MINUTE_MS) for user in users],
            marker_ms=late_ms + 2 * MINUTE_MS,
        )
        await made.counted()
        assert re.search(r"rewound [1-9]", results.said[results.said_before :])

        after = made.counts("cold", CASES_MS)
        assert after.keys() == before.keys()
        changed = {key: after[key][0] - before[key][0] for key in after if after[key] != before[key]}
        assert changed == {
            (TREATMENT, "search", 0): 20,
            (TREATMENT, "search", 15 * MINUTE_MS): 20,
        }
        assert (await compare(settings)).differing == {}
        sketch = {row.bucket_start_ms - CASES_MS: row.sketch for row in made.rows("cold") if row.event}
        users_found = sketches.estimate(sketches.from_bytes(sketch[0] or b"", 12), 12)
        assert round(users_found) == len(users), "those from before and those who came late"


def cells_in_memory(board: Any) -> set[int]:
    """What live results workers say of how many cells they have in memory, by partition of experiments with cells."""
    return {
        status.details["buckets"]["cells_in_memory"]
        for status in board.live_partitions("results", now_ms())
        if status.ready and status.details["buckets"]["cells"]
    }


async def test_a_raw_topic_that_was_made_again_stops_the_job_instead_of_vanishing(
    broker: str, tmp_path: Path
) -> None:
    settings = records_settings(tmp_path, broker, 1, new_store=lambda: None)
    with pipeline(tmp_path, settings, {"ingest": 1, "aggregate": 1, "results": 1}) as made:
        await made.begin([experiment("remade", CASES_MS)])
        await made.send(
            [activation("u", "remade", CASES_MS), *(action("u", CASES_MS + n) for n in range(5))],
            marker_ms=CASES_MS + HOUR_MS,
        )
        await made.counted()
        assert await asyncio.to_thread(made.workers["ingest-1"].end, signal.SIGTERM) == 0
        await make_again(settings, settings.actions.topic)
        made.start("ingest-1")
        # Kafka has forgotten what was committed of the topic, and so ingest notices nothing.
        await made.send([action("u", CASES_MS + 10)], marker_ms=CASES_MS + 2 * HOUR_MS)
        aggregate = made.workers["aggregate-1"]
        assert aggregate.process is not None
        assert await asyncio.to_thread(aggregate.process.wait, 60) == 70
        assert re.search(
            r"-actions/0 ends at \d, but had been counted up to 6: .* made again", aggregate.said
        )


async def make_again(settings: Settings, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=list(settings.kafka.brokers))
    await admin.start()
    try:
        await admin.delete_topics([topic])
        async with asyncio.timeout(60):
            while topic in {found["topic"] for found in await admin.describe_topics()}:  # noqa: ASYNC110 - a broker
                await asyncio.sleep(0.1)
    finally:
        await admin.close()
    await create_topics(settings)


@dataclass
class Handed:
    """Eight partitions that went from one worker to three, and from those to two."""

    rows: list[CellRow]
    at_first: set[int]
    """Partitions in which the first worker counted, when it was alone."""
    shared: dict[str, set[int]]
    """What each of the three owned when one of them was stopped."""
    taken_over: set[int]
    """What came to the others after that."""
    exit_code: int
    raw: list[oracle.RawRecord]


@pytest.fixture(scope="module")
def handed(broker: str, new_store: NewStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handed]:
    directory = tmp_path_factory.mktemp("handed")
    settings = records_settings(directory, broker, OF_PARTITIONS, new_store)
    with pipeline(directory, settings, {"ingest": 1, "aggregate": 3, "results": 2}) as made:
        yield asyncio.run(hand_around(made))


async def hand_around(made: Pipeline) -> Handed:
    records = generated(made.settings)
    thirds = len(records) // 3
    aggregates = [made.workers[f"aggregate-{number}"] for number in (1, 2, 3)]
    await made.begin(experiments_of(STORY, 1), "ingest-1", "results-1", "aggregate-1")
    await made.play(records[:thirds], rows=1_000)
    await made.counted()
    at_first = live_in(aggregates[0].said)

    made.start("aggregate-2", "aggregate-3", "results-2")
    shared = await made.shared(*(worker.name for worker in aggregates))
    stopped = aggregates[1]
    said = [len(worker.said) for worker in aggregates]
    await made.play(records[thirds : 2 * thirds], rows=1_000)
    exit_code = await asyncio.to_thread(stopped.end, signal.SIGTERM)  # while there is something to count

    await made.play(records[2 * thirds :], rows=1_000)
    await made.send([], marker_ms=CASES_MS)
    await made.counted()
    others = [live_in(w.said[n:]) for w, n in zip(aggregates, said, strict=True) if w is not stopped]
    raw = [
        record
        for topic in (made.settings.actions.topic, made.settings.activations.topic)
        for record in await read_raw(made.settings, topic)
    ]
    return Handed(made.rows(), at_first, shared, set().union(*others), exit_code, raw)


def live_in(said: str) -> set[int]:
    return {int(partition) for partition in re.findall(r"users/(\d+): live; rewound", said)}


def test_three_workers_share_partitions_and_one_that_is_stopped_hands_them_back(handed: Handed) -> None:
    assert handed.at_first == set(range(OF_PARTITIONS)), "all were the first one's own"
    assert all(handed.shared.values())
    assert sorted(p for owned in handed.shared.values() for p in owned) == list(range(OF_PARTITIONS))
    assert handed.exit_code == 0
    assert handed.taken_over >= handed.shared["aggregate-2"]


def test_eight_partitions_and_up_to_three_workers_count_the_same(handed: Handed, shared: Shared) -> None:
    assert counts_of(handed.rows) == counts_of(shared.rows)


def test_a_partition_with_nothing_but_markers_holds_nobody_back(handed: Handed) -> None:
    rows = Counter(record.partition for record in handed.raw if record.value is not None)
    assert rows.keys() == set(range(OF_PARTITIONS)) - {IDLE}
    assert {record.partition for record in handed.raw} == set(range(OF_PARTITIONS))
    assert sum(row.volume for row in handed.rows) > 5_000


# --- With the clock of the wall


@pytest.fixture(scope="module")
def live(broker: str, new_store: NewStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    directory = tmp_path_factory.mktemp("live")
    settings = records_settings(directory, broker, PARTITIONS, new_store)
    settings = settings.model_copy(
        update={
            "pipeline": settings.pipeline.model_copy(update={"clock": "live", "join_delay_seconds": 1.0}),
            "metadata": settings.metadata.model_copy(update={"wait_seconds": 60.0}),
        }
    )
    with pipeline(directory, settings, {"ingest": 1, "aggregate": 1, "results": 1}) as made:
        asyncio.run(made.begin([experiment("known", now_ms() - HOUR_MS)]))
        yield made


def users_of_partition(prefix: str, partition: int, count: int) -> list[str]:
    names = (f"{prefix}-{number}" for number in range(1_000))
    return [name for name in names if partition_of(name.encode(), PARTITIONS) == partition][:count]


def totals(counts: dict[tuple[str, str, int], tuple[int, ...]]) -> dict[tuple[str, str], list[int]]:
    """Sums over buckets: who knows in which ones the present lies."""
    found: dict[tuple[str, str], list[int]] = {}
    for (group, event, _), values in counts.items():
        before = found.get((group, event), [0] * 5)
        found[group, event] = [a + b for a, b in zip(before, values, strict=True)]
    return found


async def test_idle_partitions_hold_nobody_back_as_time_goes_on(live: Pipeline) -> None:
    users = users_of_partition("lonely", 0, 3)
    await live.send([activation(user, "known", now_ms()) for user in users])
    await live.send([action(user, now_ms()) for user in users])
    await live.counted()
    assert totals(live.counts("known")) == {
        (TREATMENT, ""): [0, 0, 0, 3, 0],
        (TREATMENT, "search"): [3, 3, 3, 0, 0],
    }
    for topic in (live.settings.actions.topic, live.settings.activations.topic):
        assert {record.partition for record in await read_raw(live.settings, topic)} == {0}


async def test_an_experiment_created_seconds_after_its_first_activations_counts_them(live: Pipeline) -> None:
    early, late = users_of_partition("pioneer", 0, 2)
    t = now_ms()
    await live.send([activation(early, "created-later", t), action(early, t + 1, arrival_ms=t + 1)])
    topic = live.settings.activations.topic
    await live.board(
        lambda board: (r := board.reports("ingest", topic).get(0)) is not None and r.held_rows > 0
    )
    assert not live.rows("created-later")

    live.add(experiment("created-later", t - HOUR_MS))
    await live.send([activation(late, "created-later", now_ms(), CONTROL)])
    await live.counted()
    assert totals(live.counts("created-later")) == {
        (TREATMENT, ""): [0, 0, 0, 1, 0],
        (TREATMENT, "search"): [1, 1, 1, 0, 0],
        (CONTROL, ""): [0, 0, 0, 1, 0],
    }


async def test_what_the_jobs_do_is_in_sql(live: Pipeline) -> None:
    (user,) = users_of_partition("observed", 1, 1)
    t = now_ms()
    await live.send([action(user, t, "untracked"), action(user, t), action(user, t)])
    await live.counted()
    deadline_ms = now_ms() + 30_000
    while True:
        with opened(live.settings.store) as engine, reading(engine) as connection:
            positions, workers = read_pipeline(connection), read_workers(connection)
            dropped = {(row.job, row.reason) for row in read_counters(connection, since_ms=t - MINUTE_MS)}
            fresh = read_freshness(connection)
        if {("aggregate", "actions/repeat"), ("ingest", "actions/untracked")} <= dropped and fresh:
            break
        assert now_ms() < deadline_ms, (positions, workers, dropped, fresh)
        await asyncio.sleep(0.2)
    kafka, raw = live.settings.kafka, live.settings.actions.topic
    topics = Counter((row.job, row.input) for row in positions)
    assert topics["aggregate", kafka.topic("filtered-actions")] == PARTITIONS
    assert topics["ingest", raw] == PARTITIONS
    assert topics["results", kafka.topic("partials")] == OF_PARTITIONS
    assert {(row.job, row.partitions) for row in workers} == {
        ("ingest", 2 * PARTITIONS),
        ("aggregate", PARTITIONS),
        ("results", OF_PARTITIONS),
    }
    assert all(row.rss_bytes > 10_000_000 and row.cpu_seconds > 0 for row in workers)
    assert all(row.url.startswith("http://127.0.0.1:") for row in workers)
    join_delay_ms = live.settings.pipeline.join_delay_seconds * 1000
    assert all(join_delay_ms < row.p50_ms <= row.p99_ms < 60_000 for row in fresh), fresh
