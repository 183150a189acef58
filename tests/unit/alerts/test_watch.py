from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.alerts.watch import JOBS, Limits, Reports, Watch
from rtexp.settings import AlertSettings, PipelineSettings, Settings
from rtexp.store.operations import PipelineRow, WorkerRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtexp.records.conditions import Condition

BEGAN = 1_700_000_000_000
MINUTE = 60_000
LIMITS = Limits(stale_ms=10 * MINUTE, stopped_ms=2 * MINUTE)


def worker(job: str, updated_ms: int, name: str = "a") -> WorkerRow:
    return WorkerRow(f"{name}-{job}", job, "", 1, BEGAN, 0, 1, 1.0, updated_ms)


def row(job: str, watermark_ms: int, partition: int = 0) -> PipelineRow:
    return PipelineRow(job, "t", partition, "w", 1, 0, watermark_ms, 0, 0, 0, watermark_ms)


def reports(now_ms: int, silent: Mapping[str, int] | None = None, watermark_ms: int | None = None) -> Reports:
    """All is well, but for jobs that were last heard of at a time, and the aggregate job's watermark."""
    workers = [worker(job, (silent or {}).get(job, now_ms)) for job in JOBS]
    aggregate = row("aggregate", now_ms if watermark_ms is None else watermark_ms, 3)
    return Reports([row("ingest", 1), aggregate, row("results", now_ms)], workers)


