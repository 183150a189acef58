"""The state of `merge`, as the engine sees it."""

from __future__ import annotations

import pytest
from tests.plain_partials import to_record

from rtexp.agents.merge import MergeState, merge_state, semantics
from rtexp.core.cells import Cell, CellCounts, CellKey
from rtexp.engine.api import Page
from rtexp.errors import StateError, UnsupportedVersion
from rtexp.records import partials
from rtexp.settings import PipelineSettings, Settings, SketchSettings, StatisticsSettings
from rtexp.tables import look_sums

TOPIC = "rtexp.partials"
HOUR = 3_600_000
START = 1_700_000_000_000
CLICK = CellKey("exp", START, "control", "click", START)
ONE = Cell(CellCounts(2, 1, 4, 0, 0), {5: 3})


@pytest.fixture
def state() -> MergeState:
    return merge_state(Settings(), 0)


def test_a_row_is_the_delta_of_a_cell(state: MergeState) -> None:
    both = {CLICK: ONE, CLICK._replace(event=""): ONE}
    assert state.decode(TOPIC, partials.encode(to_record(lg_k=12, cells=both))).rows == 2
    assert state.decode(TOPIC, partials.encode(to_record(lg_k=12, cells={}))).rows == 0


def test_partials_of_a_newer_version_are_refused(state: MergeState) -> None:
    with pytest.raises(UnsupportedVersion):
        state.decode(TOPIC, partials.encode(partials.Partials(2, 0, 1, 12, 0, [], *[b""] * 8)))


def test_applied_deltas_are_in_the_table_and_in_the_status(state: MergeState) -> None:
    batch = state.decode(TOPIC, partials.encode(to_record(lg_k=12, cells={CLICK: ONE}, watermark_ms=123)))
    assert state.is_due(TOPIC, batch)
    state.apply(TOPIC, [batch, batch])
    assert state.table.cell(CLICK)[0] == CellCounts(4, 2, 8, 0, 0)
    assert state.collect() == [], "cells go to SQL, not through a topic"
    status = state.status()
    assert status.watermarks_ms == {TOPIC: 123}
    assert status.details == {
        "cells": 1, "cells_in_memory": 1, "unpublished_cells": 1, "unpublished_looks": 0,
    }  # fmt: skip


def test_a_checkpoint_restores_it(state: MergeState) -> None:
    state.apply(
        TOPIC,
        [state.decode(TOPIC, partials.encode(to_record(lg_k=12, cells={CLICK: ONE}, watermark_ms=123)))],
    )
    again = merge_state(Settings(), 0)
    again.load(state.changed_pages())
    assert again.table.cell(CLICK)[0] == ONE.counts
    assert again.status().watermarks_ms == {TOPIC: 123}


def test_cells_that_are_over_and_saved_leave_memory_with_the_next_flush_and_stay_in_the_status() -> None:
    state = merge_state(Settings(), 0)
    store: dict[bytes, bytes | None] = {}
    state.load([], store.get)
    flush = partials.encode(to_record(lg_k=12, cells={CLICK: ONE}, watermark_ms=START + 4 * 3_600_000))
    state.apply(TOPIC, [state.decode(TOPIC, flush)])
    store.update(state.changed_pages())
    state.apply(TOPIC, [])
    details = state.status().details
    assert (details["cells"], details["cells_in_memory"], details["unpublished_cells"]) == (1, 0, 1)
    state.apply(TOPIC, [state.decode(TOPIC, flush)])
    assert state.table.cell(CLICK)[0] == CellCounts(4, 2, 8, 0, 0)


def test_periods_that_are_over_are_forgotten_with_the_flush_that_ends_them(state: MergeState) -> None:
    state.apply(TOPIC, [state.decode(TOPIC, partials.encode(to_record(lg_k=12, cells={CLICK: ONE})))])
    state.table.mark_published(state.table.rows_to_publish(10))
    over_ms = START + 200 * 3_600_000
    state.apply(
        TOPIC, [state.decode(TOPIC, partials.encode(to_record(lg_k=12, cells={}, watermark_ms=over_ms)))]
    )
    assert list(state.table) == []


