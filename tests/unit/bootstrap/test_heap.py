"""What a worker frees goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
from pathlib import Path
import numpy as np
from rtexp.bootstrap.heap import trim

def rss_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

np.ones(3_900_000)  # 31 MB, freed at once: from now on such blocks come from the heap
before = rss_mb()
columns, others = [], []
for _ in range(40):
    columns.append(np.ones(400_000))
    others.append(np.ones(10_000))
columns.clear()
kept = rss_mb() - before
trim()
print(kept, rss_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc")
def test_large_blocks_that_were_freed_between_small_ones_are_given_back() -> None:
    said = subprocess.check_output([sys.executable, "-c", SCRIPT], text=True)
    kept_mb, left_mb = map(float, said.split())
    assert kept_mb > 100, "what this is about"
    assert left_mb < 20
