"""Rows by name: a dictionary, but for how fast and how small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtexp.core import names as module
from rtexp.core.names import Names

if TYPE_CHECKING:
    import pytest

NAMES = st.one_of(
    st.text(min_size=1, max_size=3),
    st.sampled_from(["a" * size for size in (7, 8, 9, 15, 16, 17, 63, 64, 65, 66, 256)]),
    st.sampled_from(["\0", "\0\0", "a\0", "a", "é" * 32, "é" * 33, "\U0001f600" * 16, "u1 ", " u1", "U1"]),
    st.integers(0, 300).map(lambda number: f"user-{number:012d}"),
)


class LikeADictionary(RuleBasedStateMachine):
    """Names, and a dictionary that is told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.names = Names()
        self.rows: dict[str, int] = {}
        self.used = 0

    @rule(new=st.lists(NAMES, unique=True, max_size=40), gap=st.integers(0, 3))
    def add(self, new: list[str], gap: int) -> None:
        new = [name for name in new if name not in self.rows]
        rows = np.arange(self.used + gap, self.used + gap + len(new))
        self.names.add(new, rows)
        self.rows.update(zip(new, rows.tolist(), strict=True))
        self.used += gap + len(new)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.rows:
            gone = data.draw(st.lists(st.sampled_from(sorted(self.rows)), unique=True, max_size=10))
            self.names.remove(np.array([self.rows.pop(name) for name in gone], np.int64))

    @rule(asked=st.lists(NAMES, max_size=20))
    def find(self, asked: list[str]) -> None:
        assert self.names.find(asked).tolist() == [self.rows.get(name, -1) for name in asked]

    @invariant()
    def all_are_there(self) -> None:
        known = list(self.rows)
        rows = [self.rows[name] for name in known]
        assert self.names.find(known).tolist() == rows
        assert self.names.of(np.array(rows, np.int64)) == known
        assert len(self.names) == len(known)
        assert self.names.rows().tolist() == sorted(rows)


LikeADictionary.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestLikeADictionary = LikeADictionary.TestCase


def test_a_row_that_was_given_back_may_get_another_name() -> None:
    names = Names()
    names.add(["first", "second"], np.array([0, 1]))
    names.remove(np.array([0]))
    names.add(["third"], np.array([0]))
    assert names.find(["first", "second", "third"]).tolist() == [-1, 1, 0]


def test_names_that_all_fall_together_are_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if somebody had chosen them for that: slower, and right."""
    monkeypatch.setattr(module, "_FACTORS", [np.uint64(0)] * module.MOST_WORDS)
    names = Names()
    known = [f"user-{number:03d}" for number in range(300)]
    names.add(known, np.arange(300))
    assert names.find([*known, "user-300"]).tolist() == [*range(300), -1]
    names.remove(np.arange(0, 300, 2))
    assert names.find(known).tolist() == [row if row % 2 else -1 for row in range(300)]


@given(st.lists(NAMES, unique=True, min_size=1, max_size=50))
def test_in_one_step_or_one_by_one_names_get_the_same_rows(new: list[str]) -> None:
    at_once, one_by_one = Names(), Names()
    rows = np.arange(len(new))
    at_once.add(new, rows)
    for name, row in zip(new, rows, strict=True):
        one_by_one.add([name], np.array([row]))
    assert at_once.find(new).tolist() == one_by_one.find(new).tolist() == rows.tolist()


def test_long_names_of_many_bytes_a_character_stand_among_others_as_they_are() -> None:
    # The words of a long name end at 64 bytes, within the 32nd character of these.
    new = ["é" * 40, "a" + "é" * 40, *(f"user-{number}-ß" for number in range(9_000))]
    names = Names()
    names.add(new, np.arange(len(new)))
    assert names.of(np.arange(len(new))) == new
