from __future__ import annotations

import numpy as np
import pytest

from rtexp.core import sketches
from rtexp.tables.cell_sketches import CellSketches

LG_K = 10
SPARSE, DENSE = 200, 3_000
"""Users in a sketch whose entries are shorter than its registers, and in one where they are longer."""


def entries_of(users: range) -> sketches.Entries:
    return np.array([sketches.entry(f"u{user}", LG_K) for user in users], np.uint32)


@pytest.mark.parametrize("users", [SPARSE, DENSE])
def test_a_rows_stored_form_is_that_of_all_its_entries_however_they_came(users: int) -> None:
    made = CellSketches(LG_K)
    entries = entries_of(range(users))
    for some in np.array_split(entries, 7):
        made.add(np.zeros(len(some), np.int64), some)
        stored = made.stored(0)
    assert stored == sketches.to_bytes(entries, LG_K)
    assert np.array_equal(sketches.from_bytes(stored, LG_K), made.sketch(0))


def test_nobodys_stored_form_is_that_of_no_entries() -> None:
    assert CellSketches(LG_K).stored(3) == sketches.to_bytes(sketches.no_entries(), LG_K)


def test_a_row_that_was_given_back_is_empty() -> None:
    made = CellSketches(LG_K)
    made.add(np.zeros(SPARSE, np.int64), entries_of(range(SPARSE)))
    made.remove([0])
    assert made.stored(0) == CellSketches(LG_K).stored(0)


@pytest.mark.parametrize("users", [SPARSE, DENSE])
def test_a_row_that_is_given_back_while_entries_wait_for_it_and_others_is_empty_and_they_are_whole(
    users: int,
) -> None:
    made = CellSketches(LG_K)
    for row in (0, 1, 2):
        made.add(np.full(users, row, np.int64), entries_of(range(users)))
    made.remove([1])
    assert made.stored(1) == CellSketches(LG_K).stored(1)
    assert made.stored(0) == made.stored(2) == sketches.to_bytes(entries_of(range(users)), LG_K)


def test_entries_that_wait_for_other_rows_outlive_the_removal_of_one() -> None:
    made = CellSketches(LG_K)
    made.add(np.zeros(SPARSE, np.int64), entries_of(range(SPARSE)))
    made.stored(0)
    made.add(np.full(SPARSE, 7, np.int64), entries_of(range(SPARSE)))
    made.remove([0])
    made.add(np.zeros(1, np.int64), entries_of(range(1)))
    assert made.stored(0) == sketches.to_bytes(entries_of(range(1)), LG_K)
    assert made.stored(7) == sketches.to_bytes(entries_of(range(SPARSE)), LG_K)


@pytest.mark.parametrize("users", [SPARSE, DENSE])
def test_a_loaded_sketch_is_merged_with_what_comes_after(users: int) -> None:
    made = CellSketches(LG_K)
    made.load(4, sketches.to_bytes(entries_of(range(users)), LG_K))
    made.add(np.full(10, 4, np.int64), entries_of(range(users, users + 10)))
    assert made.stored(4) == sketches.to_bytes(entries_of(range(users + 10)), LG_K)
