"""Disks without a byte of room: a worker says which and ends; afterwards every cell is right."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from tests.faults.full_disk_run import FULL, FullDiskRun
from tests.faults.small_disk import why_none

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.faults, pytest.mark.integration]


async def test_a_worker_on_a_full_disk_says_so_and_ends_and_loses_nothing(
    tmp_path: Path, broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if why := why_none():
        pytest.skip(f"NOT TESTED, full disks: {why}")
    report = await FullDiskRun(tmp_path, broker).run()
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    for name, said in report.last_words.items():
        assert len(said) == 2, "one line each time"
        for line in said:
            assert line.startswith("fatal: ")
            assert str(tmp_path / "workers" / name) in line
            assert f"({FULL}): free some space" in line
            assert "nothing is lost" in line
    assert report.began == {"aggregate-1": "from its own files", "results-1": "doesn't verify, replaying"}
    assert report.comparison is not None
    assert report.comparison.cells > 200
    assert report.comparison.differing == {}
