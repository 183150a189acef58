from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pytest

from rtexp.bench.accounting import Calibration, Usage, calibrate, machine_cpu_seconds, usage
from rtexp.bench.cpu import CpuFigures, checkpoint_seconds_for, has_enough_checkpoints
from rtexp.bench.live import percentile
from rtexp.bench.memory import MemoryFigures, UsersFigures
from rtexp.bench.profile import hottest
from rtexp.bench.recovery import IS_LIVE, REWINDS, RewindMeter
from rtexp.bench.report import plain, table
from rtexp.bench.soak import SAMPLES, SoakFigures, least_rss_mb
from rtexp.engine import task
from rtexp.errors import FatalError

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


async def test_of_a_minute_the_least_counts_process_by_process() -> None:
    samples = iter([(20.0, 5.0), (10.0, 7.0), *[(30.0, 6.0)] * SAMPLES])

    def used() -> dict[str, Usage]:
        return {name: Usage(0.0, mb, mb) for name, mb in zip(("a", "b"), next(samples), strict=True)}

    assert await least_rss_mb(used, 0.0) == {"a": 10.0, "b": 5.0}


def test_the_hottest_stages_and_functions_come_first_with_their_share(tmp_path: Path) -> None:
    folded = tmp_path / "ingest-1.folded"
    folded.write_text(
        "main (faust/cli.py:1);decode (src/rtexp/records/raw.py:7);sort (numpy/core.py:2) 50\n"
        "main (faust/cli.py:1);decode (src/rtexp/records/raw.py:9) 10\n"
        "main (faust/cli.py:1);decode (src/rtexp/records/raw.py:9);fetch (aiokafka/fetcher.py:3) 25\n"
        "thread (MainThread) 15\n"
    )
    found = hottest(folded)
    assert list(found.stages.items()) == [("rtexp/records/raw", 60.0), ("aiokafka", 25.0), ("other", 15.0)]
    assert list(found.functions.items()) == [
        ("sort numpy/core.py", 50.0),
        ("fetch aiokafka/fetcher.py", 25.0),
        ("thread ", 15.0),
        ("decode src/rtexp/records/raw.py", 10.0),
    ]


def test_the_machine_is_busier_than_one_of_its_processes() -> None:
    before = machine_cpu_seconds()
    spent = calibrate()
    assert machine_cpu_seconds() - before >= sum(spent) - 0.1


def users(count: int, rss_mb: float, peak_rss_mb: float) -> UsersFigures:
    return UsersFigures(count, 1000, {"aggregate-1": rss_mb}, {"aggregate-1": peak_rss_mb}, 0)


def test_a_user_costs_what_more_users_add() -> None:
    few, many = users(1 << 10, 100, 150), users(3 << 10, 101, 152)
    found = MemoryFigures.of(few, many)
    assert found.bytes_a_user == 512
    assert found.peak_bytes_a_user == 1024


def cost(*, actions: int, wall_seconds: float, checkpoints: float) -> CpuFigures:
    return CpuFigures(
        actions=actions,
        joins=0,
        workers=1,
        us_an_action={},
        us_an_action_in_all=5.0,
        actions_a_second_and_core=2e5,
        wall_seconds=wall_seconds,
        others_cores=0.0,
        peak_rss_mb={},
        whole_cpu_seconds={},
        changelog_bytes_an_action=0.0,
        checkpoint_seconds=2.0,
        checkpoints_a_partition={"aggregate": checkpoints},
        flushes_a_partition={},
        cells=0,
        differing_cells=0,
        calibration=Calibration(0.1, 0.1),
    )


def test_checkpoints_come_more_often_than_600000_actions_take() -> None:
    ten_seconds_a_million = cost(actions=1_000_000, wall_seconds=10, checkpoints=1)
    assert checkpoint_seconds_for(ten_seconds_a_million) == pytest.approx(0.85 * 6 - 2)
    assert checkpoint_seconds_for(ten_seconds_a_million, speed_up=1.5) == pytest.approx(0.85 * 4 - 2)


def test_there_is_an_interval_however_fast_a_run_was() -> None:
    assert checkpoint_seconds_for(cost(actions=1_000_000, wall_seconds=0.1, checkpoints=1)) > 0


def test_a_run_with_less_than_a_checkpoint_per_600000_actions_is_done_again() -> None:
    assert has_enough_checkpoints(cost(actions=6_000_000, wall_seconds=1, checkpoints=10))
    assert not has_enough_checkpoints(cost(actions=6_000_000, wall_seconds=1, checkpoints=9))


def test_a_table_has_a_column_for_each_run() -> None:
    figures = plain({"cpu": [NamedFigures(1000, {"ingest-1": 1.23456}), NamedFigures(4000, {"ingest-1": 1})]})
    assert [line.split() for line in table(figures)] == [
        ["cpu"],
        ["actions", "1,000", "4,000"],
        ["us", "an", "action:", "ingest-1", "1.235", "1"],
    ]


def test_a_table_tells_nested_figures_by_the_names_of_what_they_are_in() -> None:
    figures = {"soak": {"rss_mb": {"broker": [1.5, 2000.0]}, "is_flat": True}, "machine": {"a/b": "x"}}
    assert [line.strip() for line in table(figures)] == [
        "soak",
        f"rss mb: broker {'1.5 2,000.0':>14}",
        f"{'is flat':<14} {'yes':>14}",
        "",
        "machine",
        f"a/b {'x':>14}",
    ]


class NamedFigures(NamedTuple):
    actions: int
    us_an_action: dict[str, float]


@dataclass
class Used:
    """Stands for a pipeline whose worker has used so much."""

    cpu_seconds: float

    def usage(self) -> dict[str, Used]:
        return {"aggregate-1": self}


def rewound(*lines: tuple[float, str, str]) -> RewindMeter:
    """Show a meter of two partitions what was logged, each line with the CPU time until then."""
    meter = RewindMeter(partitions=2)
    for cpu_seconds, name, line in lines:
        meter.bench = Used(cpu_seconds)  # type: ignore[assignment]
        meter.on_line(name, line)
    return meter


def test_rewinding_lasts_from_its_first_partition_to_its_last() -> None:
    meter = rewound(
        (1.0, "aggregate-1", "[^Worker]: Ready"),
        (2.0, "aggregate-1", "users/0: restored 3 changelog records in 0.1 s; rewinding {'a': 5}"),
        (3.0, "aggregate-1", "users/1: restored 3 changelog records in 0.1 s; rewinding {'a': 5}"),
        (4.0, "aggregate-1", "users/0: live; rewound 5 records"),
        (4.5, "results-1", "buckets/1: live; rewound 5 records"),
        (7.0, "aggregate-1", "users/1: live; rewound 5 records"),
    )
    assert meter.cpu_seconds() == 5.0


def test_a_rewind_that_has_not_ended_has_no_figure() -> None:
    meter = rewound(
        (2.0, "aggregate-1", "users/0: restored 3 changelog records in 0.1 s; rewinding {'a': 5}"),
        (4.0, "aggregate-1", "users/0: live; rewound 5 records"),
    )
    with pytest.raises(FatalError, match="didn't log"):
        meter.cpu_seconds()


def test_what_the_engine_logs_of_a_rewind_is_what_is_looked_for() -> None:
    source = inspect.getsource(task)
    assert REWINDS.removesuffix("{") in source
    assert IS_LIVE in source
