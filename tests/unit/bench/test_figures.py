from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rtexp.bench.accounting import calibrate, usage
from rtexp.bench.live import percentile
from rtexp.bench.profile import hottest
from rtexp.bench.soak import SoakFigures

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("share", "value"),
    [
        pytest.param(0.5, 50.0, id="the median"),
        pytest.param(0.99, 99.0, id="one in a hundred exceeds it"),
        pytest.param(1.0, 100.0, id="none exceeds it"),
        pytest.param(0.001, 1.0, id="the least"),
    ],
)
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(share: float, value: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == value


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_process_is_seen_to_use_time_and_memory() -> None:
    before = usage(os.getpid())
    spent = calibrate()
    after = usage(os.getpid())
    assert after.cpu_seconds - before.cpu_seconds == pytest.approx(sum(spent), abs=0.1)
    assert after.peak_rss_mb >= after.rss_mb > 10


def test_a_process_that_has_ended_is_no_figure() -> None:
    with pytest.raises(ProcessLookupError):
        usage(2**22 + 1)


def soak(*rss_mb: float) -> SoakFigures:
    return SoakFigures(5_000, {"aggregate-1": list(rss_mb)})


def test_memory_that_comes_and_goes_is_flat() -> None:
    found = soak(100, 180, 200, 220, 202, 230, 201, 240, 204)
    assert found.is_flat
    assert found.growth() == {"aggregate-1": pytest.approx(0.005)}


def test_memory_that_is_kept_is_not() -> None:
    assert not soak(100, 180, 200, 204, 208, 212, 216, 220, 224).is_flat


def test_what_a_process_takes_while_it_warms_up_counts_for_nothing() -> None:
    assert soak(10, 50, 200, 200, 200, 200, 200, 200).is_flat


def test_the_hottest_functions_come_first_with_their_share(tmp_path: Path) -> None:
    folded = tmp_path / "ingest-1.folded"
    folded.write_text(
        "main (a.py:1);read (b.py:7) 30\nmain (a.py:1);count (c.py:9) 60\nmain (a.py:2);read (b.py:8) 10\n"
    )
    assert hottest(folded) == [(60.0, "count c.py"), (40.0, "read b.py")]
