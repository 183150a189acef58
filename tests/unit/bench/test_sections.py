from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from rtexp.bench.accounting import Calibration
from rtexp.bench.cpu import CpuFigures
from rtexp.bench.sections import TRIES, Sections
from rtexp.bench.workload import Workload
from rtexp.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

WANTED = 5.0
"""Checkpoints a partition of three million actions."""


@dataclass
class Scripted(Sections):
    """Sections whose large runs take so many checkpoints, one after the other, and have so many wrong cells."""

    checkpoints: list[float] = field(default_factory=list)
    flushes: float = 100.0
    differing_cells: int = 0
    intervals: list[float] = field(default_factory=list)

    async def _cost(self, workload: Workload, stage: str, checkpoint_seconds: float, **_: Any) -> CpuFigures:
        is_large = stage == "cpu"
        self.intervals += [checkpoint_seconds] if is_large else []
        self._check(self.differing_cells)
        return CpuFigures(
            actions=workload.actions,
            joins=0,
            workers=1,
            us_an_action={},
            us_an_action_in_all=4.0,
            actions_a_second_and_core=250_000.0,
            wall_seconds=30.0,
            others_cores=0.0,
            peak_rss_mb={},
            whole_cpu_seconds={},
            changelog_bytes_an_action=0.0,
            checkpoint_seconds=checkpoint_seconds,
            checkpoints_a_partition={"aggregate": self.checkpoints.pop(0) if is_large else 0.0},
            flushes_a_partition={"aggregate": self.flushes},
            cells=1,
            differing_cells=self.differing_cells,
            calibration=Calibration(0.1, 0.1),
        )


def scripted(place: Path, *checkpoints: float, differing_cells: int = 0) -> Scripted:
    workload = Workload(actions=3_000_000)
    return Scripted(
        place, workload, lambda _: None, checkpoints=list(checkpoints), differing_cells=differing_cells
    )


async def test_a_run_with_enough_checkpoints_is_not_repeated(tmp_path: Path) -> None:
    sections = scripted(tmp_path, WANTED)
    assert len((await sections.run(["cpu"]))["cpu"]) == 1 + 1


async def test_a_run_with_too_few_is_repeated_with_a_shorter_interval_and_all_runs_are_shown(
    tmp_path: Path,
) -> None:
    sections = scripted(tmp_path, 1.0, 3.0, WANTED)
    shown = (await sections.run(["cpu"]))["cpu"]
    assert [run.checkpoints_a_partition["aggregate"] for run in shown] == [0.0, 1.0, 3.0, WANTED]
    assert sections.intervals == sorted(set(sections.intervals), reverse=True)


async def test_a_run_of_which_every_second_flush_was_a_checkpoint_is_not_repeated(tmp_path: Path) -> None:
    sections = scripted(tmp_path, 3.0)
    sections.flushes = 6.0
    assert len((await sections.run(["cpu"]))["cpu"]) == 1 + 1


async def test_a_run_is_repeated_a_few_times_at_most(tmp_path: Path) -> None:
    sections = scripted(tmp_path, *[1.0] * (TRIES + 1))
    assert len((await sections.run(["cpu"]))["cpu"]) == 1 + TRIES


async def test_a_wrong_cell_in_any_run_makes_all_wrong(tmp_path: Path) -> None:
    sections = scripted(tmp_path, WANTED, differing_cells=1)
    await sections.run(["cpu"])
    assert not sections.is_right


async def test_a_soak_too_short_to_tell_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="360 seconds"):
        await Sections(tmp_path, Workload(), lambda _: None, seconds=60).run(["soak"])
