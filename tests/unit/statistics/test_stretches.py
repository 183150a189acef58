"""From frozen sums to a look's input: what the plan compares, and stretches of constant weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from rtexp.statistics.looks import EventSums, FrozenSums, GroupSums, LookInput
from rtexp.statistics.stretches import Share, look_input, weights_at

if TYPE_CHECKING:
    from collections.abc import Mapping

BUCKET = 900_000
START = 1_699_999_200_000


def at(buckets: float) -> int:
    return START + round(buckets * BUCKET)


def frozen(
    exposures: dict[tuple[int, str], tuple[int, int]],
    *,
    until: float = 8,
    period_start_ms: int = START,
    sums: Mapping[tuple[str, str], tuple[int, ...]] | None = None,
) -> FrozenSums:
    """``exposures`` by (number of the bucket, group); every group is of the first four letters."""
    series = sums or {}
    ordered = sorted(exposures.items())
    return FrozenSums(
        "feed",
        period_start_ms,
        at(until),
        [group for group, _ in series],
        [event for _, event in series],
        np.array(list(series.values()), "<i8").reshape(-1, 5).tobytes(),
        [START + bucket * BUCKET for (bucket, _), _ in ordered],
        [group for (_, group), _ in ordered],
        [n for _, (n, _) in ordered],
        [again for _, (_, again) in ordered],
    )


def taken(sums: FrozenSums, shares: list[Share], groups: str = "ab") -> LookInput:
    return look_input(sums, 3, groups=list(groups), events=["click"], shares=shares, bucket_ms=BUCKET)


def counted(found: LookInput) -> list[tuple[float, float, dict[str, float], dict[str, int]]]:
    """Return (start, end, weights, exposures) of each stretch, in buckets since START."""
    return [
        ((s.start_ms - START) / BUCKET, (s.end_ms - START) / BUCKET, s.weights, s.exposures)
        for s in found.stretches
    ]


EVEN = [Share("a", 5, START), Share("b", 5, START)]
ONE_EACH = {(bucket, group): (10**bucket, 0) for bucket in range(8) for group in "ab"}
HALF = {"a": 0.5, "b": 0.5}


def sum_of(*buckets: int) -> int:
    return sum(10**bucket for bucket in buckets)


def both(n: int) -> dict[str, int]:
    return {"a": n, "b": n}


def test_constant_weights_are_one_stretch_with_all_users() -> None:
    assert counted(taken(frozen(ONE_EACH), EVEN)) == [(0, 8, HALF, both(sum_of(*range(8))))]


def test_a_bucket_in_which_weights_change_belongs_to_no_stretch() -> None:
    found = counted(taken(frozen(ONE_EACH), [*EVEN, Share("b", 15, at(3.5))]))
    assert found == [
        (0, 3.5, HALF, both(sum_of(0, 1, 2))),
        (3.5, 8, {"a": 0.25, "b": 0.75}, both(sum_of(4, 5, 6, 7))),
    ]


def test_weights_that_change_on_the_edge_of_a_bucket_lose_none() -> None:
    found = counted(taken(frozen(ONE_EACH), [*EVEN, Share("b", 15, at(3))]))
    assert [exposures for *_, exposures in found] == [both(sum_of(0, 1, 2)), both(sum_of(3, 4, 5, 6, 7))]


def test_allocations_that_grow_in_step_change_no_weight() -> None:
    grown = [*EVEN, Share("a", 20, at(3.5)), Share("b", 20, at(3.5))]
    assert counted(taken(frozen(ONE_EACH), grown)) == [(0, 8, HALF, both(sum_of(*range(8))))]


def test_allocations_that_grow_one_after_the_other_lose_the_buckets_of_both_changes() -> None:
    grown = [*EVEN, Share("a", 15, at(3.2)), Share("b", 15, at(4.2))]
    found = counted(taken(frozen(ONE_EACH), grown))
    assert [exposures for *_, exposures in found] == [both(sum_of(0, 1, 2)), both(0), both(sum_of(5, 6, 7))]


def test_weights_that_return_are_a_stretch_of_their_own() -> None:
    found = counted(taken(frozen(ONE_EACH), [*EVEN, Share("b", 15, at(2)), Share("b", 5, at(5))]))
    assert [(weights, exposures["a"]) for *_, weights, exposures in found] == [
        (HALF, sum_of(0, 1)),
        ({"a": 0.25, "b": 0.75}, sum_of(2, 3, 4)),
        (HALF, sum_of(5, 6, 7)),
    ]


def test_two_changes_within_a_bucket_leave_it_to_no_stretch() -> None:
    found = counted(taken(frozen(ONE_EACH), [*EVEN, Share("b", 15, at(2.3)), Share("b", 5, at(2.6))]))
    assert [exposures["a"] for *_, exposures in found] == [sum_of(0, 1), 0, sum_of(3, 4, 5, 6, 7)]


def test_a_group_whose_weight_is_zero_is_left_out_meanwhile() -> None:
    three = {(bucket, group): (10**bucket, 1) for bucket in range(8) for group in "abc"}
    shares = [*EVEN, Share("c", 10, START), Share("c", 0, at(2)), Share("c", 10, at(5))]
    found = taken(frozen(three), shares, "abc").stretches
    assert [list(s.weights) for s in found] == [["a", "b", "c"], ["a", "b"], ["a", "b", "c"]]
    assert found[1].exposures == both(sum_of(2, 3, 4))
    assert found[1].multiple == {"a": 3, "b": 3}


def test_time_without_any_allocation_is_a_stretch_of_nobody() -> None:
    off = [*EVEN, Share("a", 0, at(2)), Share("b", 0, at(2))]
    assert counted(taken(frozen(ONE_EACH), off))[1] == (2, 8, {}, {})


def test_a_period_that_begins_within_a_bucket_has_that_bucket() -> None:
    begun = at(0.4)
    shares = [Share("a", 5, begun), Share("b", 5, begun)]
    found = taken(frozen(ONE_EACH, until=8.4, period_start_ms=begun), shares)
    assert [s.exposures for s in found.stretches] == [both(sum_of(*range(8)))]


def test_a_change_within_the_first_bucket_leaves_it_to_no_stretch() -> None:
    begun = at(0.4)
    shares = [Share("a", 5, begun), Share("b", 5, begun), Share("b", 15, at(0.8))]
    found = taken(frozen(ONE_EACH, until=8.4, period_start_ms=begun), shares)
    assert [s.exposures["a"] for s in found.stretches] == [0, sum_of(*range(1, 8))]


def test_the_last_bucket_counts_unless_weights_change_in_it() -> None:
    within = frozen(ONE_EACH, until=7.4)  # the last look of a period that ends there counts all
    assert counted(taken(within, EVEN))[0][3] == both(sum_of(*range(8)))
    found = counted(taken(within, [*EVEN, Share("b", 15, at(7.2))]))
    assert [exposures["a"] for *_, exposures in found] == [sum_of(*range(7)), 0]


@pytest.mark.parametrize("later", [8, 9])
def test_a_change_at_the_look_or_after_it_says_nothing(later: float) -> None:
    assert len(taken(frozen(ONE_EACH), [*EVEN, Share("b", 15, at(later))]).stretches) == 1


def test_allocations_before_the_period_give_the_weights_at_its_start() -> None:
    before = [Share("a", 1, at(-9)), Share("b", 1, at(-9)), Share("b", 3, START)]
    assert weights_at(["a", "b"], before, START) == {"a": 0.25, "b": 0.75}
    assert counted(taken(frozen(ONE_EACH), before))[0][2] == {"a": 0.25, "b": 0.75}


def test_sums_are_those_of_the_plans_groups_and_events_and_zero_where_nothing_was_counted() -> None:
    sums = {
        ("a", ""): (0, 0, 0, 9, 2),
        ("a", "click"): (5, 3, 11, 0, 0),
        ("a", "other"): (1, 1, 1, 0, 0),
        ("z", "click"): (1, 1, 1, 0, 0),
    }
    found = taken(frozen({}, sums=sums), EVEN)
    assert found.groups == {
        "a": GroupSums(9, 2, {"click": EventSums(s1=5, s2=11, a=3)}),
        "b": GroupSums(0, 0, {"click": EventSums(0, 0, 0)}),
    }
    assert (found.look, found.scheduled_ms) == (3, at(8))
