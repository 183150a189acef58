from __future__ import annotations

from typing import Any
from zlib import crc32

import pytest
from tests.unit.agents.raw_records import (
    HOUR_MS,
    NOW_MS,
    START_MS,
    Raw,
    Reader,
    Row,
    Told,
    action,
    bad,
    marker,
    read_all,
)

from rtexp.agents.filter_actions import FilterActions, filter_actions
from rtexp.agents.packing import MAX_RECORD_BYTES
from rtexp.engine.api import Commit, Forwarded, TopicPartition
from rtexp.errors import FatalError, StateError
from rtexp.records.letters import MAX_VALUE_BYTES
from rtexp.settings import ActionSettings, KafkaSettings, PipelineSettings, Settings

TARGETS = 3
TP = TopicPartition("actions", 1)


def make(*, clock: Any = "records", **pipeline: Any) -> FilterActions:
    made = filter_actions(
        Settings(
            kafka=KafkaSettings(partitions=TARGETS),
            actions=ActionSettings(tracked=("search", "click")),
            pipeline=PipelineSettings(clock=clock, out_of_order_seconds=2.0, **pipeline),
        )
    )
    made.assign(TP, None, log_start=0, partitions=2)
    return made


def drain(agent: FilterActions, *, now_ms: int = NOW_MS, at_end_ms: int | None = None) -> Forwarded:
    return agent.drain(now_ms=now_ms, at_end_ms={} if at_end_ms is None else {TP: at_end_ms})


def run(agent: FilterActions, *records: Raw) -> list[Reader]:
    agent.feed(TP, records, now_ms=NOW_MS)
    return read_all(drain(agent).outputs, TARGETS)


def test_a_tracked_action_goes_to_the_partition_of_its_user() -> None:
    readers = run(make(), action(0, "u1", "click"), action(1, "u2"))
    for offset, user, event in [(0, "u1", "click"), (1, "u2", "search")]:
        target = crc32(user.encode()) % TARGETS
        assert Row(offset, user, event, START_MS, START_MS) in readers[target].rows[1]
    assert sum(len(reader.rows[1]) for reader in readers) == 2


def test_every_target_partition_is_told_how_far_the_source_was_read() -> None:
    for reader in run(make(), action(5, at_ms=START_MS)):
        assert reader.sources == 2
        assert reader.told == {1: [Told(0, 6, START_MS - 2_000, 0)]}


def test_an_untracked_event_is_dropped_and_counted_in_one_target() -> None:
    readers = run(make(), action(0, event="view"), action(1, event="Search"))
    assert [reader.drops[1] for reader in readers] == [[], [(0, "untracked"), (1, "untracked")], []]


def test_bad_input_goes_to_the_dead_letters_and_is_counted() -> None:
    agent = make()
    agent.feed(TP, [action(0), bad(1), Raw(2, START_MS, None)], now_ms=NOW_MS)
    outputs = drain(agent).outputs
    letters = [output for output in outputs if output.topic == "rtexp.dead-letters"]
    assert [(letter.key, letter.value) for letter in letters] == [
        (b"actions/1/1", b"{not JSON"),
        (b"actions/1/2", None),
    ]
    assert read_all(outputs, TARGETS)[1].drops[1] == [(1, "invalid-json"), (2, "null-value")]
    assert not [out for out in drain(agent).outputs if out.topic == "rtexp.dead-letters"]


def test_dead_letters_of_a_partition_that_was_given_up_are_left_to_its_next_owner() -> None:
    agent = make()
    agent.feed(TP, [bad(0)], now_ms=NOW_MS)
    agent.revoke([TP])
    assert drain(agent) == Forwarded([], {})


def test_dead_letters_that_wait_are_told_by_their_bytes() -> None:
    agent = make()
    agent.feed(
        TP, [action(0), Raw(1, START_MS, b"x" * 100), Raw(2, START_MS, b"x" * 5_000_000)], now_ms=NOW_MS
    )
    assert agent.waiting_bytes() == 100 + MAX_VALUE_BYTES
    drain(agent)
    assert agent.waiting_bytes() == 0


def test_too_much_bad_input_stops_the_worker() -> None:
    agent = make(dead_letter_run=3)
    with pytest.raises(
        FatalError, match=r"3 records in a row of the topic actions .* that of actions/1 at 2: invalid-json: "
    ):
        agent.feed(TP, [bad(0), bad(1), bad(2)], now_ms=NOW_MS)


def test_markers_are_neither_good_input_nor_bad() -> None:
    agent = make(dead_letter_run=3)
    agent.feed(TP, [bad(0), marker(1, 5), bad(2), action(3)], now_ms=NOW_MS)
    with pytest.raises(FatalError):
        agent.feed(TP, [bad(4), marker(5, 5), bad(6), bad(7)], now_ms=NOW_MS)


def test_a_marker_moves_the_watermark_by_its_value_and_is_counted() -> None:
    for target, reader in enumerate(run(make(), action(0), marker(1, NOW_MS + HOUR_MS))):
        assert reader.told[1][-1].watermark_ms == NOW_MS + HOUR_MS
        assert reader.drops[1] == ([(1, "marker")] if target == 1 else [])


def test_with_a_live_clock_markers_are_counted_and_ignored() -> None:
    readers = run(make(clock="live"), action(0), marker(1, NOW_MS + HOUR_MS))
    assert readers[1].told[1][-1].watermark_ms == START_MS - 2_000
    assert readers[1].drops[1] == [(1, "marker")]


