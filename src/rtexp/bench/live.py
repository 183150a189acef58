"""A stream at a steady pace by the clock on the wall: 100 experiments x 2 groups x 10 events, as people would see it.

Among its users some are probes, one for each partition of users and each alone in an experiment of its own: what
their experiments count is what has been sent of them, so that SQL tells when an action has become visible.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from rtexp.bench.pipeline import bench_settings
from rtexp.bench.workload import EVENTS, GROUPS
from rtexp.core.buckets import HOUR_MS
from rtexp.errors import FatalError
from rtexp.local.raw_records import RawRecord, partition_of
from rtexp.local.raw_writer import raw_writer
from rtexp.store.engine import opened, reading
from rtexp.store.schema import cells

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy import Engine

    from rtexp.bench.pipeline import Bench
    from rtexp.local.raw_writer import RawWriter
    from rtexp.settings import Settings

TICK_SECONDS = 0.1
USERS = 20_000
EXPERIMENTS = 100
GROUPS_A_USER = 3
POLL_SECONDS = 0.05
SEEN_SECONDS = 120.0
CAP_PER_HOUR = 100_000
"""A probe acts once a tick: 36,000 times."""
_MINUTE_MS = 60_000


def live_settings(directory: Path, **pipeline: object) -> Settings:
    """Return settings with the live clock, and a cap that even a probe never reaches; else default ones.

    ``pipeline`` are some of its section's.
    """
    settings = bench_settings(directory, clock="live", **pipeline)
    actions = settings.actions.model_copy(update={"cap_per_hour": CAP_PER_HOUR})
    return settings.model_copy(update={"actions": actions})


@dataclass
class LiveStream:
    """Sends, and looks at what has become of it."""

    bench: Bench
    actions_a_second: int
    seed: int = 7
    sent: int = 0
    sending_seconds: float = 0.0
    """How long sending took; more than was asked for where this machine can't send so fast."""
    latencies_ms: list[float] = field(default_factory=list)
    """From a probe's action being handed to the producer to its being counted in SQL, as it was seen there."""
    _waiting: dict[str, deque[float]] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        partitions = self.bench.settings.kafka.partitions
        names = (f"probe{number}" for number in range(100_000))
        probes: dict[int, str] = {}
        for name in names:
            probes.setdefault(partition_of(name.encode(), partitions), name)
            if len(probes) == partitions:
                break
        self.probes = sorted(probes.values())
        self._random = random.Random(self.seed)  # noqa: S311 - no secret depends on it

    def experiment_names(self) -> list[str]:
        """Return the names of all experiments; a probe's is its own."""
        return [*(f"exp{number:03d}" for number in range(EXPERIMENTS)), *self.probes]

    async def begin(self, *, past_hours: int = 0) -> None:
        """Load the experiments and trigger all users; return when all of it has been counted.

        With ``past_hours``, that was in the hour so long before this one, and every user has done everything in each
        bucket since: the cells of these hours then are what they would be, had the stream gone on since then.
        """
        now_ms = _now_ms()
        past_ms = now_ms // HOUR_MS * HOUR_MS - past_hours * HOUR_MS if past_hours else now_ms
        await self.bench.load(dict.fromkeys(self.experiment_names(), GROUPS), start_ms=past_ms - _MINUTE_MS)
        async with raw_writer(self.bench.settings) as writer:
            await writer.send(self._activations(past_ms))
            for at_ms in range(past_ms, now_ms, self.bench.settings.pipeline.bucket_minutes * _MINUTE_MS):
                if past_hours:
                    for event in EVENTS:
                        await writer.send([_action(f"u{user}", event, at_ms) for user in range(USERS)])
            await writer.flush()
        await self.bench.counted()

    async def run(self, seconds: float) -> None:
        """Send actions for so long, and watch the probes; it must have begun.

        Returns when SQL has every action of the probes; FatalError if it hasn't in time, or has too many.
        """
        async with raw_writer(self.bench.settings) as writer:
            watching = asyncio.create_task(self._watch())
            try:
                await self._send(writer, seconds)
                await self.bench.counted()
                await self._all_seen(watching)
            finally:
                watching.cancel()

    async def _all_seen(self, watching: asyncio.Task[None]) -> None:
        until = time.monotonic() + SEEN_SECONDS
        # Nothing tells when the last look has been taken in: it has to be asked.
        while any(self._waiting.values()):
            if watching.done():
                await watching  # it has failed: say why
            if time.monotonic() > until:
                missing = {probe: len(sent) for probe, sent in self._waiting.items() if sent}
                raise FatalError(f"SQL lacks actions of probes that have been counted: {missing}")
            await asyncio.sleep(POLL_SECONDS)

    def _activations(self, at_ms: int) -> list[RawRecord]:
        made = [
            self._activation(f"u{number}", f"exp{experiment:03d}", at_ms)
            for number in range(USERS)
            for experiment in self._random.sample(range(EXPERIMENTS), GROUPS_A_USER)
        ]
        return [*made, *(self._activation(probe, probe, at_ms) for probe in self.probes)]

    def _activation(self, user: str, experiment: str, at_ms: int) -> RawRecord:
        group = self._random.choice(GROUPS)
        value = f'{{"user_id":"{user}","experiment":"{experiment}","group":"{group}","ts":{at_ms}}}'
        return RawRecord(_now_ms(), "activations", user.encode(), value.encode())

    async def _send(self, writer: RawWriter, seconds: float) -> None:
        began = time.monotonic()
        a_tick = round(self.actions_a_second * TICK_SECONDS)
        ticks = round(seconds / TICK_SECONDS)
        for tick in range(ticks):
            now_ms = _now_ms()
            users = [f"u{self._random.randrange(USERS)}" for _ in range(a_tick - len(self.probes))]
            for probe in self.probes:
                self._waiting.setdefault(probe, deque()).append(time.monotonic())
            sent = [_action(user, self._random.choice(EVENTS), now_ms) for user in [*users, *self.probes]]
            await writer.send(sent)
            await writer.flush()
            self.sent += a_tick
            await asyncio.sleep(max(0.0, began + (tick + 1) * TICK_SECONDS - time.monotonic()))
        self.sending_seconds = time.monotonic() - began

    async def _watch(self) -> None:
        with opened(self.bench.settings.store) as engine:
            async for counts in self._polled(engine):
                seen_at = time.monotonic()
                for probe, count in counts.items():
                    new = count - self._seen.get(probe, 0)
                    if not 0 <= new <= len(self._waiting.get(probe, ())):
                        raise FatalError(f"SQL says {count} actions of {probe}, which aren't what was sent")
                    for _ in range(new):
                        self.latencies_ms.append((seen_at - self._waiting[probe].popleft()) * 1000)
                    self._seen[probe] = count

    async def _polled(self, engine: Engine) -> AsyncIterator[dict[str, int]]:
        """Yield what SQL has of the probes' actions, by probe, again and again."""
        statement = (
            select(cells.c.experiment, func.sum(cells.c.volume))
            .where(cells.c.experiment.in_(self.probes))
            .group_by(cells.c.experiment)
        )

        def look() -> dict[str, int]:
            with reading(engine) as connection:
                return {name: int(volume) for name, volume in connection.execute(statement)}

        while True:
            yield await asyncio.to_thread(look)
            await asyncio.sleep(POLL_SECONDS)


def percentile(values: list[float], share: float) -> float:
    """Return the least value that at least ``share`` of the values don't exceed; ValueError for none.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 0.5)
    2.0
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = max(0, -(-int(share * 1_000_000) * len(ordered) // 1_000_000) - 1)
    return ordered[place]


def _action(user: str, event: str, at_ms: int) -> RawRecord:
    value = f'{{"user_id":"{user}","event":"{event}","ts":{at_ms},"app":"ios"}}'
    return RawRecord(_now_ms(), "actions", user.encode(), value.encode())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
