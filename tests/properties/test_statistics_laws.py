"""Truths about counts and effects, whatever the users did."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rtexp.statistics.counts import (
    FIRST_EXPOSURE,
    Counts,
    acted,
    recounted,
    retracted,
    total,
    undone,
    violation,
)
from rtexp.statistics.effects import Effect, Lift, LiftMethod, Metric, effect, information, interval, lift
from rtexp.statistics.undefined import Undefined

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

LAW = settings(deadline=None)

actions_by_user = st.lists(st.integers(0, 9) | st.integers(0, 2), max_size=40)
counts = actions_by_user.map(recounted)
metrics = st.sampled_from(Metric)
scores = st.floats(0.1, 8)
changes = st.lists(
    st.tuples(st.sampled_from(["act", "act", "undo", "retract"]), st.integers(0, 5)), max_size=60
)


def numbers_of(value: Effect | Lift) -> Iterable[float]:
    fields = (getattr(value, name) for name in value.__slots__)
    return (field for field in fields if isinstance(field, float))


def compared(metric: Metric, control: Counts, treatment: Counts) -> Effect:
    found = effect(metric, control, treatment)
    assume(isinstance(found, Effect))
    assert isinstance(found, Effect)
    return found


def changed(
    history: list[tuple[str, int]], cap: int | None = None
) -> tuple[list[tuple[int, Counts]], dict[int, int]]:
    """Play a history of six users: the changes with their users, and the actions of each user who is left."""
    actions = dict.fromkeys(range(6), 0)
    seen = [(user, FIRST_EXPOSURE) for user in actions]
    for what, user in history:
        if user not in actions:
            continue
        before = actions[user]
        if what == "act":
            seen.append((user, acted(before, cap)))
            actions[user] += 1
        elif what == "undo" and before and cap is None:
            seen.append((user, undone(before)))
            actions[user] -= 1
        elif what == "retract" and cap is None:
            seen.append((user, retracted(before)))
            del actions[user]
    return seen, actions


@LAW
@given(changes, st.randoms(use_true_random=False))
def test_changes_in_any_order_sum_up_to_a_recount_of_the_users(
    history: list[tuple[str, int]], order: random.Random
) -> None:
    seen, actions = changed(history)
    order.shuffle(seen)
    assert total(change for _, change in seen) == recounted(actions.values())


@LAW
@given(changes, st.integers(1, 4))
def test_capped_changes_sum_up_to_a_capped_recount(history: list[tuple[str, int]], cap: int) -> None:
    seen, actions = changed(history, cap)
    assert total(change for _, change in seen) == recounted(actions.values(), cap)


@LAW
@given(changes, st.integers(1, 5), st.lists(st.integers(0, 80), max_size=5))
def test_buckets_and_partitions_by_user_add_up_to_the_whole(
    history: list[tuple[str, int]], partitions: int, edges: list[int]
) -> None:
    seen, actions = changed(history)
    cuts = [0, *sorted(edges), len(seen)]
    buckets = [seen[start:end] for start, end in itertools.pairwise(cuts)]
    cells = [
        total(change for user, change in bucket if user % partitions == partition)
        for bucket in buckets
        for partition in range(partitions)
    ]
    assert total(cells) == recounted(actions.values())


@LAW
@given(changes)
def test_counts_of_users_are_consistent_after_every_change(history: list[tuple[str, int]]) -> None:
    seen = [change for _, change in changed(history)[0]]
    for end in range(len(seen) + 1):
        assert violation(total(seen[:end])) is None


@LAW
@given(metrics, counts, counts)
def test_swapping_control_and_treatment_turns_signs_and_nothing_else(
    metric: Metric, a: Counts, b: Counts
) -> None:
    forth, back = effect(metric, a, b), effect(metric, b, a)
    if isinstance(forth, Undefined) or isinstance(back, Undefined):
        assert forth == back
        return
    assert (forth.difference, forth.z) == (-back.difference, -back.z)
    assert (forth.p_value, forth.variance, forth.variance_pooled) == (
        back.p_value,
        back.variance,
        back.variance_pooled,
    )
    assert (forth.dof or 0.0) == pytest.approx(back.dof or 0.0, rel=1e-14)
    assert information(metric, a, b) == information(metric, b, a)


@LAW
@given(metrics, counts, counts, scores)
def test_every_number_is_finite_and_every_gap_has_a_reason(
    metric: Metric, control: Counts, treatment: Counts, score: float
) -> None:
    assert 0 <= information(metric, control, treatment) < math.inf
    found = effect(metric, control, treatment)
    if isinstance(found, Undefined):
        return
    assert all(map(math.isfinite, [*numbers_of(found), *interval(found, score)]))
    assert 0 < found.p_value <= 1
    assert found.z * found.difference >= 0
    relative = lift(found, score)
    if isinstance(relative, Lift):
        assert all(map(math.isfinite, numbers_of(relative)))
        assert (
            (relative.method is None)
            == (relative.low is None)
            == (relative.high is None)
            != (relative.reason is None)
        )


@LAW
@given(metrics, counts, counts, scores)
def test_intervals_contain_what_they_are_about(
    metric: Metric, control: Counts, treatment: Counts, score: float
) -> None:
    found = compared(metric, control, treatment)
    low, high = interval(found, score)
    assert low <= found.difference <= high
    relative = lift(found, score)
    if isinstance(relative, Lift) and relative.low is not None and relative.high is not None:
        assert relative.low - 1e-12 <= relative.value <= relative.high + 1e-12


@LAW
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 10), st.integers(1, 10))
def test_the_more_users_the_nearer_is_fiellers_interval_to_the_deltas(
    acted_c: int, acted_t: int, idle_c: int, idle_t: int
) -> None:
    gaps = []
    for times in (100, 10_000, 1_000_000):
        groups = [
            Counts(times * (a + i), times * a, times * a, times * a)
            for a, i in [(acted_c, idle_c), (acted_t, idle_t)]
        ]
        found = compared(Metric.PROPENSITY, groups[0], groups[1])
        # The greatest score that Fieller is still used for, and the least that it isn't.
        edge = math.sqrt(0.05 * found.mean_control**2 / found.variance_control)
        for score, method in [(edge * (1 + 1e-9), LiftMethod.FIELLER), (edge * (1 - 1e-9), LiftMethod.DELTA)]:
            relative = lift(found, score)
            assert isinstance(relative, Lift)
            assert relative.method is method
        fixed = lift(found, 1.96)
        assert isinstance(fixed, Lift)
        assert fixed.low is not None
        gaps.append(fixed.value - fixed.low)
    assert gaps == sorted(gaps, reverse=True)
