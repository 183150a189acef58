"""The benchmark itself: that it runs, and that what it says is about cells that are right."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


def run(directory: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "rtexp", "bench", *words, "--json", "--directory", str(directory)],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_action_has_a_cost_in_each_job_and_all_cells_are_right(tmp_path: Path) -> None:
    found = run(tmp_path, "cpu", "--actions", "20000", "--users", "1000")
    (figures,) = found["cpu"]
    assert figures["differing_cells"] == 0
    assert figures["cells"] > 10_000
    assert figures["joins"] > 2 * figures["actions"]
    costs = figures["us_an_action"]
    assert set(costs) == {"broker", "ingest-1", "aggregate-1", "results-1"}
    assert all(cost > 0 for cost in costs.values())
    assert figures["us_an_action_in_all"] == pytest.approx(
        sum(cost for name, cost in costs.items() if name != "broker"), abs=0.01
    )


def test_every_action_of_a_probe_is_seen_in_sql_once_and_all_rows_of_a_file_are_replayed(
    tmp_path: Path,
) -> None:
    words = (
        "freshness",
        "replay",
        "--rate",
        "300",
        "--seconds",
        "5",
        "--actions",
        "20000",
        "--users",
        "1000",
    )
    found = run(tmp_path, *words)
    ticks, probes = 50, 8
    assert found["freshness"]["samples"] == ticks * probes
    assert found["freshness"]["join_delay_ms"] < found["freshness"]["p50_ms"] <= found["freshness"]["p99_ms"]
    assert found["replay"]["rows"] == 20_000
    assert found["replay"]["rows_a_second_and_core"] > 0
