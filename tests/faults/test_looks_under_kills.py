"""The results worker is killed while looks fall due; looks, verdicts and alerts are those of a run without kills."""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING

import pytest
from tests.faults.looks_run import FEWER_KILLS, LooksRun

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.compare_looks import LooksComparison

pytestmark = [pytest.mark.faults, pytest.mark.integration]


async def test_kills_of_the_results_worker_change_no_look_and_no_alert(
    tmp_path: Path, broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("RTEXP_FAULT_SEED") or random.randrange(1_000_000))
    with capsys.disabled():
        sys.stdout.write(f"\nRTEXP_FAULT_SEED={seed}\n")
    report = await LooksRun(tmp_path, broker, seed, FEWER_KILLS).run()
    with capsys.disabled():
        sys.stdout.write(f"{report}\n")
    assert report.kills.total() == len(FEWER_KILLS)
    seen = report.looks_seen
    assert len(seen) == len(FEWER_KILLS) + 1
    assert seen[0] > 0
    assert seen == sorted(set(seen)), (
        "there were looks before the first kill, between any two, after the last"
    )
    assert report.comparison is not None
    assert report.comparison.differing == []
    assert tells_all(report.comparison)


def tells_all(comparison: LooksComparison) -> bool:
    """Whether the run came to everything that people are told."""
    return comparison.alerts.keys() == {"significant_gain", "significant_drop", "guardrail", "srm"}
