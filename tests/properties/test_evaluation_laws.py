"""Evaluation equals an independent recomputation, and doesn't depend on what must not matter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import look_samples
from tests.look_samples import START
from tests.oracle import looks as oracle

from rtexp.statistics.evaluation import PeriodEvaluator
from rtexp.statistics.plans import DecisionMetric, Guardrail
from rtexp.tables.looks import EvaluatedLook, LookLedger

if TYPE_CHECKING:
    from rtexp.statistics.evaluation import LookOutcome
    from rtexp.statistics.looks import LookInput, LookRecord
    from rtexp.statistics.plans import Plan

EVENTS = ("search", "click")
METRICS = ("propensity", "volume")
METHODS = ("alpha-spending", "bonferroni", "confidence-sequence", "gamblers-ruin")
K = 4

decision_metrics = st.sets(st.sampled_from([(e, m) for e in EVENTS for m in METRICS]), max_size=4).map(sorted)
guardrails = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.sampled_from(METRICS), st.sampled_from(["drop", "rise"])),
    max_size=2,
    unique_by=lambda guardrail: guardrail[:2],
)


@st.composite
def plans(draw: st.DrawFn) -> oracle.Plan:
    method = draw(st.sampled_from(METHODS))
    decision = draw(decision_metrics)
    if method == "gamblers-ruin":
        decision = [(event, metric) for event, metric in decision if metric == "propensity"]
    return oracle.Plan(
        control="C",
        treatments=draw(st.sampled_from([("T",), ("T", "U")])),
        decision=tuple(decision),
        events=EVENTS,
        looks=K,
        guardrails=tuple(draw(guardrails)),
        method=method,
        alpha=draw(st.sampled_from([0.05, 0.01, 0.3])),
        spending=draw(st.sampled_from(["obf", "pocock"])),
        expected_users=draw(st.sampled_from([500, 10_000])),
        conversions=800 if method == "gamblers-ruin" else 0,
        lead=56 if method == "gamblers-ruin" else 0,
        problem=draw(st.sampled_from([""] * 9 + ["plan_missing"])),
    )


@st.composite
def streams(draw: st.DrawFn, plan: oracle.Plan) -> list[oracle.Look]:
    """Cumulative counts of some of the looks; groups differ by their rates, now and then by their users."""
    groups = (plan.control, *plan.treatments)
    missed = draw(st.sets(st.integers(1, K - 1), max_size=2))
    numbers = [number for number in range(1, draw(st.sampled_from([K, K, K, 2])) + 1) if number not in missed]
    users = dict.fromkeys(groups, 0)
    classes = {(group, event): [0, 0] for group in groups for event in EVENTS}
    looks = []
    for number in numbers:
        new = draw(st.sampled_from([1500, 700, 2500, 90, 1, 0]))
        for group in groups:
            mine = new + draw(st.sampled_from([0] * 12 + [7, 150]))
            users[group] += mine
            for event in EVENTS:
                rate = draw(st.sampled_from([0.1, 0.12, 0.11, 0.14, 0.13, 0.1, 0.2, 0.0, 1.0]))
                once = math.floor(mine * rate)
                often = math.floor((mine - once) * draw(st.sampled_from([0.0, 0.02, 0.05])))
                classes[group, event][0] += once
                classes[group, event][1] += often
        counts = {
            (group, event): oracle.Counts(users[group], one + 3 * three, one + 9 * three, one + three)
            for (group, event), (one, three) in classes.items()
        }
        if draw(st.integers(0, 15)) == 15:
            broken = draw(st.sampled_from(sorted(counts)))
            counts[broken] = counts[broken]._replace(a=users[broken[0]] + 1)
        again = {group: draw(st.sampled_from([0, 0, users[group] // 50])) for group in groups}
        split = {group: (users[group], again[group], 1.0 / len(groups)) for group in groups}
        looks.append(oracle.Look(number, counts, split))
    return looks


cases = plans().flatmap(lambda plan: st.tuples(st.just(plan), streams(plan)))


def real_plan(plan: oracle.Plan) -> Plan:
    return look_samples.plan(
        control=plan.control,
        treatments=list(plan.treatments),
        events=list(plan.events),
        decision=[DecisionMetric(*metric) for metric in plan.decision],  # type: ignore[arg-type]
        guardrails=[Guardrail(*guardrail) for guardrail in plan.guardrails],  # type: ignore[arg-type]
        method=plan.method,
        alpha=plan.alpha,
        spending=plan.spending,
        expected_users=plan.expected_users,
        ruin_conversions=plan.conversions or None,
        ruin_lead=plan.lead or None,
        problem=plan.problem,
    )


def real_input(look: oracle.Look) -> LookInput:
    events = {
        group: {event: counts[1:] for (g, event), counts in look.counts.items() if g == group}
        for group in look.split
    }
    return look_samples.given(
        look.number,
        {group: (users, events[group]) for group, (users, *_) in look.split.items()},
        weights={group: weight for group, (*_, weight) in look.split.items()},
        multiple={group: again for group, (_, again, _) in look.split.items()},
    )


def evaluated(plan: Plan, inputs: list[LookInput]) -> list[LookOutcome]:
    evaluator = PeriodEvaluator("feed", START, plan)
    return [evaluator.look(one, evaluated_ms=5, version="v") for one in inputs]


def key_of(record: LookRecord) -> oracle.Key:
    return record.group_name, record.event, record.metric, record.role


def check(record: LookRecord, expected: oracle.Verdict) -> None:
    assert (record.state, record.reason) == (expected.state, expected.reason)
    assert (record.crossed, record.withheld, record.final) == (
        expected.crossed,
        expected.withheld,
        expected.final,
    )
    assert ("effect_reversed" in (record.note or "")) == expected.reversed_
    assert_alike(record.level, expected.level, rel=1e-12)
    assert_alike(record.boundary, expected.boundary, rel=0, abs_=1e-7)
    assert_alike(record.alpha_spent, expected.alpha_spent, rel=1e-9)
    assert_alike(record.effect, expected.effect, rel=1e-9)
    assert_alike(record.z, expected.z, rel=1e-9)
    assert_alike(record.p_value, expected.p, rel=1e-9)
    low, high = expected.interval or (None, None)
    assert_alike(record.interval_low, low, rel=1e-6, abs_=1e-9)
    assert_alike(record.interval_high, high, rel=1e-6, abs_=1e-9)


def assert_alike(found: float | None, expected: float | None, *, rel: float, abs_: float = 0.0) -> None:
    if found is None or expected is None:
        assert found is expected
    else:
        assert found == pytest.approx(expected, rel=rel, abs=abs_)


@settings(deadline=None, max_examples=200)
@given(cases)
def test_every_record_is_that_of_an_independent_recomputation(
    case: tuple[oracle.Plan, list[oracle.Look]],
) -> None:
    plan, looks = case
    outcomes = evaluated(real_plan(plan), [real_input(look) for look in looks])
    for k, outcome in enumerate(outcomes, start=1):
        expected = oracle.verdicts(plan, looks[:k])
        assert {key_of(record) for record in outcome.records} == expected.keys()
        for record in outcome.records:
            check(record, expected[key_of(record)])
            assert record.srm_p == pytest.approx(oracle.srm_p(plan, looks[:k], first_only=False), rel=1e-7)
            first = oracle.srm_p(plan, looks[:k], first_only=True)
            assert record.srm_first_p == pytest.approx(first, rel=1e-7)


@settings(deadline=None, max_examples=150)
@given(cases)
def test_an_always_valid_p_never_rises_and_is_at_most_the_level_just_where_there_is_a_verdict(
    case: tuple[oracle.Plan, list[oracle.Look]],
) -> None:
    plan, looks = case
    newest: dict[oracle.Key, float] = {}
    for outcome in evaluated(real_plan(plan), [real_input(look) for look in looks]):
        for record in outcome.records:
            p = record.p_always_valid
            if plan.method == "gamblers-ruin" and record.role != "guardrail":
                assert p is None
                continue
            assert p is not None
            assert 0 < p <= newest.get(key_of(record), 1.0)
            newest[key_of(record)] = p
            if record.role != "exploratory":
                level = plan.alpha if record.role == "decision" else plan.guardrail_alpha
                assert (p <= level) == record.crossed


def numbers(record: LookRecord) -> list[float]:
    return [value for value in msgspec.structs.astuple(record) if isinstance(value, float)]


@settings(deadline=None, max_examples=150)
@given(cases)
def test_every_number_is_finite_and_what_isnt_tested_says_why(
    case: tuple[oracle.Plan, list[oracle.Look]],
) -> None:
    plan, looks = case
    for outcome in evaluated(real_plan(plan), [real_input(look) for look in looks]):
        for record in outcome.records:
            assert all(map(math.isfinite, numbers(record)))
            assert (record.boundary is None) <= (record.reason is not None)
            assert (record.effect is None) <= (record.reason is not None)


@settings(deadline=None, max_examples=100)
@given(cases)
def test_looks_resumed_from_kept_histories_are_those_of_one_run_bit_for_bit(
    case: tuple[oracle.Plan, list[oracle.Look]],
) -> None:
    plan, looks = real_plan(case[0]), [real_input(look) for look in case[1]]
    ledger = LookLedger()
    for given_, expected in zip(looks, evaluated(plan, looks), strict=True):
        period, comparisons = ledger.history(("feed", START))
        evaluator = PeriodEvaluator("feed", START, plan, period=period, comparisons=comparisons)
        outcome = evaluator.look(given_, evaluated_ms=5, version="v")
        assert outcome == expected
        ledger.note(EvaluatedLook(given_, outcome.records), evaluator.period, evaluator.comparisons, [])
        kept = ledger.journal()
        ledger = LookLedger() if not kept else reloaded(ledger, kept)


def reloaded(before: LookLedger, pages: list) -> LookLedger:  # type: ignore[type-arg]
    """A ledger that has read the newest pages of all: each look writes all of its period and comparisons anew."""
    made = LookLedger()
    for page in pages:
        if page.value is not None:
            made.load(page.key, page.value)
    made.loaded()
    return made


SWAPPED = {"C": "T", "T": "C"}
TURNED = {"drop": "rise", "rise": "drop"}
STATES = {"significant_gain": "significant_drop", "significant_drop": "significant_gain"}


@settings(deadline=None, max_examples=100)
@given(cases)
def test_swapping_control_and_treatment_turns_signs_and_nothing_else(
    case: tuple[oracle.Plan, list[oracle.Look]],
) -> None:
    plan, looks = case
    if len(plan.treatments) > 1:
        plan = changed(plan, treatments=("T",))
        looks = [without(look, "U") for look in looks]
    turned = changed(plan, guardrails=tuple((e, m, TURNED[h]) for e, m, h in plan.guardrails))
    mirrored = [
        oracle.Look(
            look.number,
            {(SWAPPED[group], event): counts for (group, event), counts in look.counts.items()},
            {SWAPPED[group]: split for group, split in look.split.items()},
        )
        for look in looks
    ]
    straight = evaluated(real_plan(plan), [real_input(look) for look in looks])
    mirror = evaluated(real_plan(turned), [real_input(look) for look in mirrored])
    for one, other in zip(straight, mirror, strict=True):
        for a, b in zip(one.records, other.records, strict=True):
            assert (a.state, a.reason, a.crossed, a.note) == (
                STATES.get(b.state, b.state),
                b.reason,
                b.crossed,
                b.note,
            )
            same = (
                "p_value",
                "level",
                "boundary",
                "alpha_spent",
                "p_always_valid",
                "std_error",
                "information",
            )
            for name in same:
                assert_alike(getattr(a, name), getattr(b, name), rel=1e-12)
            opposite = [(a.effect, b.effect), (a.z, b.z), (a.interval_low, b.interval_high)]
            for mine, theirs in opposite:
                assert_alike(mine, None if theirs is None else -theirs, rel=1e-12, abs_=1e-15)


def changed(plan: oracle.Plan, **changes: object) -> oracle.Plan:
    return oracle.Plan(**{**plan.__dict__, **changes})


def without(look: oracle.Look, group: str) -> oracle.Look:
    return oracle.Look(
        look.number,
        {key: counts for key, counts in look.counts.items() if key[0] != group},
        {name: split for name, split in look.split.items() if name != group},
    )
