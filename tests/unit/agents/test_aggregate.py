"""The state of `aggregate`, as the engine sees it: what waits, what counts, what goes out, what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import filtered_records
from tests.filtered_records import Row, segment
from tests.plain_partials import from_record

from rtexp.agents import cell_outputs
from rtexp.agents.aggregate import AggregateState, aggregate_state, semantics
from rtexp.agents.cell_outputs import partition_of
from rtexp.core.cells import Cell, CellKey, merged
from rtexp.errors import StateError
from rtexp.records import partials
from rtexp.records.filtered import Kind
from rtexp.settings import ActionSettings, KafkaSettings, PipelineSettings, Settings, SketchSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rtexp.engine.api import Output
    from rtexp.records.filtered import Segment

ACTIONS, ACTIVATIONS = "rtexp.filtered-actions", "rtexp.filtered-activations"
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
DELAY = 10 * SECOND
KINDS = [
    Kind("exp", "control", START, START + 72 * HOUR, START),
    Kind("other", "treatment", START, START + 72 * HOUR, START),
]
SEARCH = CellKey("exp", START, "control", "search", START)
EXPOSED = CellKey("exp", START, "control", "", START)


@pytest.fixture
def state() -> AggregateState:
    return aggregate_state(Settings(), 0)


def activate(state: AggregateState, *segments: Segment, sources: int = 1) -> None:
    value = filtered_records.activations(*segments, kinds=KINDS, sources=sources)
    state.apply(ACTIVATIONS, [state.decode(ACTIVATIONS, value)])


def is_due(state: AggregateState, *segments: Segment) -> bool:
    return state.is_due(ACTIONS, state.decode(ACTIONS, filtered_records.actions(*segments)))


def act(state: AggregateState, *segments: Segment, reasons: Sequence[str] = (), sources: int = 1) -> None:
    batch = state.decode(ACTIONS, filtered_records.actions(*segments, reasons=reasons, sources=sources))
    assert state.is_due(ACTIONS, batch)
    state.apply(ACTIONS, [batch])


def trigger(user: str = "u", *, kind: int = 0, watermark_ms: int = START + HOUR) -> Segment:
    return segment([Row(0, user, kind, START, START)], first=0, following=1, watermark_ms=watermark_ms)


def search(offset: int, arrival_ms: int = START, *, at_ms: int = START, user: str = "u") -> Row:
    return Row(offset, user, 0, at_ms, arrival_ms)


def sent(outputs: Iterable[Output]) -> dict[CellKey, Cell]:
    return merged(
        part for output in outputs if output.value for part in from_record(partials.decode(output.value))
    )


def watermarks_sent(outputs: Iterable[Output]) -> dict[int, list[int]]:
    told: dict[int, list[int]] = {}
    for output in outputs:
        assert output.value is not None
        told.setdefault(output.partition, []).append(partials.decode(output.value).watermark_ms)
    return told


# -- what waits -------------------------------------------------------------------------------------------


def test_an_action_waits_until_activations_have_passed_its_arrival_and_the_join_delay(
    state: AggregateState,
) -> None:
    row = segment([search(0, START)], first=0, following=1)
    activate(state, segment(first=0, following=0, watermark_ms=START + DELAY))
    assert not is_due(state, row), "an activation that arrives just then would still count"
    activate(state, segment(first=0, following=0, watermark_ms=START + DELAY + 1))
    assert is_due(state, row)


def test_activations_wait_for_nothing(state: AggregateState) -> None:
    value = filtered_records.activations(trigger(), kinds=KINDS)
    assert state.is_due(ACTIVATIONS, state.decode(ACTIVATIONS, value))


def test_the_newest_action_of_a_record_decides(state: AggregateState) -> None:
    activate(state, segment(first=0, following=0, watermark_ms=START + DELAY + 1))
    assert not is_due(state, segment([search(0, START + 1), search(1, START)], first=0, following=2))


def test_records_without_rows_wait_for_nothing(state: AggregateState) -> None:
    assert is_due(state, segment(first=0, following=5, watermark_ms=START))


def test_an_arrival_that_an_earlier_record_raises_waits_as_raised(state: AggregateState) -> None:
    activate(state, segment(first=0, following=0, watermark_ms=START + DELAY + 1))
    heartbeat = segment(first=0, following=0, watermark_ms=START + 1)
    row = segment([search(0, START)], first=0, following=1)
    assert is_due(state, row)
    state = aggregate_state(Settings(), 0)
    activate(state, segment(first=0, following=0, watermark_ms=START + DELAY + 1))
    assert is_due(state, heartbeat), "not applied yet, but it will be before the row"
    assert not is_due(state, row)


def test_an_arrival_that_an_earlier_segment_of_its_record_raises_waits_as_raised(
    state: AggregateState,
) -> None:
    activate(state, segment(first=0, following=0, watermark_ms=START + DELAY + 1))
    earlier = segment(first=0, following=0, watermark_ms=START + 1)
    assert not is_due(state, earlier, segment([search(0, START)], first=0, following=1))


def test_a_record_that_isnt_due_changes_nothing_about_the_next_question(state: AggregateState) -> None:
    row = segment([search(0, START)], first=0, following=1, watermark_ms=START + HOUR)
    assert not is_due(state, row)
    assert not is_due(state, row), "asked again, it's no repeat of itself"
    activate(state, segment(first=0, following=0, watermark_ms=START + DELAY + 1))
    assert is_due(state, row), "and its own watermark doesn't raise it"


def test_rows_that_are_repeats_wait_for_nothing(state: AggregateState) -> None:
    activate(state, segment(first=0, following=0, watermark_ms=START + DELAY + 1))
    act(state, segment([search(0, START)], first=0, following=1, watermark_ms=START + HOUR))
    assert is_due(state, segment([search(0, START)], first=0, following=1)), (
        "else a replay would wait for ever"
    )


def test_an_action_is_never_counted_before_it_is_due(state: AggregateState) -> None:
    batch = state.decode(ACTIONS, filtered_records.actions(segment([search(0)], first=0, following=1)))
    with pytest.raises(StateError, match="about to be counted"):
        state.apply(ACTIONS, [batch])


# -- what counts ------------------------------------------------------------------------------------------


def test_an_action_counts_for_the_trigger_of_its_user(state: AggregateState) -> None:
    activate(state, trigger())
    act(state, segment([search(0), search(1, user="stranger")], first=0, following=2))
    cells = sent(state.collect())
    assert cells.keys() == {EXPOSED, SEARCH}
    assert (cells[SEARCH].counts.volume, cells[EXPOSED].counts.exposures) == (1, 1)
    assert cells[SEARCH].ranks == cells[EXPOSED].ranks, "the same user is in both sketches"


def test_rows_keep_their_names_when_records_list_them_in_another_order(state: AggregateState) -> None:
    activate(state, trigger())
    for number, events in enumerate((["search", "click"], ["click", "search"])):
        row = Row(number, "u", events.index("click"), START + number, START)
        value = filtered_records.actions(segment([row], first=number, following=number + 1), events=events)
        batch = state.decode(ACTIONS, value)
        assert state.is_due(ACTIONS, batch)
        state.apply(ACTIONS, [batch])
    assert sent(state.collect())[SEARCH._replace(event="click")].counts.volume == 2


def test_records_of_one_flush_may_list_their_names_in_another_order(state: AggregateState) -> None:
    activate(state, trigger())
    batches = []
    for number, events in enumerate((["search", "click"], ["click", "search"])):
        row = Row(number, "u", events.index("click"), START + number, START)
        value = filtered_records.actions(segment([row], first=number, following=number + 1), events=events)
        batches.append(state.decode(ACTIONS, value))
    assert all(state.is_due(ACTIONS, batch) for batch in batches)
    state.apply(ACTIONS, batches)
    assert sent(state.collect())[SEARCH._replace(event="click")].counts.volume == 2


def test_a_segment_that_comes_twice_counts_once(state: AggregateState) -> None:
    activate(state, trigger())
    activate(state, trigger())
    once = segment([search(0), search(1, at_ms=START + 1)], first=0, following=2)
    act(state, once)
    act(state, once)
    act(state, segment([search(1, at_ms=START + 1), search(2, at_ms=START + 2)], first=1, following=3))
    assert sent(state.collect())[SEARCH].counts.volume == 3
    assert state.status().counters["actions/repeat"] == 0, "they weren't even looked at"


def test_drops_count_once_by_topic_and_reason(state: AggregateState) -> None:
    dropped = segment(first=0, following=4, dropped=[(0, 0), (2, 1), (3, 0)])
    act(state, dropped, reasons=["untracked", "invalid-json"])
    act(
        state,
        segment(first=2, following=6, dropped=[(2, 1), (3, 0), (5, 1)]),
        reasons=["untracked", "invalid-json"],
    )
    value = filtered_records.activations(
        segment(first=0, following=1, dropped=[(0, 0)]), kinds=KINDS, reasons=["unknown-group"]
    )
    state.apply(ACTIVATIONS, [state.decode(ACTIVATIONS, value)])
    counters = state.status().counters
    assert counters["actions/untracked"] == 2
    assert counters["actions/invalid-json"] == 2
    assert counters["activations/unknown-group"] == 1


def test_rows_and_drops_that_come_twice_are_counted_as_seen(state: AggregateState) -> None:
    activate(state, trigger())
    first = segment([search(0), search(2)], first=0, following=3, dropped=[(1, 0)])
    act(state, first, reasons=["untracked"])
    assert "actions/seen-offset" not in state.status().counters
    again = segment([search(2), search(4)], first=1, following=5, dropped=[(1, 0), (3, 0)])
    act(state, again, reasons=["untracked"])
    assert state.status().counters["actions/seen-offset"] == 2
    act(state, again, reasons=["untracked"])
    assert state.status().counters["actions/seen-offset"] == 2 + 4
    assert state.status().counters["actions/untracked"] == 2


def test_drops_of_the_state_machine_stand_beside_those_of_ingest(state: AggregateState) -> None:
    activate(state, trigger())
    act(state, segment([search(0), search(1)], first=0, following=3, dropped=[(2, 0)]), reasons=["repeat"])
    assert state.status().counters["actions/repeat"] == 2


def test_offsets_that_retention_removed_are_counted_by_one_partition_alone() -> None:
    lost = {}
    for partition in range(3):
        state = aggregate_state(Settings(kafka=KafkaSettings(partitions=3)), partition)
        act(state, segment(first=0, following=2, source=4), sources=5)
        act(state, segment(first=7, following=8, source=4, log_start=7), sources=5)
        lost[partition] = state.status().counters.get("actions/lost", 0)
    assert lost == {0: 0, 1: 5, 2: 0}


def test_a_record_that_speaks_of_more_partitions_than_it_counts_is_refused(state: AggregateState) -> None:
    """One that was believed made the first partition's watermark that of the whole topic."""
    with pytest.raises(StateError, match="0 partitions"):
        act(state, segment(first=0, following=2), sources=0)


