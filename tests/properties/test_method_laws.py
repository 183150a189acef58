"""Truths about the methods that decide, or are shown beside them, whatever the users did."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rtexp.statistics import bayesian, confidence_sequence, gamblers_ruin, msprt, srm
from rtexp.statistics.adjust import benjamini_hochberg, bonferroni, holm
from rtexp.statistics.bonferroni import adjusted_p
from rtexp.statistics.counts import Counts, recounted

if TYPE_CHECKING:
    import random

LAW = settings(deadline=None)

counts = st.lists(st.integers(0, 9) | st.integers(0, 2), max_size=40).map(recounted)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=20)
splits = st.lists(st.integers(0, 3000), min_size=2, max_size=4)


@LAW
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


@LAW
@given(p_values)
def test_holm_lies_between_benjamini_hochberg_and_bonferroni(found: list[float]) -> None:
    for raw, bh, step, whole in zip(
        found, benjamini_hochberg(found), holm(found), bonferroni(found), strict=True
    ):
        assert raw <= bh * (1 + 1e-12)
        assert bh <= step * (1 + 1e-12)
        assert step <= whole * (1 + 1e-12)
        assert whole <= 1


@LAW
@given(p_values, st.randoms(use_true_random=False))
def test_adjusted_p_values_follow_their_metrics_in_any_order(
    found: list[float], order: random.Random
) -> None:
    shuffled = order.sample(range(len(found)), len(found))
    for adjust in (holm, benjamini_hochberg, bonferroni):
        plain = adjust(found)
        assert adjust([found[i] for i in shuffled]) == [plain[i] for i in shuffled]


@LAW
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


@LAW
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


@LAW
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


@LAW
@given(st.lists(st.floats(0.05, 10), min_size=1, max_size=5), st.floats(0.1, 1e6))
def test_before_the_first_user_there_is_no_evidence(weights: list[float], strength: float) -> None:
    assert srm.log_e([0] * len(weights), weights, strength) == pytest.approx(0.0, abs=1e-9)


@LAW
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
