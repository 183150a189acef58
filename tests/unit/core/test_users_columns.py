"""What only columns can get wrong: rows that come again, keys that don't fit, caches that must stay exact."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from tests.properties.users_streams import Step, apply_columns, apply_plain, counts_of, counts_of_deltas

from rtexp.core.buckets import HOUR_MS
from rtexp.core.caps import Caps
from rtexp.core.columns import grown, ranks_in_runs, run_starts, stable_order
from rtexp.core.deltas import SUM_SQUARES, VOLUME
from rtexp.core.groups import GroupName, Groups
from rtexp.core.repeats import KeptActions, Repeats
from rtexp.core.rules import Rules
from rtexp.core.triggers import Triggers
from rtexp.core.users_columns import PAGES, ColumnarUsers, page_of
from rtexp.core.users_plain import Action, Activation, PlainUsers

T0 = 472_222 * HOUR_MS
SLOT_MS = 300_000
RULES = Rules(
    tracked=("search", "click"),
    bucket_ms=900_000,
    dedup_ms=SLOT_MS,
    cap_per_hour=5,
    join_delay_ms=10_000,
    grace_ms=HOUR_MS,
    period_ms=72 * HOUR_MS,
    lg_k=12,
)


def ints(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


# Helpers of all columns


@pytest.mark.parametrize("largest", [3, 1 << 40, (1 << 62) + 5], ids=["small", "large", "too large to pack"])
def test_stable_order_sorts_and_leaves_equal_keys_in_their_order(largest: int) -> None:
    keys = ints(largest, 0, largest, 1, 0, largest)
    assert stable_order(keys).tolist() == [1, 4, 3, 0, 2, 5]


def test_runs_and_ranks_of_nothing_are_nothing() -> None:
    empty = ints()
    assert run_starts(empty).size == ranks_in_runs(run_starts(empty), 0).size == stable_order(empty).size == 0


def test_ranks_count_the_rows_of_a_run_before_each() -> None:
    runs = ints(4, 4, 7, 9, 9, 9)
    assert ranks_in_runs(run_starts(runs), 6).tolist() == [0, 1, 0, 0, 1, 2]


def test_a_grown_column_keeps_its_rows_and_fills_the_rest() -> None:
    assert grown(ints(1, 2, 3, 4), 5, -1).tolist() == [1, 2, 3, 4, -1, -1]
    assert grown(ints(1, 2, 3, 4), 9, 0).tolist() == [1, 2, 3, 4, 0, 0, 0, 0, 0]
    assert grown(ints(1, 2), 2, -1).tolist() == [1, 2]


# Users and pages


def test_users_of_one_partition_spread_over_all_pages() -> None:
    import zlib  # noqa: PLC0415 - only to choose users of one partition

    users = [user for i in range(100_000) if zlib.crc32((user := f"user-{i}").encode()) % 8 == 3]
    per_page = np.bincount([page_of(user) for user in users], minlength=PAGES)
    assert len(per_page) == PAGES
    assert per_page.min() > 0


def test_a_batch_may_name_a_new_user_many_times() -> None:
    users = ColumnarUsers(RULES)
    assert users.rows_of(["a", "b", "a", "c", "b"]).tolist() == [0, 1, 0, 2, 1]


def test_columns_grow_with_their_users() -> None:
    users, plain = ColumnarUsers(RULES), PlainUsers(RULES)
    names = [f"user-{i}" for i in range(3_000)]
    end_ms = T0 + 72 * HOUR_MS
    starts = [Activation(name, "x", "a", T0, end_ms, T0, T0) for name in names]
    acts = [Action(name, "click", T0 + 1, T0 + 1) for name in names]
    for step in (Step(starts, 0, T0 + HOUR_MS), Step(acts, 0, T0 + HOUR_MS)):
        apply_columns(users, step)
        apply_plain(plain, step)
    assert users.canonical() == plain.canonical()
    assert counts_of_deltas(users.take_deltas()) == counts_of(plain.take_cells(), RULES.lg_k)


def test_rows_of_users_and_triggers_that_ended_are_used_again_from_scratch() -> None:
    users, plain = ColumnarUsers(RULES), PlainUsers(RULES)
    for period in range(3):
        start_ms = T0 + period * RULES.period_ms
        end_ms = start_ms + RULES.period_ms
        names = [f"user-{period}-{i}" for i in range(50)]
        starts = [
            Activation(name, "x", group, start_ms, end_ms, start_ms, start_ms)
            for name in names
            for group in ("a", "b")
        ]
        acts = [Action(name, "click", start_ms + i, start_ms + i) for name in names for i in range(7)]
        over_ms = end_ms + RULES.grace_ms
        for step in (Step(starts, 0, 0), Step(acts, over_ms, over_ms)):
            apply_columns(users, step)
            apply_plain(plain, step)
        assert counts_of_deltas(users.take_deltas()) == counts_of(plain.take_cells(), RULES.lg_k)
        assert users.canonical() == plain.canonical()
    assert users.row_count == 50
    assert len(users.triggers.user) < 2 * 100
    assert users.groups.number(GroupName("y", 0, "c")) < 2


def test_a_group_that_ended_and_came_back_before_deltas_were_taken_is_still_known() -> None:
    """As when the settings made periods longer: its number mustn't be given away under its triggers."""
    users = activated("u")
    over_ms = T0 + 72 * HOUR_MS + RULES.grace_ms
    longer = Activation("v", "x", "a", T0, T0 + 100 * HOUR_MS, T0, over_ms)
    users.advance(over_ms, over_ms)
    apply_columns(users, Step([longer], over_ms, over_ms))
    users.take_deltas()
    assert list(users.canonical()["users"]["v"]["triggers"]) == [("x", T0, "a")]