def test_ignored_segments_are_shown(state: AggregateState) -> None:
    act(state, segment(first=3, following=5))
    assert state.status().details["ignored_segments"] == 1


# -- what goes out ----------------------------------------------------------------------------------------


def test_cells_go_to_the_partition_of_their_experiment_and_watermarks_to_all(state: AggregateState) -> None:
    activate(
        state,
        trigger(watermark_ms=START + HOUR),
        segment([Row(1, "u", 1, START, START)], first=1, following=2),
    )
    act(state, segment([search(0)], first=0, following=1, watermark_ms=START + MINUTE))
    outputs = state.collect()
    assert {output.topic for output in outputs} == {"rtexp.partials"}
    assert watermarks_sent(outputs) == {p: [START + MINUTE] for p in range(partials.PARTITIONS)}
    for output in outputs:
        cells = sent([output])
        assert {partition_of(key.experiment) for key in cells} <= {output.partition}
    assert {key.experiment for key in sent(outputs)} == {"exp", "other"}


def test_nothing_goes_out_when_nothing_moved(state: AggregateState) -> None:
    activate(state, trigger())
    act(state, segment(first=0, following=0, watermark_ms=START))
    assert state.collect()
    assert state.collect() == []
    act(state, segment(first=0, following=0, watermark_ms=START))
    assert state.collect() == []


