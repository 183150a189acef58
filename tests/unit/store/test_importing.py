"""What rows of a query add to rtexp's tables, without any database."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rtexp.records.snapshot import Allocation
from rtexp.settings import PipelineSettings
from rtexp.store.definitions import Experiment
from rtexp.store.foreign import Yield
from rtexp.store.foreign_rows import COLUMNS, experiments_of
from rtexp.store.importing import grown, judged

AT = 1_699_920_000_000
HISTORY = st.lists(st.tuples(st.sampled_from("ct"), st.integers(0, 2), st.integers(0, 9)), max_size=12)


def test_a_log_of_all_touches_adds_what_has_changed_and_no_more() -> None:
    rows = [("feed", group, "c", 5 + n // 10_000, AT + n) for n in range(20_000) for group in "ct"]
    yielded = experiments_of(Yield(COLUMNS, rows))
    changes, refusals = judged([], yielded, pipeline=PipelineSettings(), now_ms=AT + 20_000)
    assert refusals == []
    assert [(a.percent, a.at_ms - AT) for a in changes[0].allocations] == [(5, 0)] * 2 + [(6, 10_000)] * 2


@given(HISTORY, st.integers(0, 12))
def test_rows_that_come_at_once_and_one_after_the_other_leave_the_same_percents_in_force(
    rows: list[tuple[str, int, int]], cut: int
) -> None:
    at_once = grown(None, experiment(rows))
    first = grown(None, experiment(rows[:cut]))
    later = grown(first, experiment(rows))
    known = {(a.group, a.at_ms) for a in first.allocations}
    both = [*first.allocations, *(a for a in later.allocations if (a.group, a.at_ms) not in known)]
    asked = [*at_once.allocations, *both]
    for group, at_ms in {(a.group, a.at_ms) for a in asked}:
        assert in_force(both, group, at_ms) == in_force(at_once.allocations, group, at_ms)
    percents = [a.percent for a in at_once.allocations if a.group == "t"]
    assert all(before != after for before, after in pairwise(percents))


def experiment(rows: list[tuple[str, int, int]]) -> Experiment:
    """Of two rows at the same time the first one holds: rows that contradict each other are refused before."""
    percents = {(group, at_ms): percent for group, percent, at_ms in reversed(rows)}
    allocations = [Allocation(group, percent, at_ms) for (group, at_ms), percent in percents.items()]
    return Experiment("feed", "c", ("c", "t"), tuple(sorted(allocations, key=lambda a: a.at_ms)))


def in_force(history: list[Allocation] | tuple[Allocation, ...], group: str, at_ms: int) -> float:
    before = [a for a in history if a.group == group and a.at_ms <= at_ms]
    return max(before, key=lambda a: a.at_ms).percent
