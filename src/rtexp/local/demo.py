"""The demo: a generated stream through the whole system, shown as it is counted, and checked in the end."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rtexp.errors import StoreUnavailable
from rtexp.local.broker import answers
from rtexp.local.demo_home import (
    delete_topics,
    demo_broker,
    demo_environ,
    demo_settings,
    make_home,
    write_config,
)
from rtexp.local.demo_states import DECIDING, expected_states, read_states
from rtexp.local.demo_verdict import compare
from rtexp.local.demo_view import Scene, read_newest_states, read_totals
from rtexp.local.generator import Generator
from rtexp.local.merged_log import MergedLog, childs_form
from rtexp.local.pacing import Sent, stream
from rtexp.local.positions import kafka_observer
from rtexp.local.raw_writer import raw_writer
from rtexp.local.readiness import wait_for_snapshot
from rtexp.local.status_board import StatusFollower
from rtexp.local.story import CONTROL, EXPERIMENTS, GROUPS, Story
from rtexp.local.system import local_system
from rtexp.local.truth import Rules, Truth
from rtexp.local.waiting import wait_until_counted
from rtexp.records.snapshot import Allocation
from rtexp.statistics.plans import DecisionMetric, Guardrail
from rtexp.store import own_plans
from rtexp.store.cells import read_cells
from rtexp.store.definitions import Experiment
from rtexp.store.engine import opened, reading, writing_alone
from rtexp.store.metadata import load
from rtexp.web.address import address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from rtexp.local.demo_verdict import Verdict
    from rtexp.local.demo_view import Totals
    from rtexp.local.raw_records import RawRecord
    from rtexp.local.raw_writer import RawWriter
    from rtexp.settings import Settings

START_MS = 1_420_416_000_000
"""2015-01-05T00:00Z: at the pace of a demo without an end, a week of it ends before now."""
LEAST_STREAM_SECONDS = 10.0
CYCLE_SECONDS = 600.0
"""How long a cycle takes where nobody says how long the demo shall be."""
RECORDS_PER_SECOND = 1500
MOST_RECORDS_PER_CYCLE = 400_000
USERS = 2000
WAIT_SECONDS = 180.0
SCENE_SECONDS = 1.0
LOG = "demo.log"
PLAN = own_plans.encoded(
    own_plans.OwnPlan(
        decision=(DecisionMetric(DECIDING.event, DECIDING.metric),),
        guardrails=(Guardrail("click", "volume", "drop"),),
    )
)
"""Of every experiment: one metric decides, the others are explored."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a demo needs to know of its surroundings."""

    settings: Settings
    """The user's."""
    directory: Path
    seconds: float | None
    """How long it shall take in all; None: until it is told to stop."""
    seed: int
    environ: Mapping[str, str]
    configured_broker: bool
    """Whether it runs on the user's own broker, with its security, rather than on a plain one of this machine."""
    say: Callable[[str], None]
    show: Callable[[Scene], None]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set from outside: end the stream, then count and compare what has been sent."""
    streaming: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the demo once a stop leaves something to compare."""


async def run_demo(stage: Stage) -> Verdict:
    """Run the whole demo, and return how its cells compare with the truth. All that it started has ended then."""
    began = time.monotonic()
    make_home(stage.directory)
    users, configured = stage.settings, stage.configured_broker
    shares_broker = await answers(demo_broker(users.kafka, configured=configured))
    settings = demo_settings(users, stage.directory, shares_broker=shares_broker, configured=configured)
    config_path = write_config(settings, stage.directory)
    stage.say(
        f"starting; the workers' log is {stage.directory / LOG}, pages come at {address_of(settings.web)}"
    )
    if users.kafka.protocol != "PLAINTEXT" and not configured:
        stage.say("on a plain broker of this machine; `rtexp demo --broker configured` uses that of [kafka]")
    with (stage.directory / LOG).open("w", encoding="utf-8") as log:
        try:
            async with local_system(
                settings,
                config_path,
                on_line=MergedLog(log, on_gone=stage.stop.set),
                environ={**demo_environ(stage.environ), **childs_form(as_json=False)},
            ):
                return await _Demo(stage, settings, began).run()
        finally:
            if shares_broker:
                await _clean(stage, settings)


async def _clean(stage: Stage, settings: Settings) -> None:
    try:
        await delete_topics(settings)
    except StoreUnavailable as exc:  # it changes nothing of what was found
        stage.say(str(exc))