def test_every_move_of_the_watermark_goes_out_else_the_last_would_never(state: AggregateState) -> None:
    activate(state, trigger())
    act(state, segment(first=0, following=0, watermark_ms=START))
    state.collect()
    act(state, segment(first=0, following=0, watermark_ms=START + 1))
    assert watermarks_sent(state.collect()) == {p: [START + 1] for p in range(partials.PARTITIONS)}


def test_the_watermark_that_goes_out_is_the_lesser_of_both_inputs(state: AggregateState) -> None:
    activate(state, segment(first=0, following=0, watermark_ms=START))
    act(state, segment(first=0, following=0, watermark_ms=START + HOUR))
    assert watermarks_sent(state.collect()) == {p: [START] for p in range(partials.PARTITIONS)}


def test_a_large_flush_is_cut_and_only_its_last_record_tells_the_new_watermark(
    state: AggregateState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_outputs, "RECORD_BYTES", 1000)
    activate(state, segment(first=0, following=0, watermark_ms=START))
    act(state, segment(first=0, following=0, watermark_ms=START))
    state.collect()
    buckets = 40
    rows = [Row(i, f"u{i}", 0, START + i * 15 * MINUTE, START) for i in range(buckets)]
    activate(state, segment(rows, first=0, following=buckets, watermark_ms=START + HOUR))
    act(state, segment(first=0, following=0, watermark_ms=START + HOUR))
    outputs = state.collect()
    told = watermarks_sent(outputs)[partition_of("exp")]
    assert told == [START] * (len(told) - 1) + [START + HOUR]
    assert len(told) > 3
    assert all(len(output.value or b"") < 1300 for output in outputs)
    assert sum(cell.counts.exposures for cell in sent(outputs).values()) == buckets