# Repeats


def kept_by(repeats: Repeats, keys: list[tuple[int, int, int]], arrival_ms: int) -> list[bool]:
    users, events, times = (ints(*column) for column in zip(*keys, strict=True))
    return [bool(k) for k in repeats.keep(users, events, times, np.full(len(keys), arrival_ms, np.int64))]


def test_repeats_are_exact_among_many_kept_actions() -> None:
    dice = Random(3)
    repeats = Repeats(SLOT_MS, events=2)
    repeats.grow(100)
    definition: set[tuple[int, int, int]] = set()
    for _ in range(40):
        batch = [(dice.randrange(100), dice.randrange(2), T0 + dice.randrange(500)) for _ in range(1_000)]
        expected = []
        for key in batch:
            expected.append(key not in definition)
            definition.add(key)
        assert kept_by(repeats, batch, T0) == expected
    assert sum(len(kept.times) for kept in repeats.entries()) == len(definition)


def test_actions_with_equal_low_bits_of_time_are_told_apart() -> None:
    repeats = Repeats(SLOT_MS, events=2)
    repeats.grow(2)
    times = [T0 + i * (1 << 32) for i in (-300, -2, -1, 0, 1)] + [5]
    assert all(kept_by(repeats, [(0, 1, time) for time in times], T0))
    for neighbour_ms in (T0 - SLOT_MS, T0, T0 + SLOT_MS):
        assert not any(kept_by(repeats, [(0, 1, time) for time in times], neighbour_ms))
    for other_ms in (T0 - 2 * SLOT_MS, T0 + 2 * SLOT_MS):
        assert all(kept_by(repeats, [(0, 1, time) for time in times], other_ms))


def test_rows_beyond_what_a_key_holds_are_exact_too() -> None:
    repeats = Repeats(SLOT_MS, events=256)
    far = (1 << 23) + 1
    repeats.newest_slot = np.full(far + 1, -1, np.int32)
    assert kept_by(repeats, [(far, 255, T0), (1, 255, T0), (far, 255, T0)], T0) == [True, True, False]
    assert kept_by(repeats, [(1, 255, T0), (far, 254, T0)], T0) == [False, True]