class _Demo:
    """One run, in a system that has started."""

    def __init__(self, stage: Stage, settings: Settings, began: float) -> None:
        self._stage = stage
        self._settings = settings
        self._began = began
        rules = Rules.of(settings)
        self._rules = rules
        self._story = Story(START_MS, rules.period_ms)
        self._truth = Truth(rules, self._story)
        self._sent = Sent(0, None)

        self._cycles = 0
        """How many have been streamed to their end."""

    async def run(self) -> Verdict:
        await self._load(cycles=1)
        seconds = CYCLE_SECONDS
        if self._stage.seconds is not None:
            seconds = max(self._stage.seconds - (time.monotonic() - self._began), LEAST_STREAM_SECONDS)
        self._stage.say(f"ready after {time.monotonic() - self._began:.1f} s")
        generator = Generator(
            self._story,
            self._rules,
            seed=self._stage.seed,
            users=USERS,
            records_per_cycle=min(int(seconds * RECORDS_PER_SECOND), MOST_RECORDS_PER_CYCLE),
        )
        viewing = asyncio.create_task(self._view())
        try:
            async with raw_writer(self._settings) as writer:
                await self._stream(writer, generator, seconds)
            self._stage.say(f"{self._sent.rows:,} records sent; waiting until all are counted and published")
            async with kafka_observer(self._settings) as observer:
                waited = await wait_until_counted(observer, None, timeout_seconds=WAIT_SECONDS)
        finally:
            viewing.cancel()
            (end,) = await asyncio.gather(viewing, return_exceptions=True)
            if not isinstance(end, asyncio.CancelledError):
                self._stage.say(f"the view ended early: {end!r}")
        self._stage.show(await self._scene(0.0, self._sent.newest_ms or 0))
        self._stage.say(f"counted and published after {waited.seconds:.1f} s more")
        self._truth.finish()
        return await asyncio.to_thread(self._compare)

    async def _stream(self, writer: RawWriter, generator: Generator, seconds: float) -> None:
        """Send cycle after cycle, and in the end the marker that lets the last action be counted."""
        self._stage.streaming.set()
        for cycle in itertools.count():
            if cycle > 0:
                await self._load(cycles=cycle + 1)
            before = self._sent
            sent = await stream(
                self._told(generator, cycle),
                writer,
                speed=self._story.cycle_ms / 1000 / seconds,
                progress=lambda sent, before=before: self._progress(before, sent),  # type: ignore[misc]
                stopping=self._stage.stop.is_set,
            )
            self._progress(before, sent)
            self._cycles += not self._stage.stop.is_set()
            # The next cycle must end before now, too: arrivals in the future are taken back to the clock's.
            no_next = self._story.cycle_start_ms(cycle + 2) > _now_ms()
            if self._stage.seconds is not None or self._stage.stop.is_set() or no_next:
                break
        assert self._sent.newest_ms is not None  # a cycle is never empty, and what is taken of it is sent
        await writer.mark(self._sent.newest_ms + self._rules.join_delay_ms + 1)

    def _progress(self, before: Sent, sent: Sent) -> None:
        self._sent = Sent(before.rows + sent.rows, sent.newest_ms)

    def _told(self, generator: Generator, cycle: int) -> Iterator[RawRecord]:
        for record, meaning in generator.cycle(cycle):
            self._truth.tell(record.kind, record.arrival_ms, meaning)
            yield record

    async def _load(self, *, cycles: int) -> None:
        """Load the experiments as they are up to a cycle, and wait until ingest knows them.

        A record tells of years ago, so the newest snapshot judges it at once: it must be there before.
        """
        await asyncio.to_thread(self._load_now, cycles)
        await wait_for_snapshot(self._settings.kafka, _now_ms())

    def _load_now(self, cycles: int) -> None:
        changes = [change for cycle in range(cycles) for change in self._story.allocations(cycle)]
        definitions = [
            Experiment(
                experiment.name,
                CONTROL,
                GROUPS,
                tuple(
                    Allocation(c.group, c.percent, c.at_ms)
                    for c in changes
                    if c.experiment == experiment.name
                ),
                PLAN,
            )
            for experiment in EXPERIMENTS
        ]
        with opened(self._settings.store) as engine, writing_alone(engine) as connection:
            load(connection, definitions, pipeline=self._settings.pipeline, now_ms=_now_ms())

    async def _view(self) -> None:
        """Show a scene each second."""
        async with StatusFollower(self._settings.kafka) as follower:
            rows, at = self._sent.rows, time.monotonic()
            while True:
                await asyncio.sleep(SCENE_SECONDS)
                board = await follower.read()
                partials = board.reports("results", self._settings.kafka.topic("partials"))
                counted_ms = min((report.watermark_ms for report in partials.values()), default=0)
                now = time.monotonic()
                rate, rows, at = (self._sent.rows - rows) / (now - at), self._sent.rows, now
                self._stage.show(await self._scene(rate, counted_ms))

    async def _scene(self, rows_per_second: float, counted_ms: int) -> Scene:
        totals, states = await asyncio.to_thread(self._read)
        return Scene(totals, states, self._sent.rows, rows_per_second, self._sent.newest_ms, counted_ms)

    def _read(self) -> tuple[list[Totals], dict[str, str]]:
        with opened(self._settings.store) as engine, reading(engine) as connection:
            return read_totals(connection), read_newest_states(connection)

    def _compare(self) -> Verdict:
        with opened(self._settings.store) as engine, reading(engine) as connection:
            verdict = compare(self._truth, read_cells(connection), self._settings.sketch.lg_k)
            expected = expected_states(self._story, self._cycles)
            return replace(verdict, states=read_states(connection, expected))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