def apply(state: MergeState, *, watermark_ms: int, cells: dict[CellKey, Cell] | None = None) -> None:
    record = to_record(lg_k=12, cells=cells or {}, watermark_ms=watermark_ms)
    state.apply(TOPIC, [state.decode(TOPIC, partials.encode(record))])


def evaluate_all(state: MergeState) -> None:
    """Do as the evaluator does with times that no plan asks for."""
    for waiting in list(state.sums.frozen.values()):
        for frozen in list(waiting):
            state.sums.drop(frozen)


OVER_MS = START + (72 + 1 + 24) * HOUR
"""When nothing of a period is needed any more: after its end, the grace, and a day."""


def test_sums_of_a_period_that_is_over_are_forgotten_once_a_checkpoint_has_no_look_of_it(
    state: MergeState,
) -> None:
    apply(state, watermark_ms=0, cells={CLICK: ONE})
    apply(state, watermark_ms=OVER_MS)
    assert len(state.sums) == 1, "its looks wait"
    list(state.changed_pages())
    evaluate_all(state)
    apply(state, watermark_ms=OVER_MS + HOUR)
    assert len(state.sums) == 1, "a checkpoint has its looks"
    list(state.changed_pages())
    apply(state, watermark_ms=OVER_MS + 2 * HOUR)
    assert len(state.sums) == 0


def test_sums_that_were_evaluated_before_a_checkpoint_had_them_leave_no_page_and_no_tombstone(
    state: MergeState,
) -> None:
    apply(state, watermark_ms=0, cells={CLICK: ONE})
    apply(state, watermark_ms=OVER_MS)
    evaluate_all(state)
    assert not [page for page in state.changed_pages() if page.key.startswith(look_sums.FROZEN_PREFIX)]
    apply(state, watermark_ms=OVER_MS + HOUR)
    assert len(state.sums) == 0


def test_a_period_isnt_forgotten_before_its_time(state: MergeState) -> None:
    apply(state, watermark_ms=0, cells={CLICK: ONE})
    apply(state, watermark_ms=OVER_MS - 1)
    evaluate_all(state)
    list(state.changed_pages())
    apply(state, watermark_ms=OVER_MS - 1)
    assert len(state.sums) == 1


def test_a_table_whose_sums_are_all_forgotten_can_be_loaded(state: MergeState) -> None:
    apply(state, watermark_ms=0, cells={CLICK: ONE})
    apply(state, watermark_ms=OVER_MS)
    evaluate_all(state)
    pages = {page.key: page.value for page in state.changed_pages()}
    apply(state, watermark_ms=OVER_MS + HOUR)
    pages |= {page.key: page.value for page in state.changed_pages()}
    assert (len(state.sums), len(state.table)) == (0, 1), "SQL lacks the cell still"
    again = merge_state(Settings(), 0)
    again.load(Page(key, value) for key, value in pages.items())
    assert (len(again.sums), len(again.table)) == (0, 1)


def test_a_table_without_sums_is_one_of_an_older_version_and_refused(state: MergeState) -> None:
    apply(state, watermark_ms=0, cells={CLICK: ONE})
    with pytest.raises(StateError, match="no sums for looks"):
        merge_state(Settings(), 0).load(state.table.changed_pages())


@pytest.mark.parametrize(
    "changed",
    [
        Settings(sketch=SketchSettings(lg_k=11)),
        Settings(pipeline=PipelineSettings(period_hours=24)),
        Settings(pipeline=PipelineSettings(grace_minutes=1)),
        Settings(pipeline=PipelineSettings(bucket_minutes=5)),
        Settings(statistics=StatisticsSettings(settle_seconds=5)),
    ],
)
def test_semantics_name_every_setting_that_is_read(changed: Settings) -> None:
    assert semantics(changed) != semantics(Settings())
    assert semantics(Settings()) == semantics(Settings(pipeline=PipelineSettings(flush_rows=1)))
