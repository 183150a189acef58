"""The oracle against numbers worked out by hand; read in order, the names are the rules."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.oracle.cells import (
    ActionFields,
    Allocation,
    Cell,
    Experiment,
    RawRecord,
    Result,
    Rules,
    periods,
    recompute,
)

MINUTE = 60_000
HOUR = 60 * MINUTE
START = 1_699_999_200_000  # 2023-11-14T22:00Z: an edge of buckets, of slots and of hours
END = START + 72 * HOUR
GRACE = HOUR
RULES = Rules()
EXPERIMENT = Experiment(
    "feed",
    ("control", "treatment"),
    (Allocation("control", 5, START), Allocation("treatment", 5, START)),
)


def raw(
    value: object,
    arrival_ms: int,
    *,
    partition: int = 0,
    key: bytes | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
) -> RawRecord:
    """A record at an offset that `count` will set; `value`: bytes and None stay, all else becomes JSON."""
    body = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return RawRecord(partition, 0, arrival_ms, key, body, headers)


def action(
    at_ms: int,
    arrival_ms: int | None = None,
    *,
    user: object = "u",
    event: str = "search",
    partition: int = 0,
) -> RawRecord:
    value = {"user_id": user, "event": event, "ts": at_ms}
    return raw(value, at_ms if arrival_ms is None else arrival_ms, partition=partition)


def activation(
    at_ms: int,
    arrival_ms: int | None = None,
    *,
    user: object = "u",
    group: str = "treatment",
    experiment: str = "feed",
) -> RawRecord:
    value = {"user_id": user, "experiment": experiment, "group": group, "ts": at_ms}
    return raw(value, at_ms if arrival_ms is None else arrival_ms)


def marker(watermark_ms: int, *, partition: int = 0) -> RawRecord:
    return raw(None, START, partition=partition, headers=(("rtexp-watermark", b"%d" % watermark_ms),))


def count(
    *,
    actions: list[RawRecord] | None = None,
    activations: list[RawRecord] | None = None,
    experiment: Experiment = EXPERIMENT,
    rules: Rules = RULES,
) -> Result:
    """Recompute with each topic's records at the offsets 0, 1, 2 ... of their topic."""
    numbered = [
        [replace(record, offset=offset) for offset, record in enumerate(records or ())]
        for records in (actions, activations)
    ]
    return recompute(numbered[0], numbered[1], [experiment], rules)


def volumes(result: Result, event: str = "search", group: str = "treatment") -> dict[int, int]:
    """Volume by minutes from START to the bucket's start, over all periods."""
    return {
        (key[4] - START) // MINUTE: cell.volume
        for key, cell in result.cells.items()
        if key[2] == group and key[3] == event
    }


def total(result: Result, event: str = "search", group: str = "treatment") -> int:
    return sum(volumes(result, event, group).values())


# --- Periods


def test_a_groups_first_allocation_above_zero_opens_a_period() -> None:
    experiment = Experiment("e", ("a",), (Allocation("a", 0, START - 5), Allocation("a", 1, START)))
    assert periods(experiment, 10) == [(START, START + 10)]


def test_a_ramp_inside_a_period_neither_resets_nor_extends_it() -> None:
    experiment = Experiment("e", ("a",), (Allocation("a", 1, 100), Allocation("a", 2, 109)))
    assert periods(experiment, 10) == [(100, 110)]


def test_a_ramp_exactly_at_the_end_of_a_period_opens_the_next() -> None:
    experiment = Experiment("e", ("a",), (Allocation("a", 1, 100), Allocation("a", 2, 110)))
    assert periods(experiment, 10) == [(100, 110), (110, 120)]


def test_only_an_increase_of_the_same_group_is_a_ramp() -> None:
    history = (
        Allocation("a", 5, 100),
        Allocation("b", 9, 101),
        Allocation("a", 5, 120),  # the same
        Allocation("b", 6, 130),  # less, though more than a has
        Allocation("b", 7, 140),  # more than just before, though less than once
    )
    assert periods(Experiment("e", ("a", "b"), history), 10) == [(100, 110), (140, 150)]


def test_every_group_is_measured_in_a_period_allocated_or_not() -> None:
    experiment = replace(EXPERIMENT, allocations=EXPERIMENT.allocations[:1])
    assert volumes(
        count(activations=[activation(START)], actions=[action(START)], experiment=experiment)
    ) == {0: 1}


