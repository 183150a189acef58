"""Send a generated stream, in real time, to the raw topics that are configured, until Ctrl-C: for something to look at.

    docker compose --profile demo up
    python examples/live_stream.py --rate 200

It is the stream of `rtexp demo` with its five experiments (a gain, a drop, none, a broken split, a re-ramp), whose
ramps are now: counts show after some seconds, and looks come every 15 minutes. Bad input and late events are part of
it. Started again it goes on with the same experiments. Their names and users mix with others', so give it a pipeline of
its own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import time
from typing import TYPE_CHECKING

from rtexp.local.generator import Generator
from rtexp.local.pacing import stream
from rtexp.local.raw_writer import raw_writer
from rtexp.local.readiness import wait_for_snapshot
from rtexp.local.story import CONTROL, EXPERIMENTS, GROUPS, Story
from rtexp.local.truth import HOUR_MS, Rules
from rtexp.records.snapshot import Allocation
from rtexp.settings import Settings, load
from rtexp.store.definitions import Experiment
from rtexp.store.engine import opened, writing_alone
from rtexp.store.metadata import load as add
from rtexp.store.metadata import read_experiments
from rtexp.store.own_plans import OwnPlan, encoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rtexp.local.raw_records import RawRecord
    from rtexp.local.raw_writer import RawWriter

FIRST = EXPERIMENTS[0]
JUST_RAMPED_MS = max(each.ramp_after_ms for each in EXPERIMENTS) - FIRST.ramp_after_ms
"""How long ago the first experiment ramped when the last one does."""
PLAN = encoded(OwnPlan(statistics={"look_every_hours": 0.25}))
USERS = 20_000


class Unmarked:
    """A writer whose watermark is the clock's business: in a live pipeline markers are counted and do nothing."""

    def __init__(self, writer: RawWriter) -> None:
        self._writer = writer

    async def send(self, records: Iterable[RawRecord]) -> None:
        """Take over records."""
        await self._writer.send(records)

    async def mark(self, _: int) -> None:
        """Send nothing."""

    async def flush(self) -> None:
        """Return when the broker has all."""
        await self._writer.flush()


def load_experiments(settings: Settings, now_ms: int) -> tuple[Story, int]:
    """Return the story whose experiments are in SQL, begun earlier or now, and in which of its cycles we are."""
    with opened(settings.store) as engine, writing_alone(engine) as connection:
        stored = {experiment.name: experiment.allocations for experiment in read_experiments(connection)}
        first_ms = stored[FIRST.name][0].at_ms if FIRST.name in stored else now_ms - JUST_RAMPED_MS
        story = Story(first_ms - FIRST.ramp_after_ms, settings.pipeline.period_hours * HOUR_MS)
        now_in = (now_ms - story.start_ms) // story.cycle_ms
        changes = [change for cycle in range(now_in + 1) for change in story.allocations(cycle)]
        definitions = [
            Experiment(
                each.name,
                CONTROL,
                GROUPS,
                tuple(Allocation(c.group, c.percent, c.at_ms) for c in changes if c.experiment == each.name),
                PLAN,
            )
            for each in EXPERIMENTS
        ]
        add(connection, definitions, pipeline=settings.pipeline, now_ms=now_ms)
    return story, now_in


def records(story: Story, rules: Rules, rate: float, *, cycle: int, now_ms: int) -> Iterator[RawRecord]:
    """Yield the rest of a cycle. What came before is made as well: the stream is one of a seed."""
    generator = Generator(story, rules, users=USERS, records_per_cycle=int(rate * story.cycle_ms / 1000))
    told = itertools.chain.from_iterable(map(generator.cycle, range(cycle + 1)))
    return itertools.dropwhile(lambda record: record.arrival_ms < now_ms, (each.record for each in told))


async def run(settings: Settings, rate: float) -> None:
    """Send cycle after cycle."""
    async with raw_writer(settings) as writer:
        while True:
            now_ms = int(time.time() * 1000)
            story, cycle = load_experiments(settings, now_ms)
            await wait_for_snapshot(settings.kafka, now_ms)
            print(f"sending {rate:g} records a second; Ctrl-C ends it", flush=True)
            rest = records(story, Rules.of(settings), rate, cycle=cycle, now_ms=int(time.time() * 1000))
            await stream(rest, Unmarked(writer), speed=1.0)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rate", type=float, default=50.0, help="Records a second, about.")
    given = parser.parse_args()
    asyncio.run(run(load(None, os.environ), given.rate))


if __name__ == "__main__":
    main()
