"""The sections of the benchmark, each of which can be run alone."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rtexp.bench.cpu import (
    ACTIONS_A_CHECKPOINT,
    checkpoint_seconds_for,
    has_all_checkpoints,
    has_enough_checkpoints,
    measure_cpu,
)
from rtexp.bench.decode import measure_decode
from rtexp.bench.freshness import measure_freshness
from rtexp.bench.looks import measure_looks
from rtexp.bench.memory import measure_memory
from rtexp.bench.pipeline import Stage
from rtexp.bench.profile import hottest
from rtexp.bench.recovery import measure_recovery
from rtexp.bench.replay import measure_replay
from rtexp.bench.report import machine
from rtexp.bench.shapes import SHAPES, measure_shapes
from rtexp.bench.soak import LEAST_MINUTES, measure_soak
from rtexp.bench.takeover import measure_takeover
from rtexp.bench.workload import Workload
from rtexp.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rtexp.bench.cpu import CpuFigures
    from rtexp.bench.decode import DecodeFigures
    from rtexp.bench.freshness import FreshnessFigures
    from rtexp.bench.looks import LookFigures
    from rtexp.bench.memory import MemoryFigures
    from rtexp.bench.recovery import RecoveryFigures
    from rtexp.bench.replay import ReplayFigures
    from rtexp.bench.shapes import ShapeFigures
    from rtexp.bench.takeover import TakeoverFigures

SECTIONS = ("cpu", "recovery", "freshness", "takeover", "scale", "memory", "replay", "looks", "decode")
"""Those that run unless others are asked for."""
SOAK = "soak"
ALONE = ("shapes", SOAK)
"""Those that run only when they are asked for."""

SMALL_ACTIONS = 1_000_000
SMALL_CHECKPOINT_SECONDS = 2.0
EXPECTED_SPEED_UP = 2.0
"""Of a large run against a small one, over which fixed waits are spread."""
TRIES = 3
FRESHNESS_RATE = 10_000
FRESHNESS_SECONDS = 60.0
SOAK_RATE = 5_000
SOAK_SECONDS = 720.0


@dataclass
class Sections:
    """Runs sections in a directory; ``is_right`` once any cell was wrong, or memory grew, is False."""

    place: Path
    workload: Workload
    say: Callable[[str], None]
    rate: int | None = None
    """Actions a second of freshness and soak."""
    seconds: float | None = None
    """How long these two last."""
    profiles: Path | None = None
    """Where to sample the workers' time to; None: not at all."""
    shapes: Sequence[str] = tuple(SHAPES)
    is_right: bool = field(default=True, init=False)

    async def run(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the figures by section, those of the machine first."""
        figures: dict[str, Any] = {"machine": machine()}
        for name in names:
            figures[name] = await getattr(self, f"_{name}")()
        if self.profiles is not None:
            figures["profile"] = {
                folded.stem: hottest(folded) for folded in sorted(self.profiles.glob("*.folded"))
            }
        return figures

    def _stage(self, name: str) -> Stage:
        directory = self.place / name
        shutil.rmtree(directory, ignore_errors=True)
        return Stage(directory, os.environ, self.say)

    @property
    def _small(self) -> Workload:
        return Workload(users=self.workload.users, actions=min(SMALL_ACTIONS, self.workload.actions))

    def _check(self, differing_cells: int) -> None:
        self.is_right = self.is_right and differing_cells == 0

    async def _cpu(self) -> list[CpuFigures]:
        # The small run tells how long an action takes here, and so how often a checkpoint is to be taken.
        small = self._small
        if small == self.workload:
            return [await self._cost(small, "cpu", SMALL_CHECKPOINT_SECONDS, profiles=self.profiles)]
        found = [await self._cost(small, "cpu-small", SMALL_CHECKPOINT_SECONDS)]
        interval = checkpoint_seconds_for(found[0], speed_up=EXPECTED_SPEED_UP)
        for _ in range(TRIES):
            found.append(await self._cost(self.workload, "cpu", interval, profiles=self.profiles))
            if has_enough_checkpoints(found[-1]) or has_all_checkpoints(found[-1]):
                break
            # An interval is in seconds, and this run was faster than another had promised. It is reported as well.
            interval = min(checkpoint_seconds_for(found[-1]), interval / 2)
            self.say(
                f"cpu: fewer than one checkpoint per {ACTIONS_A_CHECKPOINT:,} actions; next interval: {interval:.2f} s"
            )
        return found

    async def _scale(self) -> list[CpuFigures]:
        return [
            await self._cost(self._small, f"scale-{workers}", SMALL_CHECKPOINT_SECONDS, aggregates=workers)
            for workers in (1, 2, 3)
        ]

    async def _cost(
        self,
        workload: Workload,
        stage: str,
        checkpoint_seconds: float,
        *,
        aggregates: int = 1,
        profiles: Path | None = None,
    ) -> CpuFigures:
        found = await measure_cpu(
            workload,
            self._stage(stage),
            checkpoint_seconds=checkpoint_seconds,
            aggregates=aggregates,
            profiles=profiles,
        )
        self._check(found.differing_cells)
        return found

    async def _recovery(self) -> RecoveryFigures:
        # A run of less than full size is a test of the benchmark: then changelogs need not be large either.
        share = self._small.actions / SMALL_ACTIONS
        found = await measure_recovery(self._small, self._stage("recovery"), changelog_share=share)
        self._check(found.differing_cells)
        return found

    async def _freshness(self) -> FreshnessFigures:
        return await measure_freshness(
            self._stage("freshness"),
            actions_a_second=self.rate or FRESHNESS_RATE,
            seconds=self.seconds or FRESHNESS_SECONDS,
        )

    async def _takeover(self) -> TakeoverFigures:
        return await measure_takeover(self._stage("takeover"))

    async def _memory(self) -> MemoryFigures:
        stages = [self._stage("memory-few"), self._stage("memory-many")]
        found = await measure_memory(stages, users=self.workload.users, actions=self._small.actions)
        self._check(sum(one.differing_cells for one in found.with_users))
        return found

    async def _replay(self) -> ReplayFigures:
        return await measure_replay(self._small, self._stage("replay"))

    async def _shapes(self) -> list[ShapeFigures]:
        found = await measure_shapes(self._small, self.shapes, self._stage)
        self._check(sum(one.differing_cells for one in found))
        return found

    async def _looks(self) -> list[LookFigures]:
        self.say("looks: one experiment of 80 comparisons")
        return measure_looks()

    async def _decode(self) -> list[DecodeFigures]:
        self.say("decode: flat and nested records of the same size, in turn")
        return measure_decode()

    async def _soak(self) -> dict[str, Any]:
        minutes = round((self.seconds or SOAK_SECONDS) / 60)
        if minutes < LEAST_MINUTES:
            raise UsageError(f"a soak takes {60 * LEAST_MINUTES} seconds at least: give --seconds")
        found = await measure_soak(
            self._stage(SOAK), actions_a_second=self.rate or SOAK_RATE, minutes=minutes
        )
        self.is_right = self.is_right and found.is_flat
        return {**found._asdict(), "growth": found.growth(), "is_flat": found.is_flat}
