"""A run in which the results worker alone is killed, again and again, while looks fall due."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import func, select
from tests.faults.cluster import Cluster, make_settings
from tests.faults.compare_looks import compare_looks
from tests.faults.random_run import START_MS, experiments_of
from tests.faults.worker import AFTER_LOOKS, BEFORE_LOOKS, LOOKS_IN_SQL

from rtexp.local.generator import Generator
from rtexp.local.pacing import stream
from rtexp.local.raw_writer import raw_writer
from rtexp.local.readiness import wait_for_snapshot
from rtexp.local.story import Story
from rtexp.local.truth import Rules
from rtexp.statistics.plans import Guardrail
from rtexp.store import own_plans
from rtexp.store.engine import opened, reading
from rtexp.store.own_plans import OwnPlan
from rtexp.store.schema import look_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.compare_looks import LooksComparison

    from rtexp.local.raw_records import RawRecord
    from rtexp.store.definitions import Experiment

AT_RANDOM, WHILE_RECOVERING = "at random", "while recovering"
KILLS = (
    AT_RANDOM, AT_RANDOM, AT_RANDOM, BEFORE_LOOKS, BEFORE_LOOKS, AFTER_LOOKS, AFTER_LOOKS, LOOKS_IN_SQL,
    WHILE_RECOVERING, WHILE_RECOVERING,
)  # fmt: skip
FEWER_KILLS = (AT_RANDOM, BEFORE_LOOKS, AFTER_LOOKS)

CYCLES = 40
CYCLE_SECONDS = 40.0
"""Real time in which the generator's 80 hours pass: some nine looks a second."""
RECORDS_PER_CYCLE = 60_000
USERS = 3000
"""A sample ratio mismatch of fewer isn't noticed within a period."""
GUARDED = "heavier-page"


@dataclass
class LooksReport:
    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    looks_seen: list[int] = field(default_factory=list)
    """How many looks SQL had before the first kill, between any two, and after the last."""
    comparison: LooksComparison | None = None

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.kills.total()} kills ({dict(self.kills)}), "
            f"looks in SQL meanwhile {self.looks_seen}, {self.comparison}"
        )


def experiments(story: Story) -> list[Experiment]:
    """The generator's, of which one has a guardrail."""
    plan = own_plans.encoded(OwnPlan(guardrails=(Guardrail("search", "volume", "drop"),)))
    return [
        replace(found, plan=plan) if found.name == GUARDED else found
        for found in experiments_of(story, CYCLES)
    ]


class LooksRun:
    def __init__(
        self,
        directory: Path,
        broker: str,
        seed: int,
        kills: tuple[str, ...],
        say: Callable[[str], None] = lambda _: None,
        *,
        sabotage: str = "",
    ) -> None:
        self.random = random.Random(seed)
        self.kills = self.random.sample(kills, len(kills))
        self.report = LooksReport(seed)
        self.settings = make_settings(directory, broker, f"l{uuid4().hex[:8]}", partitions=2)
        self.cluster = Cluster(
            directory / "workers", self.settings, {"ingest": 1, "aggregate": 1, "results": 1}
        )
        self.worker = self.cluster.workers["results-1"]
        self.worker.sabotage = sabotage
        self.say = say
        self.stopping = False

    async def run(self) -> LooksReport:
        story = Story(START_MS, self.settings.pipeline.period_hours * 3_600_000)
        try:
            await self.cluster.prepare(experiments(story))
            self.cluster.start()
            await wait_for_snapshot(self.settings.kafka, 0)
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(self._feed(story))
                for kill in self.kills:
                    await self._kill(kill)
                await self._new_looks()
                self.stopping = True
                await feeding
            await self.cluster.command("wait", "--timeout", "150")
            self.report.comparison = await compare_looks(self.settings)
        finally:
            self.cluster.stop()
        return self.report

    async def _feed(self, story: Story) -> None:
        generator = Generator(
            story,
            Rules.of(self.settings),
            seed=self.report.seed,
            users=USERS,
            records_per_cycle=RECORDS_PER_CYCLE,
        )

        def records() -> Iterator[RawRecord]:
            for cycle in range(CYCLES):
                yield from (told.record for told in generator.cycle(cycle))

        speed = story.cycle_ms / 1000 / CYCLE_SECONDS
        async with raw_writer(self.settings) as writer:
            sent = await stream(records(), writer, speed=speed, stopping=lambda: self.stopping)
            assert sent.newest_ms is not None
            await writer.mark(sent.newest_ms + 400 * 3_600_000)

    # -- the kills ----------------------------------------------------------------------------------------

    async def _kill(self, kind: str) -> None:
        if kind != WHILE_RECOVERING:
            await self._new_looks()
        if kind == AT_RANDOM:
            await asyncio.sleep(self.random.uniform(0, 2))
            await self._end()
        elif kind == WHILE_RECOVERING:
            # Beyond the session of the one before, about when this one gets its partitions.
            await asyncio.sleep(self.random.uniform(1, 8))
            await self._end()
        else:
            self.worker.arm(kind)
            await self._until(lambda: self.worker.ended() is not None, f"the worker is killed {kind}")
            assert self.worker.exits[-1] == -signal.SIGKILL
        self.worker.start()
        self.report.kills[kind] += 1
        self.say(f"{self.report.kills.total()} killed {kind}, {self._looks()} looks in SQL")

    async def _end(self) -> None:
        assert await asyncio.to_thread(self.worker.end, signal.SIGKILL) == -signal.SIGKILL

    async def _new_looks(self) -> None:
        """Return when SQL has looks that it hadn't at the kill before."""
        before = self._looks()
        await self._until(lambda: self._looks() > before, "there are new looks")
        self.report.looks_seen.append(self._looks())

    def _looks(self) -> int:
        with opened(self.settings.store) as engine, reading(engine) as connection:
            return connection.execute(select(func.count()).select_from(look_inputs)).scalar_one()

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 150
        while not holds():
            assert time.monotonic() < deadline, f"waited in vain until {what}: see {self.worker.log}"
            await asyncio.sleep(0.1)