def test_after_a_period_a_ramp_starts_counts_from_zero() -> None:
    again = END + 10 * HOUR
    experiment = replace(EXPERIMENT, allocations=(*EXPERIMENT.allocations, Allocation("control", 10, again)))
    result = count(
        activations=[activation(START), activation(again + 5)],
        actions=[action(START), action(START + 1), action(END), action(again + 4), action(again + 5)],
        experiment=experiment,
    )
    assert result.cells == {
        ("feed", START, "treatment", "", START): Cell(exposures=1, users={"u"}),
        ("feed", START, "treatment", "search", START): Cell(volume=2, actors=1, sum_squares=4, users={"u"}),
        ("feed", again, "treatment", "", again): Cell(exposures=1, users={"u"}),
        ("feed", again, "treatment", "search", again): Cell(volume=1, actors=1, sum_squares=1, users={"u"}),
    }


# --- 1. Acceptance of activations


def test_an_activation_is_kept_from_the_periods_start_until_just_before_its_end() -> None:
    times = [START - 1, START, END - 1, END]
    result = count(activations=[activation(at_ms, user=str(at_ms)) for at_ms in times])
    assert {user for cell in result.cells.values() for user in cell.users} == {str(START), str(END - 1)}
    assert result.dropped == {("activations", "outside-period"): 2}


def test_an_activation_must_arrive_before_the_periods_end_and_grace() -> None:
    result = count(
        activations=[
            activation(END - 1, END + GRACE - 1, user="in"),
            activation(END - 1, END + GRACE, user="late"),
        ]
    )
    assert [cell.users for cell in result.cells.values()] == [{"in"}]
    assert result.dropped == {("activations", "late-activation"): 1}


def test_an_activation_of_an_unknown_experiment_or_group_is_dropped_and_counted() -> None:
    result = count(activations=[activation(START, experiment="Feed"), activation(START, group="treatment ")])
    assert result.cells == {}
    assert result.dropped == {("activations", "unknown-experiment"): 1, ("activations", "unknown-group"): 1}


# --- 2. Triggers


def test_the_first_activation_in_order_makes_the_trigger_whatever_the_times_of_later_ones() -> None:
    result = count(
        activations=[activation(START + 20 * MINUTE), activation(START, START + 20 * MINUTE)],
        actions=[action(START + 10 * MINUTE), action(START + 20 * MINUTE)],
    )
    assert result.cells == {
        ("feed", START, "treatment", "", START + 15 * MINUTE): Cell(exposures=1, users={"u"}),
        ("feed", START, "treatment", "search", START + 15 * MINUTE): Cell(1, 1, 1, users={"u"}),
    }


def test_an_activation_that_is_not_kept_makes_no_trigger() -> None:
    result = count(activations=[activation(START - 1), activation(START + 5)], actions=[action(START + 4)])
    assert [(key[3], cell.exposures) for key, cell in result.cells.items()] == [("", 1)]


def test_a_user_in_two_groups_counts_in_both_and_is_a_multiple_exposure_where_the_second_began() -> None:
    later = START + 30 * MINUTE
    result = count(
        activations=[activation(START), activation(later, group="control"), activation(later + 1)],
        actions=[action(START + 1), action(later)],
    )
    assert result.cells == {
        ("feed", START, "treatment", "", START): Cell(exposures=1, users={"u"}),
        ("feed", START, "control", "", later): Cell(exposures=1, multiple_exposures=1, users={"u"}),
        ("feed", START, "treatment", "search", START): Cell(1, 1, 1, users={"u"}),
        ("feed", START, "treatment", "search", later): Cell(1, 0, 3, users={"u"}),
        ("feed", START, "control", "search", later): Cell(1, 1, 1, users={"u"}),
    }


def test_groups_of_two_periods_are_no_multiple_exposure() -> None:
    experiment = replace(EXPERIMENT, allocations=(*EXPERIMENT.allocations, Allocation("control", 6, END)))
    result = count(activations=[activation(START), activation(END, group="control")], experiment=experiment)
    assert [(cell.exposures, cell.multiple_exposures) for cell in result.cells.values()] == [(1, 0), (1, 0)]


# --- 3. Repeats


def test_a_repeat_in_the_same_or_the_next_slot_is_dropped_and_in_the_second_next_counts() -> None:
    arrivals = [START + 4 * MINUTE, START + 5 * MINUTE - 1, START + 10 * MINUTE - 1, START + 10 * MINUTE]
    result = count(activations=[activation(START)], actions=[action(START, arrival) for arrival in arrivals])
    assert volumes(result) == {0: 2}
    assert result.dropped == {("actions", "repeat"): 2}


