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
