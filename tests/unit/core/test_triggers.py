"""Columns of triggers: narrow as long as that holds what they are to hold, and exact always."""

from __future__ import annotations

import numpy as np
import pytest

from rtexp.core.columns import widened
from rtexp.core.triggers import Triggers

HOUR = 3_600_000
AT = 1_700_000_000_000


def column(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def triggers_of(arrivals: list[int], ends: list[int]) -> Triggers:
    """One trigger at AT for each user, the first user's first."""
    made = Triggers(events=2, join_delay_ms=0, grace_ms=HOUR)
    made.grow(len(arrivals))
    users = np.arange(len(arrivals))
    made.add(users, users, np.full(len(arrivals), AT), column(*arrivals), column(*ends))
    return made


def test_a_user_of_three_triggers_and_ten_events_takes_less_than_150_bytes_here() -> None:
    made = Triggers(events=10, join_delay_ms=0, grace_ms=HOUR)
    made.grow(1000)
    users = np.repeat(np.arange(1000), 3)
    at = np.full(3000, AT)
    made.add(users, np.tile(np.arange(3), 1000), at, at, at + HOUR)
    columns = [value for value in vars(made).values() if isinstance(value, np.ndarray)]
    assert sum(value.nbytes for value in columns) / 1000 < 150


@pytest.mark.parametrize("before", [0, 65_530, 2**31 - 6])
def test_counts_stay_exact_when_they_outgrow_their_column(before: int) -> None:
    made = triggers_of([AT, AT], [AT + HOUR, AT + HOUR])
    made.set_counts(column(0), column(1), column(before))
    order, counted_before = made.count(np.zeros(10, np.int64), np.ones(10, np.int64))
    assert counted_before[np.argsort(order)].tolist() == list(range(before, before + 10))
    assert made.counts(column(0, 1)).tolist() == [[0, before + 10], [0, 0]]


def test_times_far_from_the_triggers_own_stay_exact_beside_near_ones() -> None:
    month = 28 * 24 * HOUR
    arrivals, ends = [AT - 400 * HOUR, AT, AT + 2 * month], [AT + month, AT + HOUR, AT + 50 * month]
    made = triggers_of(arrivals, ends)
    assert made.arrival_ms(column(0, 1, 2)).tolist() == arrivals
    assert made.end_ms(column(0, 1, 2)).tolist() == ends
    late = AT + 2 * month
    users, times = column(0, 0, 1, 2, 2), column(AT, late, AT, late, late)
    came = column(AT, AT, AT, AT, late)
    (joined,) = made.join(column(0, 1, 2, 3, 4), users, times, came, [], 1_000)
    assert sorted(zip(*(part.tolist() for part in joined), strict=True)) == [(0, 0), (2, 1), (4, 2)]


def test_an_end_that_came_with_a_wider_column_still_ends_its_trigger() -> None:
    made = triggers_of([AT, AT], [AT + HOUR, AT + 1000 * HOUR])
    assert made.end(AT + 2 * HOUR - 1) is None
    ended = made.end(AT + 2 * HOUR)
    assert ended is not None
    assert [part.tolist() for part in ended] == [[0], [0]]
    assert made.end(AT + 1001 * HOUR - 1) is None
    assert made.end(AT + 1001 * HOUR) is not None


def test_a_column_widens_no_more_than_it_must_and_keeps_its_values() -> None:
    kept = np.array([65_535], np.uint16)
    assert widened(kept, column()).dtype == np.uint16
    assert widened(kept, column(0, 65_535)) is kept
    assert widened(kept, column(65_536)).dtype == np.int32
    assert widened(kept, column(-1)).tolist() == [65_535]
    assert widened(kept, column(2**31)).dtype == np.int64
