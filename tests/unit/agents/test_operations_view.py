"""What all workers said last, as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.agents.statuses import status

from rtexp.agents.operations_view import MINUTES, OperationsView
from rtexp.core.delays import Delays
from rtexp.records.status import Input
from rtexp.store.operations import KEPT_MS, FreshnessRow, PipelineRow, WorkerRow

if TYPE_CHECKING:
    from rtexp.records.status import Status

ACTIONS = "rtexp.filtered-actions"
MINUTE_MS = 60_000


def view(*statuses: Status, fresh_from_ms: int = 0) -> OperationsView:
    made = OperationsView(fresh_from_ms=fresh_from_ms)
    for each in statuses:
        made.take(each)
    return made


def at(position: int, end: int = 100) -> dict[str, Input]:
    return {f"{ACTIONS}/3": Input(position, end, 5, 1_000, 2, 9)}


def delays(low_ms: int, high_ms: int, minute_ms: int = MINUTE_MS) -> dict[str, object]:
    made = Delays()
    made.add(low_ms, high_ms)
    return {"delays": {str(minute_ms): {str(bin_): weight for bin_, weight in made.weights.items()}}}


def test_an_input_partition_is_as_its_newest_owner_says() -> None:
    made = view(
        status("old", 10, 3, inputs=at(90)),
        status("new", 11, 3, inputs=at(80)),
        status("old", 9, 3, inputs=at(85)),
    )
    assert made.rows(11).pipeline == [PipelineRow("aggregate", ACTIONS, 3, "new", 80, 20, 1_000, 5, 2, 9, 11)]


@pytest.mark.parametrize(("position", "end", "lag"), [(80, -1, None), (80, 80, 0), (80, 79, 0), (80, 81, 1)])
def test_a_lag_is_what_lies_before_the_end_and_unknown_without_one(
    position: int, end: int, lag: int | None
) -> None:
    assert view(status(inputs=at(position, end))).rows(0).pipeline[0].lag == lag


def test_only_what_has_changed_since_it_was_written_is_a_row() -> None:
    made = view(status(at_ms=10, inputs=at(1)), status("b", 10, 1, details=delays(0, 100)))
    rows = made.rows(10)
    assert [len(kind) for kind in rows] == [1, 2, 1]
    made.written(rows)
    assert made.rows(10) == ([], [], [])
    made.take(status(at_ms=11, inputs=at(2)))
    assert [len(kind) for kind in made.rows(11)] == [1, 1, 0]


def test_what_would_be_removed_at_once_is_no_row() -> None:
    made = view(status(at_ms=10, inputs=at(1)))
    assert made.rows(10 + KEPT_MS) == ([], [], [])


def test_a_worker_is_as_its_newest_status_says_with_the_partitions_that_it_still_speaks_of() -> None:
    made = view(
        *(status("host-1", 10_000, partition) for partition in range(4)),
        *(status("host-1", 30_000, partition, started_ms=7, restarts=1) for partition in (0, 2)),
    )
    assert made.rows(30_000).workers == [WorkerRow("host-1", "aggregate", "", 2, 7, 1, 1 << 20, 1.5, 30_000)]


def test_a_worker_that_has_started_again_does_not_have_what_it_had_before() -> None:
    made = view(status("w", 10_000, 0), status("w", 10_000, 1), status("w", 12_000, 1, started_ms=11_000))
    assert made.rows(12_000).workers[0].partitions == 1


def test_a_worker_without_partitions_of_its_own_has_those_of_its_inputs() -> None:
    inputs = {"actions/0": Input(1, 1), "actions/1": Input(1, 1), "activations/0": Input(1, 1)}
    made = view(status(job="ingest", partition=-1, inputs=inputs))
    assert made.rows(0).workers[0].partitions == 3


def test_a_worker_that_does_not_know_of_processes_has_no_row_but_its_positions() -> None:
    made = view(status(started_ms=None, inputs=at(1)))
    assert [len(kind) for kind in made.rows(0)] == [1, 0, 0]


def test_a_minute_of_freshness_is_that_of_all_workers_and_partitions() -> None:
    made = view(
        status("a", 1, 0, job="results", details=delays(0, 1_000)),
        status("a", 2, 0, job="results", details=delays(0, 2_000)),  # the same partition, later
        status("b", 1, 1, job="results", details=delays(8_000, 10_000)),
    )
    (found,) = made.rows(2).freshness
    assert found.p50_ms == pytest.approx(2_000, rel=0.02)
    assert found.p99_ms == pytest.approx(9_960, rel=0.02)


def test_a_worker_that_starts_again_within_a_minute_adds_to_it() -> None:
    made = view(
        status("a", 1, job="results", details=delays(0, 1_000)),
        status("a", 3, job="results", started_ms=2, details=delays(9_000, 9_500)),
    )
    assert made.rows(3).freshness[0].p50_ms == pytest.approx(750, rel=0.02)


def test_minutes_before_the_newest_in_sql_are_left_alone() -> None:
    # What is left in the topic of an older minute may be less than what SQL has of it.
    made = view(
        status(details=delays(0, 100, 0)), status("b", details=delays(0, 100)), fresh_from_ms=MINUTE_MS
    )
    assert [row.minute_ms for row in made.rows(0).freshness] == [MINUTE_MS]


def test_a_range_of_minutes_is_kept_while_sql_is_away() -> None:
    made = view(*(status(details=delays(0, 100, minute * MINUTE_MS)) for minute in range(MINUTES + 5)))
    rows = made.rows(0).freshness
    assert [row.minute_ms // MINUTE_MS for row in rows] == list(range(5, MINUTES + 5))
    assert isinstance(rows[0], FreshnessRow)
