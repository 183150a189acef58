"""Decision rules: what a path means at a level, whichever levels were asked before."""

from __future__ import annotations

import pytest

from rtexp.statistics.methods import (
    NOTHING_SEEN,
    AlphaSpending,
    Bonferroni,
    ConfidenceSequence,
    GamblersRuin,
    Path,
    Rule,
    Seen,
)
from rtexp.statistics.undefined import Reason


def spending(path: Path, *, ceiling: float = 0.2) -> AlphaSpending:
    return AlphaSpending(
        path, spending="obf", sides=2, min_growth=0.002, min_spend=1e-15, with_p=True, ceiling=ceiling
    )


RULES = [
    spending,
    lambda path: Bonferroni(path, looks=3),
    lambda path: ConfidenceSequence(path, rho_squared=0.001),
    lambda path: GamblersRuin(path, conversions=100, lead=10),
]


def looks(*z: float) -> list[Seen]:
    return [Seen(k / len(z), 1000.0 * k, one, 0.01, 20, 30) for k, one in enumerate(z, start=1)]


@pytest.mark.parametrize("make", RULES)
def test_a_rule_that_has_seen_nothing_says_nothing(make: object) -> None:
    rule: Rule = make(Path())  # type: ignore[operator]
    assert rule.answer(0.05) == NOTHING_SEEN


@pytest.mark.parametrize("make", RULES)
def test_what_was_asked_before_changes_no_answer(make: object) -> None:
    asked: Rule = make(Path())  # type: ignore[operator]
    for seen in looks(1, 2, 2.5):
        asked.see(seen)
        asked.answer(0.05)
        asked.answer(0.01)
        asked.forget_levels(0.05)
    fresh: Rule = make(asked.path)  # type: ignore[operator]
    assert [fresh.answer(level) for level in (0.05, 0.01)] == [asked.answer(level) for level in (0.05, 0.01)]
    assert len(asked.path.seen) == 3


@pytest.mark.parametrize(
    ("z", "p"), [((1, 2, 2.5), 0.01297508), ((1, 2.6, 1), 0.04187897), ((0, 0, 1.96), 0.05418740)]
)
def test_alpha_spending_keeps_the_golden_sequential_p(z: tuple[float, ...], p: float) -> None:
    rule = spending(Path())
    for seen in looks(*z):
        rule.see(seen)
    assert rule.path.p == pytest.approx(p, abs=5e-9)


def test_levels_above_the_usual_ceiling_have_a_p_where_they_cross() -> None:
    rule = spending(Path(), ceiling=0.4)
    rule.see(Seen(1.0, 1000.0, 1.0, 0.3, 0, 0))
    assert rule.answer(0.4).direction == 1
    assert rule.path.p == pytest.approx(0.3173105, abs=1e-6)


def test_the_direction_is_that_of_the_first_crossing() -> None:
    rule = spending(Path())
    for seen in looks(-5, 5, 5):
        rule.see(seen)
    assert rule.answer(0.05).direction == -1


def test_bonferroni_crosses_below_its_share_and_adjusts_by_all_looks() -> None:
    rule = Bonferroni(Path(), looks=5)
    rule.see(Seen(0.2, 1, 2.6, 0.01, 0, 0))
    answer = rule.answer(0.05)
    assert (answer.direction, rule.path.p) == (0, 0.05), "not below its share"
    assert answer.boundary == pytest.approx(2.575829, abs=5e-7)
    rule.see(Seen(0.4, 1, -2.7, 0.0099, 0, 0))
    assert rule.answer(0.05).direction == -1
    assert rule.path.p == pytest.approx(0.0495)


def test_the_running_p_of_a_confidence_sequence_never_rises() -> None:
    rule = ConfidenceSequence(Path(), rho_squared=0.001)
    for p in (0.2, 0.04, 0.9):
        rule.see(Seen(0.5, 1000, 1.0, p, 0, 0))
    assert rule.path.p == 0.04
    assert (rule.answer(0.05).direction, rule.answer(0.03).direction) == (1, 0)


@pytest.mark.parametrize(
    ("actors", "direction", "deferred", "exhausted"),
    [
        ((20, 29), 0, None, False),
        ((20, 30), 1, None, False),
        ((30, 20), -1, None, False),
        ((45, 55), 1, None, True),
        ((50, 50), 0, None, True),
        ((45, 56), 0, Reason.PLAN_EXHAUSTED, True),
    ],
)
def test_gamblers_ruin_needs_the_lead_within_its_conversions(
    actors: tuple[int, int], direction: int, deferred: Reason | None, *, exhausted: bool
) -> None:
    rule = GamblersRuin(Path(), conversions=100, lead=10)
    rule.see(Seen(0.5, 1, actors[1] - actors[0], 0.5, *actors))
    answer = rule.answer(0.05)
    assert (answer.direction, answer.deferred, rule.exhausted) == (direction, deferred, exhausted)
