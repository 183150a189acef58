"""Laws of alpha spending over any schedule of looks and any growth of information."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from rtexp.statistics.boundaries import GroupSequentialTest
from rtexp.statistics.sequential_p import SequentialP
from rtexp.statistics.spending import spent
from rtexp.statistics.surviving import SurvivingDensity

if TYPE_CHECKING:
    from rtexp.statistics.boundaries import LookBound
    from rtexp.statistics.spending import Sides, Spending

    Looks = list[tuple[float, float, float]]

SPENDING = st.sampled_from(["obf", "pocock"])
SIDES = st.sampled_from([1, 2])
LEVELS = st.floats(1e-6, 0.5)


@st.composite
def looks(draw: st.DrawFn, most: int = 12) -> Looks:
    """Draw looks (t, information, z) in order of t; information may fall now and then."""
    hours = sorted(draw(st.sets(st.integers(1, 72), min_size=1, max_size=most)))
    information, found = 0.0, []
    for hour in hours:
        information = max(1.0, information + draw(st.floats(-5, 100)))
        found.append((hour / 72, information, draw(st.floats(-6, 6))))
    return found


def evaluated(path: Looks, **options: Any) -> list[tuple[tuple[float, float, float], LookBound]]:
    test = GroupSequentialTest(**options)
    return [(look, test.add(*look)) for look in path]


@given(looks(), SPENDING, SIDES, LEVELS)
def test_what_the_looks_spend_is_what_the_function_gives_by_the_last(
    path: Looks, spending: Spending, sides: Sides, alpha: float
) -> None:
    found = [
        (look, got) for look, got in evaluated(path, spending=spending, alpha=alpha, sides=sides) if got.bound
    ]
    assume(found)
    (t, *_), last = found[-1]
    assert last.alpha_spent == pytest.approx(spent(spending, t, alpha, sides), abs=1e-10)


@given(looks(), SPENDING, SIDES, LEVELS)
def test_the_bounds_are_crossed_with_the_probability_that_was_spent(
    path: Looks, spending: Spending, sides: Sides, alpha: float
) -> None:
    found = [
        (look, got) for look, got in evaluated(path, spending=spending, alpha=alpha, sides=sides) if got.bound
    ]
    assume(found)
    density, total = SurvivingDensity(sides), 0.0
    for (_, information, _), got in found:
        assert got.bound is not None
        total += density.pass_by(information, got.bound).probability()
    assert total == pytest.approx(found[-1][1].alpha_spent, abs=1e-8)
    assert total == pytest.approx(found[-1][1].alpha_spent, rel=1e-8)


@given(SPENDING, SIDES, LEVELS)
def test_one_look_at_the_end_is_the_fixed_test(spending: Spending, sides: Sides, alpha: float) -> None:
    got = GroupSequentialTest(spending=spending, alpha=alpha, sides=sides).add(1, 123.0, 0.0)
    assert got.bound == pytest.approx(-ndtri(alpha / sides), abs=1e-9)


@given(looks(), SPENDING, SIDES, LEVELS, st.floats(1e-6, 1e6))
def test_the_unit_of_information_changes_no_bound(
    path: Looks, spending: Spending, sides: Sides, alpha: float, factor: float
) -> None:
    options = {"spending": spending, "alpha": alpha, "sides": sides}
    scaled = [(t, information * factor, z) for t, information, z in path]
    for (_, one), (_, other) in zip(evaluated(path, **options), evaluated(scaled, **options), strict=True):
        # At the edge of the least growth, rounding may defer one and not the other.
        assume(one.deferred == other.deferred)
        assert (one.bound is None) == (other.bound is None)
        assert one.bound is None or one.bound == pytest.approx(other.bound, abs=1e-9)


@given(SPENDING, SIDES, st.floats(1e-6, 0.9), st.floats(1.001, 10))
def test_bounds_fall_when_alpha_rises(spending: Spending, sides: Sides, alpha: float, factor: float) -> None:
    assume(alpha * factor <= 0.9)
    path = [(k / 12, float(k), 0.0) for k in range(1, 13)]
    strict = evaluated(path, spending=spending, alpha=alpha, sides=sides)
    loose = evaluated(path, spending=spending, alpha=alpha * factor, sides=sides)
    for (_, one), (_, other) in zip(strict, loose, strict=True):
        assert one.bound is None or (other.bound is not None and other.bound < one.bound)


@given(looks(most=8), SPENDING, SIDES)
@settings(deadline=None)
def test_p_never_rises_and_is_at_most_alpha_iff_the_test_at_alpha_has_crossed(
    path: Looks, spending: Spending, sides: Sides
) -> None:
    # p is read off looks that were evaluated; at 5 %, as a plan would.
    path = [look for look, got in evaluated(path, spending=spending, alpha=0.05, sides=sides) if got.bound]
    assume(path)
    carried, last = SequentialP(spending=spending, sides=sides), 1.0
    found = []
    for look in path:
        found.append(carried.add(*look))
        assert 0 < found[-1] <= last
        last = found[-1]
    for alpha in (1e-4, 0.01, 0.05, 0.2):
        crossings = [got.crossed for _, got in evaluated(path, spending=spending, alpha=alpha, sides=sides)]
        for k, p in enumerate(found):
            if abs(p / alpha - 1) > 1e-8:
                assert (p <= alpha) == any(crossings[: k + 1])


@given(looks(), SPENDING, SIDES, LEVELS)
def test_a_replayed_history_gives_the_same_bits(
    path: Looks, spending: Spending, sides: Sides, alpha: float
) -> None:
    options: Any = {"spending": spending, "sides": sides}
    first = [got for _, got in evaluated(path, alpha=alpha, **options)]
    assert [got for _, got in evaluated(path, alpha=alpha, **options)] == first
    carried = SequentialP(ceiling=alpha, **options)
    values = [carried.add(*look) for look in path]
    for k in range(1, len(path) + 1):
        again = SequentialP(ceiling=alpha, **options)
        assert [again.add(*look) for look in path[:k]] == values[:k]


@given(looks(), SPENDING, SIDES, LEVELS)
def test_a_deferred_look_changes_no_bound(
    path: Looks, spending: Spending, sides: Sides, alpha: float
) -> None:
    options = {"spending": spending, "alpha": alpha, "sides": sides}
    with_all = evaluated(path, **options)
    without = evaluated([look for look, got in with_all if got.deferred is None], **options)
    assert [got for _, got in with_all if got.deferred is None] == [got for _, got in without]
