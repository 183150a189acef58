from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln
from tests.unit.statistics.golden import printed

from rtexp.statistics.gamblers_ruin import RuinDecision, RuinDesign, decide, design, least_lead, reach
from rtexp.statistics.undefined import Reason, Undefined


def reach_by_first_passages(conversions: int, lead: int, share: float) -> float:
    """What `reach` is by definition: the chances to be that far ahead for the first time at each step."""
    n = np.arange(lead, conversions + 1, 2)
    wins, losses = (n + lead) // 2, (n - lead) // 2
    ways = gammaln(n + 1) - gammaln(wins + 1) - gammaln(losses + 1)
    return float(np.exp(np.log(lead / n) + ways + wins * np.log(share) + losses * np.log(1 - share)).sum())


def either_reached(conversions: int, lead: int) -> float:
    """The chance that a fair walk is ever that far from 0, on either side, by stepping through all of its states."""
    inside = np.zeros(2 * lead - 1)
    inside[lead - 1] = 1.0
    for _ in range(conversions):
        inside = (np.append(inside[1:], 0.0) + np.append(0.0, inside[:-1])) / 2
    return float(1 - inside.sum())


@pytest.mark.parametrize(
    ("sides", "lift", "expected", "error", "power"),
    [
        (1, 0.05, (11141, 207), ".049868268", ".800017"), (2, 0.05, (13961, 265), ".049824789", ".800004"),
        (1, 0.1, (2922, 106), ".049905844", ".800280"), (2, 0.1, (3668, 136), ".049477495", ".800052"),
        (1, 0.2, (808, 56), ".048902670", ".801344"), (2, 0.2, (1003, 71), ".049988815", ".800838"),
        (1, 0.3, (391, 39), ".048723100", ".800887"), (2, 0.3, (492, 50), ".048462655", ".802552"),
        (1, 0.5, (170, 26), ".046464426", ".806237"), (2, 0.5, (211, 33), ".046395296", ".804603"),
        (1, 1.0, (62, 16), ".042956546", ".812646"), (2, 1.0, (76, 20), ".044066918", ".810936"),
    ],
)  # fmt: skip
def test_a_design_is_the_published_one_with_its_error_and_power(
    sides: int, lift: float, expected: tuple[int, int], error: str, power: str
) -> None:
    plan = design(lift, sides=sides)
    assert (plan.conversions, plan.lead) == expected
    assert sides * reach(plan.conversions, plan.lead) == printed(error)
    assert reach(plan.conversions, plan.lead, (1 + lift) / (2 + lift)) == printed(power)


@pytest.mark.parametrize(("lift", "alpha", "power", "sides"), [(0.5, 0.05, 0.8, 1), (1.0, 0.02, 0.9, 2)])
def test_no_smaller_plan_does(lift: float, alpha: float, power: float, sides: int) -> None:
    plan = design(lift, alpha, power, sides)
    share = (1 + lift) / (2 + lift)
    for conversions in range(1, plan.conversions):
        assert reach(conversions, least_lead(conversions, alpha, sides), share) < power
    assert plan.lead == least_lead(plan.conversions, alpha, sides)


def test_short_walks_are_counted_by_hand() -> None:
    assert [reach(3, 1), reach(4, 2), reach(10, 4)] == [0.625, 0.375, 0.2265625]
    assert reach(4, 5) == reach(0, 1) == 0.0


def test_long_walks_keep_their_digits() -> None:
    assert reach(100, 20) == printed(".0460440669")
    assert reach(1000, 64) == printed(".0430352388")
    assert reach(10000, 200) == printed(".0455056634")


@pytest.mark.parametrize("share", [0.5, 0.512, 0.49, 0.9, 0.02])
def test_reflection_equals_the_sum_of_first_passages(share: float) -> None:
    for conversions, lead in [(7, 7), (8, 7), (50, 3), (808, 56), (807, 56), (13961, 265), (100_000, 709)]:
        assert reach(conversions, lead, share) == pytest.approx(
            reach_by_first_passages(conversions, lead, share), rel=1e-8, abs=1e-300
        )


def test_hardly_any_walk_reaches_both_ends() -> None:
    assert (either := either_reached(1000, 72)) == printed(".0456327560")
    assert 2 * reach(1000, 72) == pytest.approx(either, abs=1e-8)
    assert (either := either_reached(1003, 71)) == printed(".0499888146")
    assert 2 * reach(1003, 71) == pytest.approx(either, abs=1e-8)


@pytest.mark.parametrize(
    ("conversions", "one_sided", "two_sided"),
    [
        (100, 20, 23), (400, 40, 45), (1000, 62, 71), (2500, 99, 113), (10_000, 197, 225), (40_000, 392, 449),
        (100_000, 620, 709),
    ],
)  # fmt: skip
def test_the_least_lead_grows_as_the_root_of_the_conversions(
    conversions: int, one_sided: int, two_sided: int
) -> None:
    assert least_lead(conversions, sides=1) == one_sided
    assert least_lead(conversions, sides=2) == two_sided


def test_within_so_few_conversions_that_nothing_is_rare_no_lead_counts() -> None:
    assert least_lead(1) == 2
    assert least_lead(0) == 1


def test_great_lifts_and_tiny_levels_have_designs() -> None:
    assert design(20.0).conversions < 20
    strict = design(0.2, alpha=0.05 / 80)
    assert 2 * reach(strict.conversions, strict.lead) <= 0.05 / 80


PLAN = RuinDesign(conversions=100, lead=23)


@pytest.mark.parametrize(
    ("control", "treatment", "two_sided", "one_sided"),
    [
        pytest.param(0, 0, "undecided", "undecided", id="nobody acted"),
        pytest.param(10, 33, "treatment_higher", "treatment_higher", id="far enough ahead"),
        pytest.param(10, 32, "undecided", "undecided", id="one short"),
        pytest.param(33, 10, "treatment_lower", "undecided", id="far enough behind"),
        pytest.param(50, 50, "no_difference", "no_difference", id="the last conversion"),
        pytest.param(38, 62, "treatment_higher", "treatment_higher", id="ahead at the last conversion"),
    ],
)
def test_a_look_decides_by_the_lead(control: int, treatment: int, two_sided: str, one_sided: str) -> None:
    assert decide(control, treatment, PLAN) is RuinDecision(two_sided)
    assert decide(control, treatment, PLAN, sides=1) is RuinDecision(one_sided)


def test_a_lead_beyond_the_plans_conversions_does_not_count() -> None:
    assert decide(20, 81, PLAN) == Undefined(Reason.PLAN_EXHAUSTED)


def test_plans_that_contradict_themselves_are_refused() -> None:
    for lift in (0.0, -0.1, 0.0009, float("nan")):
        with pytest.raises(ValueError, match="least rise worth finding"):
            design(lift)
    for power in (0.0, 1.0):
        with pytest.raises(ValueError, match="wanted chance"):
            design(0.1, power=power)
    with pytest.raises(ValueError, match=r"alpha is 0\.5"):
        design(0.1, alpha=0.5)
    for conversions, lead, share in [(10, 0, 0.5), (-1, 1, 0.5), (10, 1, 1.0)]:
        with pytest.raises(ValueError, match="leads begin at 1"):
            reach(conversions, lead, share)