def test_a_repeat_does_not_hide_the_next_one_for_longer_only_kept_actions_do() -> None:
    slots = [0, 1, 2, 3, 4]  # 0 is kept, 1 repeats it; 2 is kept, 3 repeats that; 4 is kept
    actions = [action(START, START + slot * 5 * MINUTE) for slot in slots]
    assert volumes(count(activations=[activation(START)], actions=actions)) == {0: 3}


def test_a_repeat_may_arrive_one_slot_before_the_kept_one() -> None:
    actions = [action(START, START + 5 * MINUTE), action(START, START + 5 * MINUTE - 1)]
    assert count(actions=actions).dropped == {("actions", "repeat"): 1}


def test_another_user_event_or_time_is_no_repeat() -> None:
    actions = [action(START), action(START, event="click"), action(START, user="v"), action(START + 1)]
    assert count(actions=actions).dropped == {}


def test_an_action_before_its_users_trigger_is_kept_as_to_repeats() -> None:
    result = count(
        activations=[activation(START, START + 12 * MINUTE)],
        actions=[action(START, START + 4 * MINUTE), action(START, START + 9 * MINUTE)],
    )
    assert result.dropped == {("actions", "repeat"): 1}
    assert total(result) == 0  # the first came too early for the trigger, the second repeats it


# --- 4. Cap


def capped(actions: list[RawRecord], cap: int = 2) -> Result:
    return count(activations=[activation(START)], actions=actions, rules=replace(RULES, cap_per_hour=cap))


def test_actions_numbered_above_the_cap_are_dropped_until_the_next_hour_of_arrival() -> None:
    ats = [START, START + 1, START + HOUR - 1, START + HOUR]
    result = capped([action(at_ms) for at_ms in ats])
    assert volumes(result) == {0: 2, 60: 1}
    assert result.dropped == {("actions", "capped"): 1}


def test_the_cap_goes_by_the_hour_of_arrival_not_of_the_action() -> None:
    result = capped([action(START, START + HOUR), action(START + 1, START + HOUR), action(START + HOUR)])
    assert volumes(result) == {0: 2}


def test_the_cap_numbers_all_tracked_events_together_but_no_untracked_one() -> None:
    events = ["untracked", "search", "click", "search"]
    result = capped([action(START + i, event=event) for i, event in enumerate(events)])
    assert (total(result, "search"), total(result, "click")) == (1, 1)
    assert result.dropped == {("actions", "untracked"): 1, ("actions", "capped"): 1}


def test_the_cap_numbers_actions_that_join_nothing() -> None:
    assert total(capped([action(START - 1, START), action(START - 2, START), action(START + 5)])) == 0


def test_a_repeat_takes_no_number_and_a_capped_action_is_kept_as_to_repeats() -> None:
    result = capped([action(START), action(START), action(START + 1), action(START + 2), action(START + 2)])
    assert total(result) == 2
    assert result.dropped == {("actions", "repeat"): 2, ("actions", "capped"): 1}


def test_a_cap_of_zero_is_no_cap() -> None:
    assert total(capped([action(START + i) for i in range(5)], cap=0)) == 5


def test_an_action_of_an_hour_older_than_the_two_newest_is_not_numbered() -> None:
    rules = replace(RULES, cap_per_hour=1, out_of_order_ms=5 * HOUR)
    arrivals = [START, START + 1, START + HOUR, START + 2, START + 2 * HOUR, START + 3, START + HOUR + 1]
    actions = [action(START + i, arrival) for i, arrival in enumerate(arrivals)]
    result = count(activations=[activation(START)], actions=actions, rules=rules)
    # Hour 0: counted, capped, and capped again after hour 1 came; free once hour 2 came. Hour 1: capped.
    assert result.dropped == {("actions", "capped"): 3}
    assert total(result) == 4


# --- 5. Join


def test_an_action_counts_from_the_trigger_time_until_just_before_the_periods_end() -> None:
    at = START + 20 * MINUTE
    result = count(
        activations=[activation(at)], actions=[action(at_ms) for at_ms in (at - 1, at, END - 1, END)]
    )
    assert volumes(result) == {15: 1, 72 * 60 - 15: 1}


def test_an_activation_may_arrive_join_delay_after_its_action_and_no_later() -> None:
    late = START + 10_000
    actions = [action(START), action(START + 1, START)]
    assert total(count(activations=[activation(START, late)], actions=actions)) == 2
    assert total(count(activations=[activation(START, late + 1)], actions=actions)) == 0


