"""Where the pipeline stands: the sentence that the page of state begins with, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.unit.web.operations_samples import position, worker

from rtexp.web.standing import LATE_MS, SILENT_MS, Clock, judge

if TYPE_CHECKING:
    from rtexp.store.operations import PipelineRow, WorkerRow
    from rtexp.web.standing import Standing

NOW = 1_700_000_000_000
"""2023-11-14 22:13:20 UTC."""
LIVE = Clock(NOW, is_live=True, on_purpose_ms=12_000)


def aggregate(partition: int = 0, **how: Any) -> PipelineRow:
    return position("aggregate", "rtexp.filtered-actions", partition, at_ms=NOW, **how)


def results(partition: int = 0, **how: Any) -> PipelineRow:
    return position("results", "rtexp.partials", partition, at_ms=NOW, **how)


def said(*rows: PipelineRow, workers: tuple[WorkerRow, ...] = (), clock: Clock = LIVE) -> Standing:
    return judge(rows, workers, clock)


def test_counts_are_complete_to_the_earliest_watermark_of_the_last_job() -> None:
    standing = said(aggregate(behind_ms=20_000), results(0), results(1, behind_ms=15_000))
    assert standing.complete_ms == NOW - 15_000
    assert standing.sentence.headline == "Counts are complete to 2023-11-14 22:13:05 UTC"
    assert "20.0 s behind the clock; 12 s are waited on purpose" in standing.sentence.why
    assert standing.sentence.is_well


def test_who_is_late_beyond_what_is_waited_on_purpose_is_named() -> None:
    limit_ms = 12_000 + LATE_MS
    assert said(aggregate(behind_ms=limit_ms), results()).sentence.is_well
    sentence = said(
        aggregate(0), aggregate(5, behind_ms=361_000, held=7), results(behind_ms=361_000)
    ).sentence
    assert not sentence.is_well
    assert sentence.headline == "Counts are complete to 2023-11-14 22:07:19 UTC, 6 min 01 s behind the clock"
    assert "aggregate partition 5 of rtexp.filtered-actions is the slowest, 7 rows wait there" in sentence.why


def test_a_partition_that_catches_up_is_named_with_how_far_it_is() -> None:
    sentence = said(aggregate(silent_ms=SILENT_MS + 1), results(3, rewind=(71, 100)), results(4)).sentence
    assert sentence.headline.endswith("; results partition 3 is catching up")
    assert "Worker results-1 runs again what came since the last checkpoint: 71% done" in sentence.why


def test_a_partition_of_which_nobody_speaks_is_silent() -> None:
    standing = said(aggregate(silent_ms=SILENT_MS + 1), results())
    assert standing.sentence.headline.endswith("; aggregate partition 0 is silent")
    assert [job.in_state("silent") for job in standing.jobs] == [0, 1, 0]
    assert said(aggregate(silent_ms=SILENT_MS), results()).sentence.is_well


def test_when_all_are_silent_the_page_is_as_of_then() -> None:
    sentence = said(aggregate(silent_ms=60_000), results(silent_ms=80_000)).sentence
    assert sentence.headline == "No word from the jobs since 2023-11-14 22:12:20 UTC"


def test_without_any_row_nothing_is_known() -> None:
    standing = said()
    assert standing.sentence.headline == "Nothing is known of the jobs yet"
    assert standing.complete_ms is None
    assert [job.name for job in standing.jobs] == ["ingest", "aggregate", "results"]


def test_before_the_first_watermark_no_time_is_invented() -> None:
    standing = said(aggregate(behind_ms=NOW), results(behind_ms=NOW))
    assert standing.complete_ms is None
    assert standing.sentence.headline == "Counts are complete to a time that isn't known yet"
    assert {each.behind_ms for job in standing.jobs for each in job.partitions} == {None}


def test_the_clock_of_the_records_has_no_distance_to_now() -> None:
    clock = Clock(NOW, is_live=False, on_purpose_ms=12_000)
    standing = said(aggregate(behind_ms=10**10), results(behind_ms=10**10), clock=clock)
    assert standing.sentence.is_well
    assert standing.sentence.headline.endswith("UTC by the clock of the records")
    assert "behind" not in standing.sentence.why


def test_workers_are_silent_or_catch_up_with_their_partitions() -> None:
    now_ms = worker("x", "results").updated_ms
    clock = LIVE._replace(now_ms=now_ms)
    rows = (
        worker("results-1", "results"),
        worker("aggregate-1", "aggregate"),
        worker("gone", "aggregate", silent_ms=60_000),
    )
    catching_up = results(rewind=(1, 2))._replace(updated_ms=now_ms)
    standing = said(catching_up, workers=rows, clock=clock)
    assert [each.state for each in standing.workers] == ["catching-up", "ready", "silent"]
    assert round(standing.workers[0].cores, 2) == 0.1
    assert [job.workers for job in standing.jobs] == [0, 1, 1]
