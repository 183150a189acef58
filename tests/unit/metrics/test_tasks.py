"""What tasks say of themselves becomes samples, and nothing that isn't known becomes a number."""

from __future__ import annotations

import pytest
from tests.unit.metrics.scrapes import Scrape

from rtexp.engine.sensors import InputStatus, TaskStatus
from rtexp.metrics.definitions import BY_NAME
from rtexp.metrics.exposition import Exposition, Sample
from rtexp.metrics.tasks import TaskSamples, build_info

SENSORS = {
    "rows": 1200,
    "flushes": 30,
    "flush_seconds": 1.5,
    "slowest_flush_seconds": 0.4,
    "checkpoints": 2,
    "checkpoint_seconds": 0.25,
    "pages": 17,
    "changelog_left": 0,
    "changelog_records": 99,
    "changelog_bytes": 4096,
    "recovery_seconds": 0.5,
    "state_bytes": 1 << 20,
    "oldest_held_ms": 1_700_000_000_500,
}
LIVE = TaskStatus(
    "users",
    3,
    ready=True,
    phase="live",
    inputs={
        "rtexp.filtered-actions/3": InputStatus(40, 100, 5, 1_700_000_000_000, 2, 9),
        "rtexp.filtered-activations/3": InputStatus(40, -1, 0, 0),
    },
    counters={"actions/repeat": 4, "activations/late-activation": 1},
    details=SENSORS,
)
OPENING = TaskStatus("users", 4, ready=False, phase="opening", inputs={}, details={"changelog_left": 700})


def scrape(*tasks: TaskStatus) -> Scrape:
    return Scrape(Exposition([TaskSamples(lambda: tasks)]).render().body)


def test_positions_watermarks_and_lag_are_those_of_the_status() -> None:
    found = scrape(LIVE)
    actions = {"agent": "users", "topic": "rtexp.filtered-actions", "partition": "3"}
    assert found.one("rtexp_input_position", actions) == 40
    assert found.one("rtexp_input_lag_offsets", actions) == 60
    assert found.one("rtexp_input_watermark_timestamp_seconds", actions) == 1_700_000_000
    assert found.one("rtexp_input_held_rows", actions) == 5
    assert found.one("rtexp_input_rewind_left_offsets", actions) == 7


def test_what_is_not_known_is_left_out() -> None:
    found = scrape(LIVE)
    unknown = ("users", "3", "rtexp.filtered-activations")
    assert unknown in found.all("rtexp_input_position")
    assert unknown not in found.all("rtexp_input_lag_offsets")
    assert unknown not in found.all("rtexp_input_watermark_timestamp_seconds")
    assert found.all("rtexp_snapshot_timestamp_seconds") == {}


def test_sensors_counters_and_sums_are_those_of_the_status() -> None:
    found = scrape(LIVE)
    assert found.one("rtexp_task_rows_total") == 1200
    assert (found.one("rtexp_flush_seconds_count"), found.one("rtexp_flush_seconds_sum")) == (30, 1.5)
    assert (found.one("rtexp_checkpoint_seconds_count"), found.one("rtexp_checkpoint_seconds_sum")) == (
        2,
        0.25,
    )
    assert found.one("rtexp_oldest_held_timestamp_seconds") == 1_700_000_000.5
    assert found.all("rtexp_counted_total") == {
        ("users", "actions", "3", "repeat"): 4,
        ("users", "activations", "3", "late-activation"): 1,
    }


def test_a_partition_that_is_restored_says_how_much_is_left() -> None:
    found = scrape(LIVE, OPENING)
    assert found.all("rtexp_task_ready") == {("users", "3"): 1, ("users", "4"): 0}
    assert found.all("rtexp_changelog_left_records") == {("users", "3"): 0, ("users", "4"): 700}


def test_values_are_those_of_the_scrape_and_not_of_the_start() -> None:
    tasks = [OPENING]
    exposition = Exposition([TaskSamples(lambda: tasks)])
    exposition.render()
    tasks[0] = LIVE
    assert Scrape(exposition.render().body).all("rtexp_task_ready") == {("users", "3"): 1}


def test_everything_shown_is_defined_with_its_kind() -> None:
    found = scrape(LIVE, OPENING)
    for name in found.names:
        assert name in BY_NAME, name
    for name, kind in found.kinds.items():
        defined = BY_NAME.get(name) or BY_NAME[f"{name}_total"]
        assert defined.kind == kind


def test_the_process_shows_itself() -> None:
    found = Scrape(Exposition([lambda: [build_info("ingest", "host-1")]]).render().body)
    assert found.one("process_resident_memory_bytes") > 1 << 20
    assert found.one("process_cpu_seconds_total") > 0
    assert found.one("rtexp_build_info", {"rtexp_job": "ingest", "worker": "host-1"}) == 1


def test_a_sample_with_other_labels_than_defined_is_a_fault_and_not_a_series() -> None:
    exposition = Exposition([lambda: [Sample("rtexp_task_ready", ("users",), 1)]])
    with pytest.raises(ValueError, match="rtexp_task_ready has the labels"):
        exposition.render()


def test_text_of_any_kind_is_escaped_and_survives() -> None:
    worker = 'a"b\\c\nd'
    found = Scrape(Exposition([lambda: [build_info("ingest", worker)]]).render().body)
    assert found.one("rtexp_build_info", {"worker": worker}) == 1


def test_whoever_asks_for_openmetrics_gets_it() -> None:
    answer = Exposition([TaskSamples(lambda: [LIVE])]).render("application/openmetrics-text; version=1.0.0")
    assert answer.content_type.startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")
