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
