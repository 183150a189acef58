"""What it means to merge parts of a cell."""

from __future__ import annotations

from rtexp.core.cells import EMPTY, Cell, CellCounts, merged

ONE = Cell(CellCounts(1, 2, 3, 4, 5), {7: 2, 8: 1})
OTHER = Cell(CellCounts(10, 20, 30, 40, 50), {8: 3, 9: 1})


def test_counts_add_and_of_each_register_the_greatest_rank_stays() -> None:
    both = ONE + OTHER
    assert both == Cell(CellCounts(11, 22, 33, 44, 55), {7: 2, 8: 3, 9: 1})


def test_merging_has_an_identity_and_no_order() -> None:
    assert ONE + EMPTY == ONE
    assert ONE + OTHER == OTHER + ONE


def test_parts_are_merged_by_cell() -> None:
    assert merged([("a", ONE), ("b", ONE), ("a", OTHER)]) == {"a": ONE + OTHER, "b": ONE}
