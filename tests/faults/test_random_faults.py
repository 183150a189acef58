"""Everything dies, at random; no cell and no look is wrong afterwards."""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING

import pytest
from tests.faults.random_run import ALWAYS, RandomRun

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.faults, pytest.mark.integration]


async def test_whatever_dies_cells_and_looks_are_exact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("RTEXP_FAULT_SEED") or random.randrange(1_000_000))
    with capsys.disabled():
        sys.stdout.write(f"\nRTEXP_FAULT_SEED={seed}\n")
    report = await RandomRun(tmp_path, seed).run()
    with capsys.disabled():
        sys.stdout.write(f"{report}\n")
    assert set(ALWAYS) | {"sqlite-locked"} == set(report.faults), "each kind of fault happened"
    assert report.faults.total() > len(ALWAYS)
    assert report.rewound > 0, "a run without rewinding proves nothing"
    assert report.incomplete_rewinds == []
    assert report.comparison is not None
    assert report.comparison.cells > 1000
    assert report.comparison.differing == {}
    assert report.looks is not None
    assert report.looks.looks > 100
    assert report.looks.differing == []