# -- what is kept -----------------------------------------------------------------------------------------


def test_a_checkpoint_restores_users_progress_and_counters(state: AggregateState) -> None:
    activate(state, trigger())
    act(
        state,
        segment([search(0)], first=0, following=2, watermark_ms=START, dropped=[(1, 0)]),
        reasons=["untracked"],
    )
    state.collect()
    again = aggregate_state(Settings(), 0)
    again.load(state.changed_pages())
    assert again.status() == state.status()
    assert again.collect() == [], "all this was sent before"
    act(again, segment([search(0), search(2, at_ms=START + 1)], first=0, following=3))
    assert sent(again.collect())[SEARCH].counts.sum_squares == 3, "the user's second action"


def test_pages_without_progress_are_refused(state: AggregateState) -> None:
    activate(state, trigger())
    pages = [page for page in state.changed_pages() if page.key != b"progress"]
    with pytest.raises(StateError, match="stand for"):
        aggregate_state(Settings(), 0).load(pages)


def test_an_empty_checkpoint_is_a_beginning(state: AggregateState) -> None:
    state.load([])
    activate(state, trigger())
    assert sent(state.collect()).keys() == {EXPOSED}


def test_a_partition_that_the_settings_do_not_know_is_refused() -> None:
    settings = Settings(kafka=KafkaSettings(partitions=3))
    aggregate_state(settings, 2)
    with pytest.raises(
        StateError, match=r"filtered-actions has a partition 3, but \[kafka\] partitions is 3"
    ):
        aggregate_state(settings, 3)


@pytest.mark.parametrize(
    "changed",
    [
        Settings(actions=ActionSettings(tracked=("search",))),
        Settings(actions=ActionSettings(cap_per_hour=5)),
        Settings(pipeline=PipelineSettings(period_hours=24)),
        Settings(pipeline=PipelineSettings(dedup_minutes=1)),
        Settings(pipeline=PipelineSettings(join_delay_seconds=1)),
        Settings(pipeline=PipelineSettings(grace_minutes=1)),
        Settings(pipeline=PipelineSettings(bucket_minutes=5)),
        Settings(sketch=SketchSettings(lg_k=11)),
        Settings(kafka=KafkaSettings(partitions=3)),
    ],
)
def test_semantics_name_every_setting_that_is_read(changed: Settings) -> None:
    assert semantics(changed) != semantics(Settings())
    assert semantics(Settings()) == semantics(Settings(pipeline=PipelineSettings(checkpoint_seconds=1)))