def test_kept_actions_are_still_known_when_the_window_of_times_moves() -> None:
    day_ms = 24 * HOUR_MS
    repeats = Repeats(SLOT_MS, events=2)
    repeats.grow(1)
    late = T0 + 13 * day_ms
    # Weeks before the arrival but within the window of the first batch, then out of the window of the next.
    keys = [(0, 0, T0 - 20 * day_ms), (0, 1, late)]
    assert kept_by(repeats, [(0, 0, T0)], T0) == [True]
    assert kept_by(repeats, keys, late) == [True, True]
    assert kept_by(repeats, keys, late + SLOT_MS) == [False, False]
    entries = {
        (kept.slot, *key)
        for kept in repeats.entries()
        for key in zip(kept.users.tolist(), kept.events.tolist(), kept.times.tolist(), strict=True)
    }
    assert entries == {(T0 // SLOT_MS, 0, 0, T0)} | {(late // SLOT_MS, *key) for key in keys}


def test_ended_slots_are_neither_known_nor_saved() -> None:
    repeats = Repeats(SLOT_MS, events=2)
    repeats.grow(1)
    assert kept_by(repeats, [(0, 0, T0)], T0) == [True]
    assert kept_by(repeats, [(0, 1, T0)], T0 + 2 * SLOT_MS) == [True]
    slot = T0 // SLOT_MS
    assert repeats.end_before(slot + 1) == [slot]
    saved = [(kept.slot, kept.events.tolist()) for kept in repeats.take_unsaved()]
    assert saved == [(slot + 2, [1])]
    assert repeats.take_unsaved() == []


def test_remembered_actions_are_known_but_not_to_be_saved_again() -> None:
    repeats = Repeats(SLOT_MS, events=2)
    repeats.grow(2)
    repeats.remember(KeptActions(T0 // SLOT_MS, ints(1, 0), ints(0, 1), ints(T0, 5)))
    assert kept_by(repeats, [(1, 0, T0), (0, 1, 5), (0, 1, 6)], T0) == [False, False, True]
    assert [kept.times.tolist() for kept in repeats.take_unsaved()] == [[6]]
    assert repeats.newest_slot.tolist() == [T0 // SLOT_MS] * 2


# Caps, triggers, groups


def test_without_a_cap_nothing_is_counted() -> None:
    caps = Caps(0)
    caps.grow(1)
    assert caps.admit(ints(0, 0), ints(T0, T0)).all()
    assert caps.newest[0] == -1


def test_joined_rows_of_a_trigger_keep_the_order_of_its_actions() -> None:
    triggers = Triggers(events=1, join_delay_ms=0, grace_ms=0)
    triggers.grow(2)
    triggers.add(ints(0, 0, 1), ints(0, 1, 0), ints(0, 0, 0), ints(0, 0, 0), ints(9, 9, 9))
    times = ints(1, 2, 3, 4)
    ((rows, joined),) = triggers.join(ints(0, 1, 2, 3), ints(0, 1, 0, 0), times, times, [], 1_000)
    by_trigger = {
        t: [r for r, j in zip(rows.tolist(), joined.tolist(), strict=True) if j == t] for t in range(3)
    }
    assert by_trigger == {0: [0, 2, 3], 1: [0, 2, 3], 2: [1]}


def test_a_group_keeps_its_number_while_it_is_known_and_shares_its_period() -> None:
    groups = Groups()
    a, b, other = (groups.number(GroupName(*name)) for name in (("x", 1, "a"), ("x", 1, "b"), ("x", 2, "a")))
    assert groups.number(GroupName("x", 1, "a")) == a
    assert groups.period[a] == groups.period[b] != groups.period[other]
    groups.forget([other])
    again = groups.number(GroupName("x", 2, "a"))
    assert groups.period[again] != groups.period[a]
    groups.forget([a])
    with pytest.raises(KeyError):
        groups.name(a)
    assert groups.period[groups.number(GroupName("x", 1, "c"))] == groups.period[b]
    assert groups.ranks()[[b, again]].tolist() == [0, 2]


# Deltas


def activated(*users: str, rules: Rules = RULES) -> ColumnarUsers:
    made = ColumnarUsers(rules)
    starts = [Activation(user, "x", "a", T0, T0 + 72 * HOUR_MS, T0, T0) for user in users]
    apply_columns(made, Step(starts, 0, 0))
    return made


def test_sums_of_squares_of_a_very_active_user_are_exact() -> None:
    users = activated("u", rules=replace(RULES, cap_per_hour=0))
    users.take_deltas()
    actions = 120_000  # in batches, the last alone of 2k + 1 near 2**18
    for first in range(0, actions, 30_000):
        times = T0 + np.arange(first, first + 30_000)
        users.act(["u"] * 30_000, np.zeros(30_000, np.int64), ["search"], times, times)
    counts = users.take_deltas().counts
    assert counts[:, VOLUME].sum() == actions
    assert counts[:, SUM_SQUARES].sum() == actions**2


def test_nothing_counted_gives_no_deltas() -> None:
    deltas = ColumnarUsers(RULES).take_deltas()
    assert len(deltas) == 0
    assert deltas.counts.shape == (0, 5)
    assert deltas.names == []


def test_selected_cells_take_their_sketches_along() -> None:
    users = activated("u", "v")
    acts = [Action("u", "click", T0, T0), Action("v", "click", T0, T0), Action("v", "search", T0, T0)]
    apply_columns(users, Step(acts, 0, 0))
    deltas = users.take_deltas()
    whole = counts_of_deltas(deltas)
    clicks = np.array([deltas.names[event] == "click" for event in deltas.event])
    assert counts_of_deltas(deltas.select(clicks)) == {k: v for k, v in whole.items() if k[3] == "click"}
    assert len(deltas.select(~clicks)) == 2


def test_far_apart_buckets_cost_no_more_than_their_rows() -> None:
    """An activation of today and an action's cell weeks away mustn't make a table of all buckets between."""
    far = replace(RULES, period_ms=10**6 * HOUR_MS)
    users = activated("u", rules=far)
    end_ms = T0 + far.period_ms
    starts = [Activation("u", "y", "a", T0, end_ms, T0, T0)]
    acts = [Action("u", "click", at, at) for at in (T0, T0 + 999_000 * HOUR_MS)]
    apply_columns(users, Step(starts, 0, 0))
    users.take_deltas()
    apply_columns(users, Step(acts, 0, 0))
    cells = counts_of_deltas(users.take_deltas())
    assert {key[4] for key in cells} == {T0, T0 + 999_000 * HOUR_MS}
    assert all(
        counts[:3] == [1, int(key[4] == T0), 1 if key[4] == T0 else 3] for key, (counts, _) in cells.items()
    )