def test_how_far_ahead_a_time_may_lie_is_told_from_its_raised_arrival() -> None:
    #  START            + 60 s: the newest, so both late ones arrive 2 s before that
    furthest_ms = START_MS + 58_000 + 300_000
    readers = run(
        make(),
        action(0, at_ms=START_MS + 60_000),
        action(1, "u", at_ms=furthest_ms, arrival_ms=START_MS),
        action(2, "u", at_ms=furthest_ms + 1, arrival_ms=START_MS),
    )
    assert [row.offset for reader in readers for row in reader.rows[1] if row.user == "u"] == [1]
    assert [drop for reader in readers for drop in reader.drops[1]] == [(2, "time-out-of-range")]


def test_bad_input_moves_the_watermark_too() -> None:
    readers = run(make(), bad(0, arrival_ms=START_MS + HOUR_MS), action(1))
    assert [row.arrival_ms for reader in readers for row in reader.rows[1]] == [START_MS + HOUR_MS - 2_000]


def test_a_live_idle_partition_says_once_a_second_that_time_passes() -> None:
    agent = make(clock="live")
    told = []
    for after_ms in (0, 400, 999, 1_000, 1_400):
        readers = read_all(
            drain(agent, now_ms=NOW_MS + after_ms, at_end_ms=NOW_MS + after_ms).outputs, TARGETS
        )
        told += [(after_ms, reader.told[1][0]) for reader in readers if 1 in reader.told]
    expected = [(after_ms, Told(0, 0, NOW_MS + after_ms - 2_000, 0)) for after_ms in (0, 1_000)]
    assert told == [beat for beat in expected for _ in range(TARGETS)]


def test_a_clock_that_was_set_back_does_not_silence_heartbeats() -> None:
    agent = make(clock="live")
    drain(agent, now_ms=NOW_MS, at_end_ms=NOW_MS - HOUR_MS)
    assert drain(agent, now_ms=NOW_MS - HOUR_MS, at_end_ms=NOW_MS - 1).outputs


def test_a_record_after_a_heartbeat_arrives_no_earlier_than_it_said() -> None:
    agent = make(clock="live")
    drain(agent, at_end_ms=NOW_MS)
    readers = run(agent, action(0, arrival_ms=START_MS))
    assert [row.arrival_ms for reader in readers for row in reader.rows[1]] == [NOW_MS - 2_000]


def test_an_idle_partition_waits_for_records_where_they_are_the_clock() -> None:
    assert drain(make(), at_end_ms=NOW_MS) == Forwarded([], {})


def test_a_commit_covers_what_is_sent_and_keeps_the_clock() -> None:
    agent = make()
    agent.feed(TP, [action(0, at_ms=START_MS + HOUR_MS), action(1)], now_ms=NOW_MS)
    commit = drain(agent).commits[TP]
    assert commit.next_offset == 2
    agent.assign(TP, commit, log_start=0, partitions=2)
    readers = run(agent, action(2, at_ms=START_MS))
    assert [row.arrival_ms for reader in readers for row in reader.rows[1]] == [START_MS + HOUR_MS - 2_000]


def test_nothing_new_sends_nothing() -> None:
    agent = make()
    run(agent, action(0))
    assert drain(agent) == Forwarded([], {})


def test_reading_begins_at_the_logs_start_and_says_so() -> None:
    agent = make()
    agent.assign(TP, None, log_start=7, partitions=2)
    assert run(agent, action(9))[0].told[1] == [Told(7, 10, START_MS - 2_000, 7)]


def test_offsets_that_retention_removed_are_passed_over_and_it_says_so() -> None:
    agent = make()
    agent.assign(TP, Commit(3, "1:5"), log_start=7, partitions=2)
    assert run(agent, action(7))[0].told[1] == [Told(7, 8, START_MS - 2_000, 7)]


def test_a_commit_with_foreign_metadata_is_refused() -> None:
    with pytest.raises(StateError, match="metadata"):
        make().assign(TP, Commit(3, "9:5"), log_start=0, partitions=2)


def test_a_record_that_is_too_large_for_a_broker_is_cut_in_pieces_that_join() -> None:
    agent = make()
    count = 30_000
    records = [
        action(o, f"{o:0240d}", "search" if o % 2 else "view", at_ms=START_MS + o) for o in range(count)
    ]
    agent.feed(TP, records, now_ms=NOW_MS)
    outputs = drain(agent).outputs
    assert all(len(output.value or b"") <= MAX_RECORD_BYTES for output in outputs)
    readers = read_all(outputs, TARGETS)
    assert any(len(reader.told[1]) > 1 for reader in readers)
    for reader in readers:
        assert [told.watermark_ms for told in reader.told[1][:-1]] == [0] * (len(reader.told[1]) - 1)
        assert reader.told[1][-1][1:3] == (count, START_MS + count - 1 - 2_000)
        assert [row.offset for row in reader.rows[1]] == sorted(row.offset for row in reader.rows[1])
    assert sum(len(reader.rows[1]) for reader in readers) == count // 2
    assert readers[1].drops[1] == [(offset, "untracked") for offset in range(0, count, 2)]


def test_status_counts_by_reason_and_shows_what_was_told() -> None:
    agent = make()
    run(agent, action(0), action(1, event="view"), bad(2))
    agent.feed(TP, [action(3)], now_ms=NOW_MS)
    status = agent.status()
    assert status.watermarks_ms == {"actions/1": START_MS - 2_000}
    assert status.counters == {
        "actions/invalid-json": 1,
        "actions/kept": 1,
        "actions/read": 4,
        "actions/untracked": 1,
    }
    assert agent.waiting_rows(TP) == 1