def test_an_action_must_arrive_before_the_periods_end_and_grace() -> None:
    late = END + GRACE
    actions = [action(END - 2, late - 1), action(END - 1, late)]
    assert total(count(activations=[activation(START)], actions=actions)) == 1


def test_buckets_are_half_open_and_named_by_their_start_in_utc_whatever_the_periods_start() -> None:
    start = START + 7 * MINUTE
    experiment = replace(EXPERIMENT, allocations=(Allocation("control", 5, start),))
    actions = [action(START + m * MINUTE - back) for m in (15, 30) for back in (1, 0)]
    result = count(activations=[activation(start)], actions=actions, experiment=experiment)
    assert volumes(result) == {0: 1, 15: 2, 30: 1}


def test_a_users_squares_and_actors_follow_order_not_time_and_each_event_has_its_own() -> None:
    later = START + 15 * MINUTE
    result = count(
        activations=[activation(START)],
        actions=[
            action(later, later),
            action(START, later),
            action(START + 1, later, event="click"),
            action(later + 1, later),
        ],
    )
    assert result.cells == {
        ("feed", START, "treatment", "", START): Cell(exposures=1, users={"u"}),
        ("feed", START, "treatment", "search", later): Cell(2, 1, 1 + 5, users={"u"}),
        ("feed", START, "treatment", "search", START): Cell(1, 0, 3, users={"u"}),
        ("feed", START, "treatment", "click", START): Cell(1, 1, 1, users={"u"}),
    }


def test_users_add_up_and_do_not_share_triggers() -> None:
    result = count(
        activations=[activation(START, user="a"), activation(START, user="b"), activation(START, user="c")],
        actions=[action(START + i, user=user) for i, user in enumerate("aabx")],
    )
    assert result.cells["feed", START, "treatment", "", START] == Cell(exposures=3, users={"a", "b", "c"})
    assert result.cells["feed", START, "treatment", "search", START] == Cell(3, 2, 4 + 1, users={"a", "b"})


# --- 6. Names


def test_a_user_is_the_text_of_its_identifier_and_nothing_is_trimmed_or_folded() -> None:
    result = count(
        activations=[activation(START, user=7), activation(START, user="A")],
        actions=[action(START + i, user=user) for i, user in enumerate(["7", 7, "07", " 7", "a", "A "])],
    )
    assert total(result) == 2


# --- Arrival


def test_a_record_arrives_no_earlier_than_the_newest_in_its_partition_less_out_of_order() -> None:
    at = END - 5
    actions = [
        action(at, END + GRACE + 2000, user="v"),  # moves the partition's watermark to end + grace
        action(at, at),  # so this arrives too late
        action(at, at, user="w", partition=1),  # in another partition
    ]
    activations = [activation(START, user=user) for user in "uw"]
    result = count(activations=activations, actions=actions)
    assert total(result) == 1
    actions[0] = action(at, END + GRACE + 1999, user="v")
    assert total(count(activations=activations, actions=actions)) == 2


def test_bad_records_move_arrival_too() -> None:
    actions = [raw(b"{", END + GRACE + 2000), action(END - 5)]
    result = count(activations=[activation(START)], actions=actions)
    assert total(result) == 0
    assert result.dead == {("actions", "invalid-json"): 1}


def test_a_marker_counts_by_its_value_with_nothing_taken_off_and_never_lowers_a_watermark() -> None:
    markers = [marker(END + GRACE), marker(START)]
    result = count(activations=[activation(START)], actions=[*markers, action(END - 5)])
    assert total(result) == 0
    assert result.dropped == {("actions", "marker"): 2}
    assert (
        total(count(activations=[activation(START)], actions=[marker(END + GRACE - 1), action(END - 5)])) == 1
    )


# --- Bad input: the first reason that holds


