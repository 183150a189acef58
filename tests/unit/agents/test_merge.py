"""The state of `merge`, as the engine sees it."""

from __future__ import annotations

import pytest
from tests.plain_partials import to_record

from rtexp.agents.merge import MergeState, merge_state, semantics
from rtexp.core.cells import Cell, CellCounts, CellKey
from rtexp.errors import UnsupportedVersion
from rtexp.records import partials
from rtexp.settings import PipelineSettings, Settings, SketchSettings

TOPIC = "rtexp.partials"
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


@pytest.mark.parametrize(
    "changed",
    [
        Settings(sketch=SketchSettings(lg_k=11)),
        Settings(pipeline=PipelineSettings(period_hours=24)),
        Settings(pipeline=PipelineSettings(grace_minutes=1)),
        Settings(pipeline=PipelineSettings(bucket_minutes=5)),
    ],
)
def test_semantics_name_every_setting_that_is_read(changed: Settings) -> None:
    assert semantics(changed) != semantics(Settings())
    assert semantics(Settings()) == semantics(Settings(pipeline=PipelineSettings(flush_rows=1)))
