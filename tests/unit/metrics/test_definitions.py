"""The table of metrics: named as Prometheus expects, with few labels, each said what to do about."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rtexp.metrics.definitions import ALL, METRICS, Metric
from rtexp.metrics.page import page

UNITS = ("_seconds", "_bytes", "_rows", "_offsets", "_records", "_total", "_info")
WITHOUT_UNIT = {
    "process_open_fds",
    "process_max_fds",
    "rtexp_alerts_conditions_open",
    "rtexp_alerts_held",
    "rtexp_alerts_pending",
    "rtexp_alerts_target_up",
    "rtexp_broker_up",
    "rtexp_cells",
    "rtexp_input_position",
    "rtexp_looks_waiting",
    "rtexp_published_position",
    "rtexp_sql_up",
    "rtexp_store_failures",
    "rtexp_store_up",
    "rtexp_task_ready",
    "rtexp_web_requests_in_progress",
    "rtexp_web_streams",
    "rtexp_web_watched_pages",
}
"""Numbers of things, positions, and yes or no."""
LABELS = {
    "agent",
    "input",
    "kind",
    "method",
    "partition",
    "place",
    "python",
    "quantile",
    "reason",
    "route",
    "rtexp_job",
    "status",
    "table",
    "target",
    "topic",
    "user",
    "version",
    "worker",
}
"""All have few values. `user` is who uses SQL, such as publish; nobody who acts. `job` is Prometheus' own."""


def test_names_are_given_once() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_says_kind_and_unit(metric: Metric) -> None:
    assert re.fullmatch(r"(rtexp|process)_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith(UNITS) != (metric.name in WITHOUT_UNIT)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_labels_are_of_a_known_few(metric: Metric) -> None:
    assert set(metric.labels) <= LABELS
    assert "experiment" not in metric.labels


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_it_is_said_what_it_is_and_what_to_do(metric: Metric) -> None:
    assert metric.help.endswith(".")
    assert metric.act.endswith(".")
    assert metric.where
    assert set(metric.where) <= set(ALL)


def test_the_page_of_metrics_is_made_from_the_definitions() -> None:
    """After a change: python -m rtexp.metrics > docs/metrics.md."""
    text = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    assert text == page()
    assert all(f"| `{metric.name}` |" in text for metric in METRICS)
