"""SQL is away, killed in a commit, locked, read-only or cut off, while events flow: every table is right afterwards."""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING

import pytest
from tests.faults.late_comer import LATE_COMER
from tests.faults.sql_proxy import ANSWER_LOST
from tests.faults.sql_run import DOWN, KILLED, READ_ONLY, ROWS_LOCKED, TABLE_LOCKED, SqlRun

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.faults, pytest.mark.integration]


async def test_whatever_sql_does_every_table_is_right_and_memory_bounded_and_nothing_is_lost(
    tmp_path: Path, broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("RTEXP_FAULT_SEED") or random.randrange(1_000_000))
    with capsys.disabled():
        sys.stdout.write(f"\nRTEXP_FAULT_SEED={seed}\n")
    report = await SqlRun(tmp_path, broker, seed).run()
    with capsys.disabled():
        sys.stdout.write(f"{report}\n")
    happened = set(report.faults)
    assert {DOWN, ANSWER_LOST, READ_ONLY, LATE_COMER} <= happened
    assert happened & set(KILLED), "it was killed in the middle of a commit"
    assert happened & {TABLE_LOCKED, ROWS_LOCKED}
    assert report.held > 0, "nobody waited for an experiment that SQL couldn't tell of"
    assert report.memory.excess == []
    assert report.comparison is not None
    assert report.comparison.cells > 1000
    assert report.comparison.differing == {}
    assert report.looks is not None
    assert report.looks.looks > 100
    assert report.looks.differing == []
    assert report.differing_counters == []
