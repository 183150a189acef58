"""Whatever others do to their tables, and whenever they are asked: what was counted stays as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from rtexp.core.buckets import HOUR_MS
from rtexp.settings import PipelineSettings
from rtexp.store.definitions import Experiment
from rtexp.store.foreign import Yield
from rtexp.store.foreign_rows import COLUMNS, experiments_of
from rtexp.store.importing import judged
from rtexp.store.metadata import periods

if TYPE_CHECKING:
    from rtexp.store.metadata import Change

START = 1_700_000_000_000
PIPELINE = PipelineSettings(period_hours=2, max_ahead_seconds=600)
PERIOD_MS = 2 * HOUR_MS

hours = st.integers(0, 24).map(lambda quarters: START + quarters * HOUR_MS // 4)
rows = st.tuples(st.sampled_from("ctu"), st.sampled_from([0, 5, 10, 50]), hours)
polls = st.lists(st.tuples(hours, st.lists(rows, max_size=6)), min_size=1, max_size=8)


def after(stored: Experiment | None, change: Change) -> Experiment:
    """What is stored once a change is written."""
    if stored is None:
        return Experiment(change.name, change.control, change.groups, change.allocations)
    history = sorted((*stored.allocations, *change.allocations), key=lambda a: a.at_ms)
    return replace(stored, groups=(*stored.groups, *change.groups), allocations=tuple(history))


@given(polls)
def test_no_period_in_which_users_may_have_been_counted_ever_moves(
    asked: list[tuple[int, list[tuple[str, int, int]]]],
) -> None:
    stored: Experiment | None = None
    for now_ms, found in sorted(asked, key=lambda poll: poll[0]):
        table = [("feed", group, "c", percent, at_ms) for group, percent, at_ms in found]
        yielded = experiments_of(Yield(COLUMNS, table))
        before = stored
        changes, refusals = judged([stored] if stored else [], yielded, pipeline=PIPELINE, now_ms=now_ms)
        assert len(changes) + len({refusal.experiment for refusal in refusals}) <= 1
        for change in changes:
            stored = after(stored, change)
        if before is None or stored is None:
            continue
        latest_ms = now_ms + 600_000
        begun = [period for period in periods(before, PERIOD_MS) if period[0] <= latest_ms]
        assert set(begun) <= set(periods(stored, PERIOD_MS))
        assert set(before.allocations) <= set(stored.allocations)
        assert set(before.groups) <= set(stored.groups)
        assert all(a.at_ms <= latest_ms for a in set(stored.allocations) - set(before.allocations))
        # Asked again, there is nothing new.
        again, told = judged([stored], yielded, pipeline=PIPELINE, now_ms=now_ms)
        assert (again, told) == ([], refusals)
