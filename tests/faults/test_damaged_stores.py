"""Files of local stores are flipped, cut off, removed and exchanged; cells stay exact, pages those of the changelog."""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING

import pytest
from tests.faults.damage_run import DamageRun

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.faults

ROUNDS = 5


async def test_whatever_is_damaged_in_a_local_store_is_noticed_or_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("RTEXP_FAULT_SEED") or random.randrange(1_000_000))
    with capsys.disabled():
        sys.stdout.write(f"\nRTEXP_FAULT_SEED={seed}\n")
    report = await DamageRun(tmp_path, seed, ROUNDS).run()
    with capsys.disabled():
        sys.stdout.write(f"{report}\n")
    assert report.noticed + report.harmless == ROUNDS
    assert report.noticed > 0
    assert report.differing == []
