"""CPU time an action, by job: activations first, then all actions as a backlog, read at full speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.bench.accounting import Calibration, calibrate
from rtexp.bench.backlog import backlog, send_all
from rtexp.bench.pipeline import Meter, bench_settings, running
from rtexp.bench.workload import ACTION_HOURS, FIRST_ACTION_MS, HOUR_MS, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rtexp.bench.pipeline import Bench, Spent

JOIN_DELAY_MS = 10_000


class CpuFigures(NamedTuple):
    """Of one run; microseconds of CPU time an action."""

    actions: int
    joins: int
    us_an_action: Mapping[str, float]
    """By process."""
    wall_seconds: float
    peak_rss_mb: Mapping[str, float]
    checkpoints: Mapping[str, int]
    """Of all partitions, while the actions were counted."""
    cells: int
    differing_cells: int
    calibration: Calibration


async def measure_cpu(
    workload: Workload,
    directory: Path,
    environ: Mapping[str, str],
    *,
    checkpoint_seconds: float,
    say: Callable[[str], None],
) -> CpuFigures:
    """Run a whole pipeline on the workload."""
    settings = bench_settings(directory, checkpoint_seconds=checkpoint_seconds)
    wanted = workload.cells()
    async with running(settings, environ) as bench:
        await bench.load(workload.experiment_names())
        say("sending activations")
        async with backlog(settings) as writer:
            await send_all(writer, workload.activation_records(), "activations")
            await writer.mark(FIRST_ACTION_MS)
        say("counting activations")
        await bench.counted()
        say(f"sending {workload.actions:,} actions")
        calibration = calibrate()
        before = await _checkpoints(bench)
        async with backlog(settings) as writer:
            await send_all(writer, workload.action_records(), "actions")
            await writer.mark(FIRST_ACTION_MS + ACTION_HOURS * HOUR_MS + JOIN_DELAY_MS + 1)
            await writer.flush()
            meter = Meter(bench)
        say("counting")
        await bench.counted()
        spent = meter.spent()
        after = await _checkpoints(bench)
        peaks = {name: used.peak_rss_mb for name, used in bench.usage().items()}
        differing = bench.differing(wanted)
    return CpuFigures(
        workload.actions,
        sum(counts.volume for counts in wanted.values()),
        _us(spent, workload.actions),
        spent.wall_seconds,
        peaks,
        {job: after[job] - before[job] for job in after},
        len(wanted),
        differing,
        calibration,
    )


def _us(spent: Spent, actions: int) -> dict[str, float]:
    return {name: seconds * 1e6 / actions for name, seconds in spent.cpu_seconds.items()}


async def _checkpoints(bench: Bench) -> dict[str, int]:
    """Return how many checkpoints the tasks of each job have taken so far."""
    board = await bench.board()
    totals = {}
    for job, agent in (("aggregate", "users"), ("results", "buckets")):
        details = [s.details.get(agent, {}) for s in board.live_partitions(job, _far)]
        totals[job] = sum(int(d.get("checkpoints", 0)) for d in details)
    return totals


_far = 0
"""Any status counts, however old."""
