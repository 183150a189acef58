from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

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
from rtexp.statistics.undefined import Reason

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_trace_of_actions_an_undo_and_a_retraction_gives_the_sums_of_the_specification() -> None:
    changes = [
        *[FIRST_EXPOSURE] * 3,
        acted(0),  # a
        acted(1),  # a
        acted(0),  # b
        acted(2),  # a
        undone(1),  # b
        acted(0),  # c
        acted(1),  # c
        retracted(3),  # a
    ]
    assert [total(changes[: end + 1]) for end in range(3, len(changes))] == [
        (3, 1, 1, 1), (3, 2, 4, 1), (3, 3, 5, 2), (3, 4, 10, 2),
        (3, 3, 9, 1), (3, 4, 10, 2), (3, 5, 13, 2), (2, 2, 4, 1),
    ]  # fmt: skip


def test_nothing_at_all_sums_up_to_nobody() -> None:
    assert total([]) == Counts(0, 0, 0, 0) == recounted([])


def test_actions_beyond_the_cap_change_nothing() -> None:
    assert [acted(k, cap=2) for k in range(4)] == [(0, 1, 1, 1), (0, 1, 3, 0), (0, 0, 0, 0), (0, 0, 0, 0)]
    assert recounted([0, 1, 9], cap=2) == (3, 3, 5, 2)


@pytest.mark.parametrize(("change", "actions"), [(undone, 0), (retracted, -1), (acted, -1)])
def test_a_change_that_would_leave_fewer_than_no_actions_is_refused(
    change: Callable[[int], Counts], actions: int
) -> None:
    with pytest.raises(ValueError, match="fewer than 0 actions"):
        change(actions)


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param(Counts(0, 0, 0, 0), id="nobody"),
        pytest.param(Counts(5, 0, 0, 0), id="nobody acted"),
        pytest.param(Counts(1, 3, 9, 1), id="all actions are one user's"),
        pytest.param(Counts(5, 10, 34, 4), id="of users"),
    ],
)
def test_counts_of_users_are_consistent(counts: Counts) -> None:
    assert violation(counts) is None


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param(Counts(-1, 0, 0, 0), id="fewer than no users"),
        pytest.param(Counts(5, 0, 0, -1), id="fewer than no actors"),
        pytest.param(Counts(3, 4, 4, 4), id="more actors than users"),
        pytest.param(Counts(9, 3, 5, 4), id="more actors than actions"),
        pytest.param(Counts(9, 4, 2, 2), id="squares below actions"),
        pytest.param(Counts(9, 9, 11, 2), id="squares below what equal users have"),
        pytest.param(Counts(9, 3, 6, 3), id="sum odd, squares even"),
        pytest.param(Counts(9, 0, 2, 0), id="squares without actors"),
        pytest.param(Counts(9, 2, 2, 0), id="actions without actors"),
    ],
)
def test_counts_that_no_users_have_are_a_violation(counts: Counts) -> None:
    assert violation(counts) is Reason.INCONSISTENT_COUNTS


def test_the_squares_of_great_counts_from_numpy_do_not_overflow() -> None:
    great = 2**40
    assert violation(Counts(*np.array([great, great, great, great]))) is None
    assert violation(Counts(*np.array([great, great, great - 2, great]))) is Reason.INCONSISTENT_COUNTS


def test_for_sums_of_other_values_than_actions_parity_means_nothing() -> None:
    assert violation(Counts(10, 100, 1002.25, 10)) is None  # type: ignore[arg-type]  # a mean of amounts
