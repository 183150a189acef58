"""One look after the other: the worked sequence, the order of reasons, what latches, what is told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.look_samples import HOUR, START, WORKED, Events, actors, given, plan

from rtexp.statistics.evaluation import EXPLORATORY_WITH_P, PeriodEvaluator
from rtexp.statistics.looks import EventSums, GroupSums, Stretch
from rtexp.statistics.plans import DecisionMetric, Guardrail, Plan, plan_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.statistics.evaluation import LookOutcome
    from rtexp.statistics.looks import LookInput, LookRecord


def evaluate(plan: Plan, looks: Sequence[LookInput]) -> list[LookOutcome]:
    evaluator = PeriodEvaluator("feed", START, plan)
    return [evaluator.look(one, evaluated_ms=7, version="v") for one in looks]


def one_row(outcome: LookOutcome, metric: str = "propensity", role: str = "decision") -> LookRecord:
    (row,) = [r for r in outcome.records if (r.metric, r.role) == (metric, role)]
    return row


def rows(plan: Plan, looks: Sequence[LookInput], **which: str) -> list[LookRecord]:
    return [one_row(outcome, **which) for outcome in evaluate(plan, looks)]


# -- the worked sequence of section 3a -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spending", "bounds", "p_values"),
    [
        ("obf", [4.33263365, 2.96352462, 2.36847362, 2.02587005], [1, 0.17442915, 0.00445638, 0.00225096]),
        ("pocock", [2.36832770, 2.40690979, 2.41439575, 2.39556925], [1, 0.09074194, 0.00313573, 0.00313573]),
    ],
)
def test_the_worked_sequence_gives_its_golden_values(
    spending: str, bounds: list[float], p_values: list[float]
) -> None:
    found = rows(plan(spending=spending), WORKED)
    assert [r.z for r in found] == pytest.approx([0.64051262, 2.16390109, 3.34897841, 3.07362385], abs=5e-9)
    assert [r.information for r in found] == pytest.approx(
        [256.41025641, 728.16091954, 1307.26159230, 1843.49639742], abs=5e-9
    )
    assert [r.boundary for r in found] == pytest.approx(bounds, abs=1e-7)
    assert [r.p_always_valid for r in found] == pytest.approx(p_values, abs=5e-9)
    assert [(r.state, r.crossed, r.final) for r in found] == [
        ("no_difference_yet", False, False),
        ("no_difference_yet", False, False),
        ("significant_gain", True, False),
        ("significant_gain", True, True),
    ]


def test_the_worked_interval_is_that_of_the_bound() -> None:
    found = rows(plan(), WORKED)[2]
    assert (found.effect, found.std_error) == pytest.approx((0.0095316804, 0.0028444483), abs=5e-11)
    assert (found.interval_low, found.interval_high) == pytest.approx((0.0027946797, 0.0162686812), abs=5e-10)


def test_a_missed_look_gives_its_error_to_the_next() -> None:
    assert rows(plan(), [WORKED[0], WORKED[1], WORKED[3]])[2].boundary == pytest.approx(1.97229792, abs=1e-7)


def test_two_treatments_have_half_the_level_each() -> None:
    looks = [
        given(one.look, {"C": group(one, "C"), "T": group(one, "T"), "U": group(one, "C")}) for one in WORKED
    ]
    outcomes = evaluate(plan(treatments=["T", "U"], weights={"C": 1, "T": 1, "U": 1}), looks)
    found = [next(r for r in o.records if r.group_name == "T" and r.role == "decision") for o in outcomes]
    assert [r.boundary for r in found] == pytest.approx(
        [4.85994019, 3.34488195, 2.67631652, 2.28994374], abs=1e-7
    )
    assert [r.level for r in found] == [0.025] * 4
    assert found[2].p_always_valid == pytest.approx(2 * 0.00445638, abs=1e-8)


def group(look: LookInput, name: str) -> tuple[int, Events]:
    sums = look.groups[name]
    return sums.users, {event: (s.s1, s.s2, s.a) for event, s in sums.events.items()}


# -- Holm, latching ------------------------------------------------------------------------------------------------


def two_events(look: int, click_t: int, search_t: int, n: int = 10_000) -> LookInput:
    def events(click: int, search: int) -> Events:
        return {"click": (click,) * 3, "search": (search,) * 3}

    return given(look, {"C": (n, events(1000, 1000)), "T": (n, events(click_t, search_t))})


BOTH = plan(
    events=["click", "search"],
    decision=[DecisionMetric("click", "propensity"), DecisionMetric("search", "propensity")],
    method="bonferroni",
)
"""At K = 4 a look crosses below p = .05 / 4 / 2 while both are undecided, below .05 / 4 when one is left."""


def by_event(outcome: LookOutcome) -> dict[str, LookRecord]:
    return {r.event: r for r in outcome.records if r.role == "decision"}


def test_a_rejection_relaxes_the_level_for_what_is_left_at_the_same_look() -> None:
    # p of the search is .0119: between .00625 and .0125.
    alone, together = evaluate(BOTH, [two_events(1, 1000, 1110)]), evaluate(BOTH, [two_events(1, 1300, 1110)])
    assert 0.00625 < by_event(alone[0])["search"].p_value < 0.0125  # type: ignore[operator]
    assert (by_event(alone[0])["search"].state, by_event(alone[0])["search"].level) == (
        "no_difference_yet",
        0.025,
    )
    found = by_event(together[0])
    assert (found["click"].state, found["click"].level) == ("significant_gain", 0.025)
    assert (found["search"].state, found["search"].level) == ("significant_gain", 0.05)


def test_a_relaxed_level_counts_for_earlier_looks_too() -> None:
    first, second = evaluate(BOTH, [two_events(1, 1000, 1110), two_events(2, 1300, 1000)])
    assert by_event(first)["search"].crossed is False
    assert by_event(second)["search"].state == "significant_gain"
    assert by_event(second)["search"].effect == 0


def test_a_verdict_stays_with_the_sign_of_its_first_crossing_and_says_when_the_effect_turned() -> None:
    found = [
        by_event(o)["click"] for o in evaluate(BOTH, [two_events(1, 1300, 1000), two_events(2, 500, 1000)])
    ]
    assert [(r.state, r.note) for r in found] == [
        ("significant_gain", None),
        ("significant_gain", "effect_reversed"),
    ]
    assert found[1].z is not None
    assert found[1].z < -10


def test_always_valid_p_of_decision_metrics_is_adjusted_by_holm() -> None:
    (outcome,) = evaluate(BOTH, [two_events(1, 1300, 1110)])
    found = by_event(outcome)
    one, other = (4 * found[event].p_value for event in ("click", "search"))  # type: ignore[operator]
    assert found["click"].p_always_valid == pytest.approx(2 * one)
    assert found["search"].p_always_valid == pytest.approx(max(2 * one, other))


# -- reasons in their order ----------------------------------------------------------------------------------------

GOOD = actors(10_000, 1000)


@pytest.mark.parametrize(
    ("changes", "control", "treatment", "reason"),
    [
        ({"problem": "plan_missing"}, GOOD, (0, {"search": (1, 1, 1)}), "inconsistent_counts"),
        ({"problem": "no_control"}, GOOD, actors(0, 0), "srm_alarm"),
        ({"problem": "no_control", "srm_alpha": 1e-290}, actors(99, 9), actors(0, 0), "no_control"),
        ({}, actors(5, 0), actors(0, 0), "empty_group"),
        ({}, actors(99, 50), actors(99, 50), "too_few_users"),
        ({}, actors(100, 39), actors(100, 40), "too_few_actors"),
        ({"min_users": 0, "min_actors": 0}, actors(50, 0), actors(50, 0), "zero_variance"),
        ({}, actors(100, 100), actors(100, 100), "zero_variance"),
        ({}, actors(100, 40), actors(100, 40), None),
    ],
)
def test_the_first_reason_that_holds_is_given(
    changes: dict[str, Any], control: tuple[int, Events], treatment: tuple[int, Events], reason: str | None
) -> None:
    (found,) = rows(plan(**changes), [given(1, {"C": control, "T": treatment})])
    assert found.reason == reason
    assert (found.boundary is None) == (reason is not None)


def test_a_single_user_has_no_variance_of_volume() -> None:
    lonely = plan(min_users=0, min_actors=0)
    (outcome,) = evaluate(lonely, [given(1, {"C": actors(1, 1), "T": actors(5, 3)})])
    assert one_row(outcome, metric="volume", role="exploratory").reason == "group_too_small"


def test_a_look_that_learnt_hardly_anything_is_deferred_and_keeps_what_it_has() -> None:
    again = msgspec.structs.replace(WORKED[0], look=2, scheduled_ms=WORKED[1].scheduled_ms)
    first, second, third = rows(plan(), [WORKED[0], again, WORKED[2]])
    assert (second.reason, second.boundary, second.state) == (
        "no_information_growth",
        None,
        "no_difference_yet",
    )
    assert second.alpha_spent == first.alpha_spent
    assert second.z == first.z
    assert third.alpha_spent == rows(plan(), WORKED)[2].alpha_spent


def test_before_the_sixth_hour_there_is_nothing_to_spend() -> None:
    looks = [
        given(h, {"C": actors(1000 * h, 100 * h), "T": actors(1000 * h, 100 * h)}, hour=h) for h in (5, 6)
    ]
    found = rows(plan(look_every_hours=1.0), looks)
    assert [(r.reason, r.state) for r in found] == [
        ("nothing_to_spend", "collecting"),
        (None, "no_difference_yet"),
    ]


def test_a_period_that_was_never_tested_ends_with_insufficient_data_and_its_reason() -> None:
    (found,) = rows(plan(), [given(4, {"C": actors(99, 50), "T": actors(99, 50)})])
    assert (found.state, found.final, found.reason) == ("insufficient_data", True, "too_few_users")


def test_a_period_without_a_crossing_ends_with_no_difference() -> None:
    (found,) = rows(plan(), [given(4, {"C": GOOD, "T": GOOD})])
    assert (found.state, found.final, found.reason) == ("final_no_difference", True, None)


# -- sample ratio --------------------------------------------------------------------------------------------------

BAD_SPLIT = given(3, {"C": actors(12_000, 560), "T": actors(13_100, 680)})


def test_a_sample_ratio_alarm_blocks_and_stays_and_withholds_what_has_crossed() -> None:
    gain = given(2, {"C": actors(9000, 320), "T": actors(9100, 480)})
    found = rows(plan(), [WORKED[0], gain, BAD_SPLIT, WORKED[3]])
    assert [r.state for r in found[1:]] == ["significant_gain", "blocked_srm", "blocked_srm"]
    assert [(r.crossed, r.withheld) for r in found[1:]] == [(True, False), (True, True), (True, True)]
    assert [r.reason for r in found[1:]] == [None, "srm_alarm", "srm_alarm"]
    assert found[3].srm_p == found[2].srm_p < 0.001
    assert found[3].boundary is not None, "figures are stored all the same"


def test_users_of_several_groups_alone_may_raise_the_alarm() -> None:
    looks = [given(1, {"C": actors(12_000, 500), "T": actors(12_000, 500)}, multiple={"C": 1200})]
    (found,) = rows(plan(), looks)
    assert (found.srm_p, found.state) == (1.0, "blocked_srm")
    assert found.srm_first_p < 0.001
    assert found.note == "multiple_exposures"


def test_evidence_is_added_over_stretches_of_constant_weights() -> None:
    def stretch(c: int, t: int, w: float) -> Stretch:
        return Stretch(0, 1, {"C": 1 - w, "T": w}, {"C": c, "T": t}, {"C": 0, "T": 0})

    base = given(1, {"C": actors(14_500, 900), "T": actors(5800, 400)})
    looks = msgspec.structs.replace(base, stretches=[stretch(5000, 5300, 0.5), stretch(9500, 500, 0.05)])
    (found,) = rows(plan(), [looks])
    assert found.srm_log_e == pytest.approx(2.77049215 - 1.20046675, abs=2e-8)


def test_a_stretch_with_fewer_than_two_groups_says_nothing() -> None:
    base = given(1, {"C": GOOD, "T": GOOD})
    alone = Stretch(0, 1, {"C": 1.0}, {"C": 10_000}, {"C": 0})
    nobody = Stretch(0, 1, {}, {}, {})
    (found,) = rows(plan(), [msgspec.structs.replace(base, stretches=[alone, nobody])])
    assert (found.srm_log_e, found.srm_p) == (0.0, 1.0)


# -- guardrails, exploratory, gambler's ruin, confidence sequence --------------------------------------------------


def guarded(harm: str) -> Plan:
    return plan(guardrails=[Guardrail("search", "propensity", harm)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("harm", "a", "states"),
    [
        ("drop", 1300, ("significant_gain", "no_difference_yet")),
        ("drop", 750, ("significant_drop", "significant_drop")),
        ("rise", 1300, ("significant_gain", "significant_gain")),
        ("rise", 750, ("significant_drop", "no_difference_yet")),
    ],
)
def test_a_guardrail_sees_harm_alone(harm: str, a: int, states: tuple[str, str]) -> None:
    (outcome,) = evaluate(guarded(harm), [given(2, {"C": GOOD, "T": actors(10_000, a)})])
    assert (one_row(outcome).state, one_row(outcome, role="guardrail").state) == states


def test_a_guardrail_has_one_sided_pocock_bounds_at_its_own_level() -> None:
    looks = [given(k, {"C": actors(5000 * k, 500 * k), "T": actors(5000 * k, 500 * k)}) for k in (1, 2, 3, 4)]
    found = rows(guarded("drop"), looks, role="guardrail")
    assert [r.level for r in found] == [0.025] * 4
    assert found[0].boundary == pytest.approx(2.36832770, abs=1e-7)
    assert found[-1].alpha_spent == pytest.approx(0.025)
    assert {r.method for r in found} == {"alpha-spending"}


def test_beyond_a_hundred_exploratory_comparisons_their_p_isnt_computed() -> None:
    events = [f"e{i}" for i in range(EXPLORATORY_WITH_P // 2 + 1)]
    many = plan(events=events, decision=[DecisionMetric("e0", "propensity")])
    sums: Events = dict.fromkeys(events, (1000, 1000, 1000))
    (outcome,) = evaluate(many, [given(2, {"C": (10_000, sums), "T": (10_000, sums)})])
    assert len([r for r in outcome.records if r.role == "exploratory"]) == EXPLORATORY_WITH_P + 1
    assert {r.p_always_valid for r in outcome.records if r.role == "exploratory"} == {None}
    assert one_row(outcome).p_always_valid == 1.0


RUIN = plan(method="gamblers-ruin", ruin_conversions=808, ruin_lead=56)


def test_gamblers_ruin_is_decided_by_the_lead_within_its_conversions_and_needs_no_gate() -> None:
    looks = [
        given(1, {"C": actors(5, 0), "T": actors(5, 1)}),
        given(2, {"C": actors(999, 300), "T": actors(999, 356)}),
    ]
    found = rows(RUIN, looks)
    assert [(r.state, r.reason, r.boundary) for r in found] == [
        ("no_difference_yet", None, 56.0),
        ("significant_gain", None, 56.0),
    ]
    assert {r.p_always_valid for r in found} == {None}


def test_an_exhausted_plan_is_final_and_a_later_lead_doesnt_count() -> None:
    looks = [
        given(k, {"C": actors(999, c), "T": actors(999, t)})
        for k, (c, t) in enumerate([(404, 404), (404, 500)], 1)
    ]
    found = rows(RUIN, looks)
    assert [(r.state, r.final, r.reason, r.crossed) for r in found] == [
        ("final_no_difference", True, None, False),
        ("final_no_difference", True, "plan_exhausted", False),
    ]


def test_gamblers_ruin_says_nothing_of_a_volume() -> None:
    (outcome,) = evaluate(RUIN, [given(2, {"C": actors(999, 300), "T": actors(999, 356)})])
    found = one_row(outcome, metric="volume", role="exploratory")
    assert (found.reason, found.crossed, found.boundary) == ("plan_missing", False, None)


def test_a_confidence_sequence_has_the_golden_interval() -> None:
    wide = plan(method="confidence-sequence", expected_users=90_189, srm_alpha=1e-9)
    day7 = given(4, {"C": actors(44_700, 8502), "T": actors(45_489, 8279)})
    (found,) = rows(wide, [day7])
    assert (found.interval_low, found.interval_high) == pytest.approx(
        (-0.0160686025, -0.0003339941), abs=1e-9
    )
    assert found.p_always_valid == pytest.approx(0.035068891, abs=5e-10)
    assert found.state == "significant_drop"


def test_bonferroni_of_the_public_data_set_has_the_golden_interval() -> None:
    twelve = plan(method="bonferroni", bonferroni_looks=12)
    day7 = given(12, {"C": actors(44_700, 8502), "T": actors(45_489, 8279)}, hour=72)
    (found,) = rows(twelve, [day7])
    assert (found.interval_low, found.interval_high) == pytest.approx(
        (-0.0156280930, -0.0007745036), abs=1e-9
    )
    assert found.p_always_valid == pytest.approx(0.0186509997, abs=1e-9)
    assert (found.state, found.final) == ("significant_drop", True)


def test_a_level_above_a_fifth_has_a_p_where_it_is_crossed() -> None:
    lenient = plan(alpha=0.3, guardrails=[Guardrail("search", "propensity", "rise")], guardrail_alpha=0.3)
    (outcome,) = evaluate(lenient, [given(4, {"C": GOOD, "T": actors(10_000, 1050)})])
    found, guard = one_row(outcome), one_row(outcome, role="guardrail")
    assert (found.state, guard.state) == ("significant_gain", "significant_gain")
    assert found.p_value == pytest.approx(0.2441, abs=1e-3)
    assert found.p_always_valid == pytest.approx(found.p_value, rel=1e-6)
    assert guard.p_always_valid == pytest.approx(0.12205, abs=1e-3)


# -- alerts --------------------------------------------------------------------------------------------------------


def kinds(plan: Plan, looks: Sequence[LookInput]) -> list[list[str]]:
    return [[edge.kind for edge in outcome.edges] for outcome in evaluate(plan, looks)]


def test_a_verdict_is_told_once_at_its_first_look() -> None:
    assert kinds(plan(), WORKED) == [[], [], ["significant_gain"], []]


def test_a_guardrail_is_told_once_and_exploratory_crossings_never() -> None:
    looks = [given(k, {"C": actors(9000 + k, 1000), "T": actors(9000 + k, 700)}) for k in (2, 3)]
    assert kinds(guarded("drop"), looks) == [["significant_drop", "guardrail"], []]


def test_a_sample_ratio_alarm_is_told_once_and_silences_verdicts() -> None:
    gain = given(3, {"C": actors(12_000, 500), "T": actors(13_300, 900)})
    assert kinds(plan(), [gain, msgspec.structs.replace(gain, look=4)]) == [["srm"], []]


# -- odd input -----------------------------------------------------------------------------------------------------


def test_a_look_that_isnt_later_than_the_last_is_refused() -> None:
    evaluator = PeriodEvaluator("feed", START, plan())
    evaluator.look(WORKED[1], evaluated_ms=0, version="v")
    with pytest.raises(ValueError, match="look 2 comes after look 2"):
        evaluator.look(WORKED[1], evaluated_ms=0, version="v")


def test_records_name_the_plan_the_time_and_the_version() -> None:
    found = rows(plan(), WORKED)[1]
    assert (found.plan_hash, found.scheduled_ms) == (plan_hash(plan()), START + 36 * HOUR)
    assert (found.evaluated_ms, found.version, found.look, found.level) == (7, "v", 2, 0.05)


@pytest.mark.parametrize("split", [(-1, 0), (10, 11), (10, -1)])
def test_exposures_that_no_users_have_make_all_inconsistent_and_no_evidence(split: tuple[int, int]) -> None:
    users, again = split
    stretch = Stretch(0, 1, {"C": 0.5, "T": 0.5}, {"C": users, "T": 10}, {"C": again, "T": 0})
    broken = msgspec.structs.replace(WORKED[2], stretches=[stretch])
    found = rows(plan(), [WORKED[1], broken, WORKED[3]])
    assert (found[1].reason, found[1].srm_log_e, found[1].srm_first_log_e) == (
        "inconsistent_counts",
        None,
        None,
    )
    assert found[1].state == "no_difference_yet"
    assert found[2].reason is None


def test_a_guardrail_that_is_declared_against_both_directions_or_on_nothing_tracked_is_one_or_none() -> None:
    odd = plan(
        guardrails=[
            Guardrail("search", "volume", "drop"),
            Guardrail("search", "volume", "rise"),
            Guardrail("untracked", "volume", "rise"),
        ]
    )
    (outcome,) = evaluate(odd, WORKED[:1])
    assert [r.event for r in outcome.records if r.role == "guardrail"] == ["search"]


ABSURD = [
    (0, 0, 0, 0),
    (-5, 0, 0, 0),
    (10, -1, -1, -1),
    (10, 5, 3, 2),
    (10, 3, 5, 11),
    (2**62, 2**62, 2**62, 2**62),
    (2**40, 2**50, 2**62, 2**39),
    (1, 1, 1, 1),
    (2, 2**31, 2**61, 2),
    (100, 40, 40, 40),
]


@pytest.mark.parametrize("method", ["alpha-spending", "bonferroni", "confidence-sequence", "gamblers-ruin"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"min_users": 0, "min_actors": 0},
        {"min_users": 0, "min_actors": 0, "alpha": 0.499, "guardrail_alpha": 0.499},
        {"min_users": 0, "min_actors": 0, "alpha": 1e-12, "guardrail_alpha": 1e-12, "min_spend": 1e-300},
        {"treatments": []},
        {"control": "nobody"},
        {"events": [], "decision": []},
        {"srm_prior": 1e-6, "srm_alpha": 0.49},
        {"expected_users": 1, "min_growth": 1e-12, "min_users": 0, "min_actors": 0},
    ],
)
def test_absurd_counts_and_plans_give_neither_nan_nor_an_error(method: str, changes: dict[str, Any]) -> None:
    odd = plan(
        **{
            "method": method,
            "guardrails": [Guardrail("search", "volume", "drop")],
            "ruin_conversions": 100,
            "ruin_lead": 10,
            "bonferroni_looks": 288,
            "look_every_hours": 0.25,
            **changes,
        }
    )
    groups = [odd.control, *odd.treatments]
    evaluator = PeriodEvaluator("feed", START, odd)
    look = 0
    for i, control in enumerate(ABSURD):
        for treatment in ABSURD[i:]:
            look += 1
            sums = {
                name: GroupSums(n, 0, {event: EventSums(s1, s2, a) for event in odd.events})
                for name, (n, s1, s2, a) in zip(groups, (control, treatment), strict=False)
            }
            stretch = Stretch(
                0,
                1,
                dict.fromkeys(groups, 0.5),
                {g: s.users for g, s in sums.items()},
                dict.fromkeys(groups, 0),
            )
            base = given(look, {"C": GOOD}, hour=look / 4)
            one = msgspec.structs.replace(base, groups=sums, stretches=[stretch])
            for record in evaluator.look(one, evaluated_ms=0, version="v").records:
                values = [v for v in msgspec.structs.astuple(record) if isinstance(v, float)]
                assert all(map(math.isfinite, values))