def good(**changes: object) -> dict[str, object]:
    return {"user_id": "u", "event": "search", "ts": START, **changes}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null-value"),
        (b'{"user_id": "%s"' % (b"u" * 65_536), "too-large"),
        (b"", "invalid-json"),
        (b'{"user_id": "u", "event": "search", "ts": NaN}', "invalid-json"),
        (b'{"user_id": "\xff", "event": "search", "ts": 1}', "invalid-json"),
        (b'\xef\xbb\xbf{"user_id": "u", "event": "search", "ts": 1}', "invalid-json"),
        (good(event="\ud800", ts=None), "invalid-json"),
        ([good()], "wrong-type"),
        (good(user_id=True), "wrong-type"),
        (good(user_id=1.0), "wrong-type"),
        (good(event=7), "wrong-type"),
        (good(ts=str(START)), "wrong-type"),
        ({"event": None}, "wrong-type"),
        ({"user_id": "", "ts": 1}, "missing-field"),
        (good(user_id="", event="x" * 129), "empty-field"),
        (good(user_id="é" * 128 + "e", ts=1), "too-large"),
        (good(event="é" * 64 + "e", ts=1), "too-large"),
        (b'{"user_id": "u", "event": "search", "ts": 1%s}' % (b"0" * 5000), "time-out-of-range"),
        (good(ts=946_684_799_999, event="untracked"), "time-out-of-range"),
        (good(ts=START + 300_001), "time-out-of-range"),
    ],
)
def test_bad_input_is_named_by_the_first_reason_that_holds(value: object, reason: str) -> None:
    result = count(actions=[raw(value, START, key=b"k")])
    assert result.dead == {("actions", reason): 1}
    assert not result.dropped


@pytest.mark.parametrize(
    "value",
    [
        good(user_id="é" * 128),
        good(ts=START + 300_000),
        good(more={"nested": [None, "\ud800"]}),
        b'{"user_id": "u", "event": "search", "ts": %d, "x": %s}' % (START, b"[" * 20_000 + b"]" * 20_000),
        b'{"user_id": null, "user_id": "u", "event": "search", "ts": %d}' % START,
    ],
)
def test_limits_themselves_ignored_fields_and_overridden_keys_are_accepted(value: object) -> None:
    assert not count(actions=[raw(value, START)]).dead


def test_the_earliest_time_is_accepted() -> None:
    assert not count(actions=[action(946_684_800_000)]).dead


def test_a_null_value_with_the_markers_header_but_a_key_is_bad_input() -> None:
    keyed = replace(marker(START), key=b"k")
    assert count(actions=[keyed]).dead == {("actions", "null-value"): 1}


def test_activations_are_judged_by_the_same_reasons_before_their_names_are_looked_up() -> None:
    bad = [activation(START, experiment="", group=""), activation(START, group="g" * 129)]
    result = count(activations=[*bad, raw({"user_id": "u", "experiment": "feed", "ts": START}, START)])
    assert result.dead == {
        ("activations", "empty-field"): 1,
        ("activations", "too-large"): 1,
        ("activations", "missing-field"): 1,
    }
    assert not result.dropped


@pytest.mark.parametrize(
    ("context", "reason"), [({}, "missing-field"), ("u", "wrong-type"), (None, "wrong-type")]
)
def test_a_field_path_leads_through_objects_only(context: object, reason: str) -> None:
    rules = replace(RULES, actions=ActionFields(user="context.user"))
    nested = good(context={"user": "u"})
    result = count(actions=[raw(nested, START), raw(good(context=context), START)], rules=rules)
    assert result.dead == {("actions", reason): 1}


@pytest.mark.parametrize(
    ("fields", "time"),
    [
        (ActionFields(time_format="s"), START // 1000),
        (ActionFields(time_format="us"), START * 1000 + 999),
        (ActionFields(time_format="iso8601"), "2023-11-14T22:00:00Z"),
        (ActionFields(time_format="iso8601"), "2023-11-14T22:00:00.000999"),
        (ActionFields(time_format="iso8601"), "2023-11-15T00:00:00+02:00"),
    ],
)
def test_times_are_read_in_their_format_and_rounded_down_to_milliseconds(
    fields: ActionFields, time: object
) -> None:
    arrival = START - RULES.max_ahead_ms  # one ms later than START would be out of range, one earlier no join
    result = count(
        activations=[activation(START, arrival)],
        actions=[raw(good(ts=time), arrival)],
        rules=replace(RULES, actions=fields),
    )
    assert volumes(result) == {0: 1}


@pytest.mark.parametrize("time", [START, "yesterday", "2023-02-30T00:00:00Z"])
def test_a_time_that_is_no_iso8601_text_is_of_the_wrong_type(time: object) -> None:
    rules = replace(RULES, actions=ActionFields(time_format="iso8601"))
    assert count(actions=[raw(good(ts=time), START)], rules=rules).dead == {("actions", "wrong-type"): 1}


# --- What the oracle refuses to answer


def test_a_user_in_two_partitions_of_a_topic_is_refused() -> None:
    with pytest.raises(ValueError, match="two partitions"):
        count(actions=[action(START), action(START + 1, partition=1)])


def test_offsets_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="offset 0"):
        recompute([action(START), action(START + 1)], [], [EXPERIMENT], RULES)
