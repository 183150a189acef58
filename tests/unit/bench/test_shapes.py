"""Shapes beside even runs: what each is compared with, and that each is what its name says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rtexp.bench.accounting import Calibration
from rtexp.bench.cpu import CpuFigures
from rtexp.bench.shapes import EVEN, SHAPES, figures_of
from rtexp.bench.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable


def run(us: float, *, joins: int = 3000, cells: int = 500) -> CpuFigures:
    return CpuFigures(
        actions=1000,
        joins=joins,
        workers=1,
        us_an_action={"broker": 1.0, "aggregate-1": us},
        us_an_action_in_all=us,
        actions_a_second_and_core=1e6 / us,
        wall_seconds=1.0,
        others_cores=0.5,
        peak_rss_mb={"aggregate-1": 100.0},
        whole_cpu_seconds={},
        changelog_bytes_an_action=0.0,
        checkpoint_seconds=2.0,
        checkpoints_a_partition={},
        flushes_a_partition={},
        cells=cells,
        differing_cells=0,
        calibration=Calibration(0.1, 0.1),
    )


def test_a_shape_is_compared_with_the_even_runs_on_either_side_of_it() -> None:
    runs = [
        (EVEN, run(4.0)),
        ("a", run(10.0)),
        ("b", run(5.0)),
        (EVEN, run(6.0)),
        ("c", run(8.0)),
        (EVEN, run(10.0)),
    ]
    assert [(one.shape, one.of_even_throughput) for one in figures_of(runs)] == [
        (EVEN, 1.0),
        ("a", 0.5),
        ("b", 1.0),
        (EVEN, 1.0),
        ("c", 1.0),
        (EVEN, 1.0),
    ]


def test_costs_are_given_by_action_join_and_cell_and_by_job_without_the_broker() -> None:
    (_, found, _) = figures_of([(EVEN, run(4.0)), ("a", run(6.0, joins=2000, cells=100)), (EVEN, run(4.0))])
    assert (found.us_an_action, found.us_a_join, found.us_a_cell) == (6.0, 3.0, 60.0)
    assert found.us_an_action_by_job == {"aggregate-1": 6.0}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_each_shape_is_otherwise_than_the_even_one(shape: Callable[[Workload], Workload]) -> None:
    even = Workload(users=1000, actions=10_000)
    assert shape(even) != even
    assert shape(even).actions == even.actions
