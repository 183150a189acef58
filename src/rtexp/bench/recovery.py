"""How fast a worker is back: reading its changelog, and running again what no checkpoint holds."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rtexp.bench.backlog import backlog, send_all
from rtexp.bench.changelogs import KINDS, measure_reading
from rtexp.bench.cpu import LAST_MARK_MS, send_activations
from rtexp.bench.pipeline import Stage, bench_settings, running
from rtexp.errors import FatalError, StoreUnavailable
from rtexp.local.status_board import StatusFollower

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtexp.bench.changelogs import ReadingFigures
    from rtexp.bench.pipeline import Bench
    from rtexp.bench.workload import Workload
    from rtexp.records.status import Status

NEVER_SECONDS = 3600.0
LIVE_SECONDS = 300.0
WORKER = "aggregate-1"
REWINDS, IS_LIVE = "; rewinding {", ": live; rewound "
"""What the engine logs of a partition when it has its state, and when it counts again."""
LEAST_CPU_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass
class RewindMeter:
    """Notes a worker's CPU time when its first partition begins to rewind, and when its last one is live.

    So nothing needs to be subtracted but what the same process had used before: one start differs from the next by
    more than a rewind takes. The other partitions' opening is inside.
    """

    partitions: int
    bench: Bench | None = None
    """Nothing is noted before this is set."""
    began: float | None = None
    ended: float | None = None
    _live: int = 0

    def on_line(self, name: str, line: str) -> None:
        """Take a line of output."""
        if self.bench is None or name != WORKER or not (REWINDS in line or IS_LIVE in line):
            return
        with suppress(ProcessLookupError, KeyError):  # it has ended meanwhile: then `cpu_seconds` says so
            now = self.bench.usage()[WORKER].cpu_seconds
            if REWINDS in line and self.began is None:
                self.began = now
            self._live += IS_LIVE in line
            if self._live == self.partitions:
                self.ended = now

    def cpu_seconds(self) -> float:
        """Return what rewinding took; FatalError if it wasn't seen from its beginning to its end."""
        if self.began is None or self.ended is None:
            raise FatalError(
                "the aggregate worker didn't log that its partitions rewound, and were live again"
            )
        return max(self.ended - self.began, LEAST_CPU_SECONDS)


class RecoveryFigures(NamedTuple):
    """Of one aggregate worker with all partitions; a second is one of CPU time."""

    rewound_rows: int
    rewinding_cpu_seconds: float
    rewound_rows_a_second: float
    differing_cells: int
    """After rewinding."""
    rewinding_wall_seconds: float
    """From `kill -9` to counting again: time-out of the session and start included."""
    start_cpu_seconds: float
    """Of a start with nothing at all to restore."""
    changelog_records: int
    changelog_mb: float
    """What a start with an empty disk read."""
    empty_disk_start_cpu_seconds: float
    full_disk_start_cpu_seconds: float
    reading: Mapping[str, ReadingFigures]
    """Of changelogs large enough to measure, by what they hold."""


async def measure_recovery(
    workload: Workload, stage: Stage, *, changelog_share: float = 1.0
) -> RecoveryFigures:
    """Kill a worker that has no checkpoint; then start it once with an empty disk, and once with a full one.

    After that, large changelogs are read; less than 1 of ``changelog_share`` makes them smaller, for tests.
    """
    settings = bench_settings(stage.directory, checkpoint_seconds=NEVER_SECONDS)
    rows = workload.actions + len(workload.activations()[0])
    started_ms = _now_ms()
    rewind = RewindMeter(settings.kafka.partitions)
    async with running(settings, stage.environ, on_line=rewind.on_line) as bench:
        await _live(bench, started_ms)
        start_cpu_seconds = bench.usage()[WORKER].cpu_seconds
        await bench.load(workload.definitions())
        await send_activations(bench, stage, workload)
        async with backlog(settings) as writer:
            await send_all(writer, workload.action_records(), "actions")
            await writer.mark(LAST_MARK_MS)
        await bench.counted()
        stage.say("recovery: killing the aggregate worker, which has no checkpoint")
        killed_at = time.monotonic()
        since_ms = _now_ms()
        os.kill(bench.supervisor.pids[WORKER], signal.SIGKILL)
        rewind.bench = bench
        live = await _live(bench, since_ms)
        rewinding_wall_seconds = time.monotonic() - killed_at
        assert sum(_detail(status, "rewound_records") for status in live) > 0
        await bench.counted()
        differing_cells = bench.differing(workload.cells())
    shutil.rmtree(settings.data.directory / "workers" / WORKER / "users")
    stage.say("recovery: starting with an empty disk")
    wiped, empty_disk_seconds = await _start(stage, settings_of=bench)
    stage.say("recovery: starting with a full disk")
    _, full_disk_seconds = await _start(stage, settings_of=bench)
    return RecoveryFigures(
        rewound_rows=rows,
        rewinding_cpu_seconds=rewind.cpu_seconds(),
        rewound_rows_a_second=rows / rewind.cpu_seconds(),
        differing_cells=differing_cells,
        rewinding_wall_seconds=rewinding_wall_seconds,
        start_cpu_seconds=start_cpu_seconds,
        changelog_records=sum(_detail(status, "changelog_records") for status in wiped),
        changelog_mb=sum(_detail(status, "changelog_bytes") for status in wiped) / 1e6,
        empty_disk_start_cpu_seconds=empty_disk_seconds,
        full_disk_start_cpu_seconds=full_disk_seconds,
        reading={kind: await measure_reading(stage, kind, share=changelog_share) for kind in KINDS},
    )


async def _start(stage: Stage, *, settings_of: Bench) -> tuple[list[Status], float]:
    """Start everything once more; return what the worker says once it is live, and its CPU time by then."""
    since_ms = _now_ms()
    async with running(settings_of.settings, stage.environ) as bench:
        live = await _live(bench, since_ms)
        return live, bench.usage()[WORKER].cpu_seconds


async def _live(bench: Bench, since_ms: int) -> list[Status]:
    """Return what the aggregate worker says of its partitions, once all have been live since a time."""
    until = time.monotonic() + LIVE_SECONDS
    async with StatusFollower(bench.settings.kafka) as follower:
        while time.monotonic() < until:
            board = await follower.read()
            live = [
                status
                for status in board.live_partitions("aggregate", _now_ms())
                if status.ready and status.at_ms > since_ms
            ]
            if len(live) == bench.settings.kafka.partitions:
                return live
    raise StoreUnavailable(f"the aggregate worker didn't come back within {LIVE_SECONDS:g} s")


def _detail(status: Status, name: str) -> int:
    return int(status.details.get("users", {}).get(name, 0))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
