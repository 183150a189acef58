"""Truths about counts, effects and methods, whatever the users did."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rtexp.statistics import bayesian, confidence_sequence, gamblers_ruin, msprt, srm
from rtexp.statistics.adjust import benjamini_hochberg, bonferroni, holm
from rtexp.statistics.bonferroni import adjusted_p
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
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=20)
changes = st.lists(
    st.tuples(st.sampled_from(["act", "act", "undo", "retract"]), st.integers(0, 5)), max_size=60
)
splits = st.lists(st.integers(0, 3000), min_size=2, max_size=4)


def numbers_of(value: Effect | Lift | bayesian.Belief) -> Iterable[float]:
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


@given(changes, st.randoms(use_true_random=False))
def test_changes_in_any_order_sum_up_to_a_recount_of_the_users(
    history: list[tuple[str, int]], order: random.Random
) -> None:
    seen, actions = changed(history)
    order.shuffle(seen)
    assert total(change for _, change in seen) == recounted(actions.values())


@given(changes, st.integers(1, 4))
def test_capped_changes_sum_up_to_a_capped_recount(history: list[tuple[str, int]], cap: int) -> None:
    seen, actions = changed(history, cap)
    assert total(change for _, change in seen) == recounted(actions.values(), cap)


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


@given(changes)
def test_counts_of_users_are_consistent_after_every_change(history: list[tuple[str, int]]) -> None:
    seen = [change for _, change in changed(history)[0]]
    for end in range(len(seen) + 1):
        assert violation(total(seen[:end])) is None


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


@given(p_values, st.integers(20, 300), st.integers(1, 9))
def test_the_adjusted_p_rises_with_looks_and_treatments_and_falls_over_looks(
    found: list[float], looks: int, treatments: int
) -> None:
    running = [adjusted_p(found[:end], looks, treatments) for end in range(len(found) + 1)]
    numbers = [p for p in running if isinstance(p, float)]
    assert numbers == sorted(running, key=float, reverse=True)  # type: ignore[arg-type]  # all are numbers then
    for more in (adjusted_p(found, looks + 1, treatments), adjusted_p(found, looks, treatments + 1)):
        assert isinstance(more, float)
        assert more >= numbers[-1]


@given(p_values)
def test_holm_lies_between_benjamini_hochberg_and_bonferroni(found: list[float]) -> None:
    for raw, bh, step, whole in zip(
        found, benjamini_hochberg(found), holm(found), bonferroni(found), strict=True
    ):
        assert raw <= bh * (1 + 1e-12)
        assert bh <= step * (1 + 1e-12)
        assert step <= whole * (1 + 1e-12)
        assert whole <= 1


@given(p_values, st.randoms(use_true_random=False))
def test_adjusted_p_values_follow_their_metrics_in_any_order(
    found: list[float], order: random.Random
) -> None:
    shuffled = order.sample(range(len(found)), len(found))
    for adjust in (holm, benjamini_hochberg, bonferroni):
        plain = adjust(found)
        assert adjust([found[i] for i in shuffled]) == [plain[i] for i in shuffled]


@given(
    st.floats(-5, 5),
    st.floats(1e-6, 10),
    st.integers(1, 10**7),
    st.floats(0.001, 0.49),
    st.tuples(st.integers(100, 10**6), st.sampled_from([1, 2])),
)
def test_the_sequence_crosses_just_where_its_interval_leaves_zero_out(
    difference: float, variance: float, users: int, alpha: float, plan: tuple[int, int]
) -> None:
    expected, sides = plan
    rho = confidence_sequence.rho_squared(alpha, expected, sides)
    half = confidence_sequence.half_width(variance, users, rho, alpha, sides)
    p_value = confidence_sequence.p_look(difference, variance, users, rho, sides)
    reached = difference if sides == 1 else abs(difference)
    assume(abs(reached - half) > 1e-9 * half)
    assert (p_value <= alpha) == (reached > half)
    assert 0 < p_value <= 1


@given(st.floats(-5, 5), st.floats(1e-6, 10), st.integers(1, 10**7), st.integers(100, 10**6))
def test_both_forms_of_the_sequence_coincide(
    difference: float, variance: float, users: int, expected: int
) -> None:
    rho = confidence_sequence.rho_squared(0.05, expected)
    mixing = users * variance * rho
    assert msprt.p_look(difference, variance, mixing) == pytest.approx(
        confidence_sequence.p_look(difference, variance, users, rho), rel=1e-10, abs=1e-290
    )
    assert msprt.half_width(variance, mixing, 0.05) == pytest.approx(
        confidence_sequence.half_width(variance, users, rho, 0.05), rel=1e-12
    )


@given(splits, st.floats(1, 1e5), st.data())
def test_evidence_of_a_mismatch_is_a_fair_bet_on_the_next_user(
    users: list[int], strength: float, data: st.DataObject
) -> None:
    """What makes it valid at every look: if users come as planned, its mean after one more is what it is now."""
    weights = data.draw(st.lists(st.floats(0.05, 10), min_size=len(users), max_size=len(users)))
    now = srm.log_e(users, weights, strength)
    after = 0.0
    for group, weight in enumerate(weights):
        one_more = [n + (g == group) for g, n in enumerate(users)]
        after += weight / sum(weights) * math.exp(srm.log_e(one_more, weights, strength) - now)
    assert after == pytest.approx(1.0, rel=1e-9)


@given(st.lists(st.floats(0.05, 10), min_size=1, max_size=5), st.floats(0.1, 1e6))
def test_before_the_first_user_there_is_no_evidence(weights: list[float], strength: float) -> None:
    assert srm.log_e([0] * len(weights), weights, strength) == pytest.approx(0.0, abs=1e-9)


@given(counts, counts)
def test_beliefs_are_probabilities_and_losses_differ_by_the_posterior_effect(
    control: Counts, treatment: Counts
) -> None:
    belief, turned = bayesian.propensity(control, treatment), bayesian.propensity(treatment, control)
    assert isinstance(belief, bayesian.Belief)
    assert isinstance(turned, bayesian.Belief)
    assert belief.treatment_higher + turned.treatment_higher == pytest.approx(1.0, rel=1e-10)
    assert belief.loss_keep_control == pytest.approx(turned.loss_ship_treatment, rel=1e-9, abs=1e-14)
    assert min(belief.loss_keep_control, belief.loss_ship_treatment) >= -1e-15
    shares = [(1 + group.a) / (2 + group.n) for group in (control, treatment)]
    assert belief.loss_keep_control - belief.loss_ship_treatment == pytest.approx(
        shares[1] - shares[0], abs=1e-12
    )


@LAW
@given(st.integers(1, 3000), st.integers(1, 200), st.floats(0.05, 0.95))
def test_the_chance_of_a_lead_rises_with_conversions_and_share_and_falls_with_the_lead(
    conversions: int, lead: int, share: float
) -> None:
    chance = gamblers_ruin.reach(conversions, lead, share)
    slack = 1e-9
    assert 0 <= chance <= 1 + slack
    assert gamblers_ruin.reach(conversions + 1, lead, share) >= chance * (1 - slack)
    assert gamblers_ruin.reach(conversions, lead + 1, share) <= chance * (1 + slack)
    assert gamblers_ruin.reach(conversions, lead, share + 0.01) >= chance * (1 - slack)


@LAW
@given(st.floats(0.02, 3), st.floats(0.001, 0.3), st.floats(0.5, 0.95), st.sampled_from([1, 2]))
def test_a_design_keeps_its_error_and_its_power(lift: float, alpha: float, power: float, sides: int) -> None:
    plan = gamblers_ruin.design(lift, alpha, power, sides)
    assert sides * gamblers_ruin.reach(plan.conversions, plan.lead) <= alpha * (1 + 1e-9)
    share = (1 + lift) / (2 + lift)
    assert gamblers_ruin.reach(plan.conversions, plan.lead, share) >= power * (1 - 1e-9)
    assert gamblers_ruin.reach(plan.conversions - 1, plan.lead, share) < power
