"""Laws of delivery to one target: whatever is held and whenever the process dies, nothing is lost and order stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.alerts.told import notice

from rtexp.alerts.mailbox import Entry, Mailbox, Position

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTICE = notice()


class Target:
    """Takes what isn't held, in order; dies before it keeps a position whenever it is told to."""

    def __init__(self, offsets: Sequence[int]) -> None:
        self.offsets = offsets
        self.kept = (0, "")
        self.got: list[int] = []

    def run(self, held: set[int], sends: int, *, dies: bool) -> None:
        box = Mailbox({"alerts": Position.read(*self.kept)})
        for offset in self.offsets:
            if offset >= self.kept[0]:
                box.put(Entry("alerts", offset, offset, NOTICE))
        for sent in range(sends):
            entry = next((e for e in box.open() if e.offset not in held), None)
            if entry is None:
                return
            self.got.append(entry.offset)
            position = box.finish(entry)
            if dies and sent == sends - 1:
                return
            self.kept = (position.offset, position.metadata())


lives = st.lists(st.tuples(st.sets(st.integers(0, 60)), st.integers(1, 12), st.booleans()), max_size=12)


@given(st.sets(st.integers(0, 60), max_size=20), lives)
def test_every_one_is_sent_and_only_the_last_of_a_life_that_was_cut_off_is_sent_twice(
    offsets: set[int], lives: list[tuple[set[int], int, bool]]
) -> None:
    target = Target(sorted(offsets))
    for held, sends, dies in lives:
        target.run(held, sends, dies=dies)
    target.run(set(), 100, dies=False)
    assert set(target.got) == offsets
    assert len(target.got) - len(offsets) <= sum(dies for _, _, dies in lives)


@given(st.sets(st.integers(0, 60), max_size=20), lives)
def test_where_nothing_is_held_the_first_time_of_each_is_in_order(
    offsets: set[int], lives: list[tuple[set[int], int, bool]]
) -> None:
    target = Target(sorted(offsets))
    for _, sends, dies in lives:
        target.run(set(), sends, dies=dies)
    assert list(dict.fromkeys(target.got)) == sorted(set(target.got))
