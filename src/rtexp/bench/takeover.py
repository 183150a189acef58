"""How soon the others go on after one of three aggregate workers was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from rtexp.bench.live import LiveStream, live_settings
from rtexp.bench.pipeline import running
from rtexp.errors import StoreUnavailable
from rtexp.local.status_board import StatusFollower

if TYPE_CHECKING:
    from rtexp.bench.pipeline import Bench, Stage
    from rtexp.records.status import Status

WORKERS = 3
SETTLE_SECONDS = 120.0
STREAM_SECONDS = 60.0
VICTIM = "aggregate-2"


class TakeoverFigures(NamedTuple):
    """Seconds by the clock on the wall."""

    session_timeout_seconds: float
    takeover_seconds: float
    """From `kill -9` to all partitions counting again; the killed worker itself comes back meanwhile."""


async def measure_takeover(stage: Stage, *, actions_a_second: int = 1000) -> TakeoverFigures:
    """Kill one of three workers while a stream is counted."""
    settings = live_settings(stage.directory)
    workers = {"ingest": 1, "aggregate": WORKERS, "results": 1}
    async with running(settings, stage.environ, workers=workers) as bench:
        stream = LiveStream(bench, actions_a_second)
        await stream.begin()
        streaming = asyncio.create_task(stream.run(STREAM_SECONDS))
        try:
            await _until_shared(bench)
            stage.say("takeover: killing one of three aggregate workers")
            before = await _positions(bench)
            killed_at = time.monotonic()
            os.kill(bench.supervisor.pids[VICTIM], signal.SIGKILL)
            await _until_all_advanced(bench, before)
            seconds = time.monotonic() - killed_at
            await streaming
        finally:
            streaming.cancel()
    return TakeoverFigures(settings.kafka.session_timeout_seconds, seconds)


async def _until_shared(bench: Bench) -> None:
    """Return when each of the workers has partitions, and they count."""
    until = time.monotonic() + SETTLE_SECONDS
    async with StatusFollower(bench.settings.kafka) as follower:
        while time.monotonic() < until:
            newest = _newest((await follower.read()).live_partitions("aggregate", _now_ms()))
            counting = len({status.worker for status in newest.values() if _position(status) > 0})
            if counting == WORKERS and len(newest) == bench.settings.kafka.partitions:
                return
    raise StoreUnavailable(f"{WORKERS} workers didn't share the partitions within {SETTLE_SECONDS:g} s")


async def _positions(bench: Bench) -> dict[int, int]:
    async with StatusFollower(bench.settings.kafka) as follower:
        await follower.read()
        newest = _newest((await follower.read()).live_partitions("aggregate", _now_ms()))
        return {partition: _position(status) for partition, status in newest.items()}


async def _until_all_advanced(bench: Bench, before: dict[int, int]) -> None:
    """Return when every partition has been counted beyond where it was, by a worker that lives."""
    died_ms = _now_ms()
    until = time.monotonic() + SETTLE_SECONDS
    async with StatusFollower(bench.settings.kafka) as follower:
        while time.monotonic() < until:
            board = await follower.read()
            spoken = [
                s for s in board.live_partitions("aggregate", _now_ms()) if s.at_ms > died_ms and s.ready
            ]
            newest = _newest(spoken)
            if all(p in newest and _position(newest[p]) > position for p, position in before.items()):
                return
    raise StoreUnavailable(f"not all partitions were taken over within {SETTLE_SECONDS:g} s")


def _newest(statuses: list[Status]) -> dict[int, Status]:
    return {status.partition: status for status in statuses if status.ready}


def _position(status: Status) -> int:
    return sum(source.position for source in status.inputs.values())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