class Story:
    """A watch that looks every five seconds; what it tells, with the second at which it does."""

    def __init__(self, limits: Limits = LIMITS, told: list[Condition] | None = None) -> None:
        self.all: list[Condition] = told or []
        self.watch = Watch(limits, told=self.all, now_ms=BEGAN)
        self.now_ms = BEGAN

    def go_on(
        self, seconds: int, silent: Mapping[str, int] | None = None, **seen: int
    ) -> list[tuple[str, str, bool, int]]:
        """Return (kind, job, is over, second) of what was told meanwhile."""
        found = []
        for _ in range(0, seconds, 5):
            self.now_ms += 5000
            found += self.watch.observe(reports(self.now_ms, silent, **seen), self.now_ms)
        return self._note(found)

    def without_sql(self, seconds: int) -> list[tuple[str, str, bool, int]]:
        found = []
        for _ in range(0, seconds, 5):
            self.now_ms += 5000
            found += self.watch.observe(None, self.now_ms)
        return self._note(found)

    def _note(self, found: list[Condition]) -> list[tuple[str, str, bool, int]]:
        self.all += found
        return [(c.kind, c.job, c.is_over, (c.at_ms - BEGAN) // 1000) for c in found]


def test_a_pipeline_that_is_well_is_not_told_of() -> None:
    assert Story().go_on(3600) == []


def test_a_job_without_workers_is_told_of_once_and_so_is_its_return() -> None:
    story = Story()
    story.go_on(60)
    gone = {"aggregate": BEGAN + 60_000}
    assert story.go_on(110, gone) == []
    assert story.go_on(1800, gone) == [("stopped", "aggregate", False, 180)]
    assert story.go_on(55) == []
    assert story.go_on(600) == [("stopped", "aggregate", True, 1970 + 60)]
    assert [c.since_ms for c in story.all] == [BEGAN + 60_000] * 2


def test_a_worker_that_comes_and_goes_is_no_storm() -> None:
    story = Story()
    assert story.go_on(200, {"ingest": 0}) == [("stopped", "ingest", False, 120)]
    told = []
    for _ in range(20):
        told += story.go_on(20)
        told += story.go_on(150, {"ingest": story.now_ms})
    assert told == []


def test_one_worker_of_a_job_is_enough() -> None:
    watch = Watch(LIMITS, told=[], now_ms=BEGAN)
    now_ms = BEGAN + 600_000
    found = reports(now_ms)
    both = Reports(found.pipeline, [worker("ingest", BEGAN, "old"), *found.workers])
    assert watch.observe(both, now_ms) == []


def test_nothing_is_said_of_the_others_while_nobody_reports_them() -> None:
    story = Story()
    silent = dict.fromkeys(JOBS, BEGAN)
    assert story.go_on(1800, silent, watermark_ms=BEGAN) == [("stopped", "results", False, 120)]
    assert story.go_on(60) == [("stopped", "results", True, 1860)]


def test_what_was_wrong_before_is_not_over_because_nobody_reports_it() -> None:
    story = Story()
    story.go_on(130, {"ingest": BEGAN})
    all_silent = {**dict.fromkeys(JOBS, story.now_ms), "ingest": BEGAN}
    assert story.go_on(600, all_silent) == [("stopped", "results", False, 250)]
    assert story.go_on(600, {"ingest": BEGAN}) == [("stopped", "results", True, 730 + 60)]
    assert story.go_on(60) == [("stopped", "ingest", True, 1330 + 60)]


def test_counts_that_are_complete_only_to_long_ago_are_told_of_once() -> None:
    story = Story()
    assert story.go_on(595, watermark_ms=BEGAN) == []
    assert story.go_on(3600, watermark_ms=BEGAN) == [("stale", "aggregate", False, 600)]
    assert story.all[0].input == "t/3"
    assert story.go_on(60) == [("stale", "aggregate", True, 4195 + 60)]


def test_counts_that_hover_around_the_limit_are_no_storm() -> None:
    story = Story()
    story.go_on(700, watermark_ms=BEGAN)
    for _ in range(20):
        assert story.go_on(100, watermark_ms=story.now_ms - 8 * MINUTE) == []
        assert story.go_on(60, watermark_ms=story.now_ms - 11 * MINUTE) == []


def test_counts_that_nobody_reports_are_not_up_to_date() -> None:
    story = Story()
    story.go_on(700, watermark_ms=BEGAN)
    silent = dict.fromkeys(JOBS, story.now_ms)
    told = story.go_on(600, silent, watermark_ms=BEGAN)
    assert [one[:3] for one in told] == [("stopped", "results", False)]


def test_that_another_partition_is_furthest_behind_is_no_news() -> None:
    story = Story()
    story.go_on(700, watermark_ms=BEGAN)
    now_ms = story.now_ms + 5000
    other = Reports([row("results", BEGAN + 5, 7)], reports(now_ms).workers)
    assert story.watch.observe(other, now_ms) == []


def test_a_pipeline_that_has_never_read_anything_is_not_stale() -> None:
    assert Story().go_on(3600, watermark_ms=0) == []


def test_a_database_that_does_not_answer_is_told_of_and_hides_the_rest() -> None:
    story = Story()
    assert story.without_sql(600) == [("store", "", False, 120)]
    assert story.go_on(60) == [("store", "", True, 660)]
    assert story.without_sql(100) == []


def test_a_watch_that_starts_anew_goes_on_where_the_last_one_was() -> None:
    story = Story()
    story.go_on(200, {"ingest": 0})
    again = Story(told=list(story.all))
    again.now_ms = story.now_ms
    assert again.go_on(600, {"ingest": 0}) == []
    assert [told[:3] for told in again.go_on(60)] == [("stopped", "ingest", True)]
    last = Story(told=list(again.all))
    last.now_ms = again.now_ms
    assert last.go_on(600) == []


def test_who_starts_after_an_outage_waits_for_workers_to_start_too() -> None:
    story = Story()
    assert story.go_on(115, dict.fromkeys(JOBS, BEGAN - 10 * MINUTE)) == []


def test_what_is_not_wanted_is_not_watched() -> None:
    nothing = Limits.of(Settings(alerts=AlertSettings(stale_minutes=0.0, stopped_minutes=0.0)))
    story = Story(nothing)
    assert story.go_on(3600, dict.fromkeys(JOBS, 0), watermark_ms=BEGAN) == []
    assert story.without_sql(3600) == []


def test_what_is_waited_for_by_design_is_not_stale_and_replays_never_are() -> None:
    live = Settings(
        pipeline=PipelineSettings(join_delay_seconds=60.0, out_of_order_seconds=2.0),
        alerts=AlertSettings(stale_minutes=5.0),
    )
    assert Limits.of(live) == Limits(5 * MINUTE + 62_000, 2 * MINUTE)
    replay = live.model_copy(update={"pipeline": PipelineSettings(clock="records")})
    assert Limits.of(replay).stale_ms == 0
