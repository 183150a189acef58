"""CPU time an action, by job: activations first, then all actions as a backlog, read at full speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.bench.accounting import Calibration, calibrate
from rtexp.bench.backlog import backlog, send_all
from rtexp.bench.pipeline import Meter, Stage, bench_settings, running
from rtexp.bench.profile import profiling
from rtexp.bench.workload import ACTION_HOURS, FIRST_ACTION_MS, HOUR_MS, Workload
from rtexp.settings import ActionSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rtexp.bench.pipeline import Bench, Spent
    from rtexp.local.status_board import StatusBoard

LAST_MARK_MS = FIRST_ACTION_MS + (ACTION_HOURS + 1) * HOUR_MS
"""Behind the join delay of the last action."""
ACTIONS_A_CHECKPOINT = 600_000
FLUSH_SECONDS = 2.0
"""How long a checkpoint that is due waits for the next flush of a worker that is behind, about."""
LEAST_CHECKPOINT_SECONDS = 0.1
_BROKER = "broker"
_ANY_TIME_MS = 0


class CpuFigures(NamedTuple):
    """Of one run; microseconds of CPU time an action, of each process and of all but the broker."""

    actions: int
    joins: int
    workers: int
    """Of the aggregate job; one of each other."""
    us_an_action: Mapping[str, float]
    us_an_action_in_all: float
    actions_a_second_and_core: float
    wall_seconds: float
    others_cores: float
    """Processors that were busy with other things: beyond one or so, the figures are higher than they should be."""
    peak_rss_mb: Mapping[str, float]
    whole_cpu_seconds: Mapping[str, float]
    """Of each process since it started: start and activations included."""
    changelog_bytes_an_action: float
    """Of users and buckets, as the broker stores them, compaction included."""
    checkpoint_seconds: float
    """As set, for both jobs."""
    checkpoints_a_partition: Mapping[str, float]
    """Of each job, while the actions were counted."""
    flushes_a_partition: Mapping[str, float]
    """Likewise. Every second one is a checkpoint at most: right after one, nothing is unsaved yet."""
    cells: int
    differing_cells: int
    calibration: Calibration


async def measure_cpu(
    workload: Workload,
    stage: Stage,
    *,
    checkpoint_seconds: float,
    aggregates: int = 1,
    profiles: Path | None = None,
    sections: Mapping[str, object] | None = None,
) -> CpuFigures:
    """Run a whole pipeline on the workload; ``profiles``: also sample where its workers' time goes, into there.

    ``sections``: those of the settings that are otherwise.
    """
    address = stage.broker and stage.broker.address
    tracked = ActionSettings(tracked=workload.event_names, cap_per_hour=workload.cap_per_hour)
    settings = bench_settings(stage.directory, address, tracked, checkpoint_seconds=checkpoint_seconds)
    settings = settings.model_copy(update=sections or {})
    wanted = workload.cells()
    workers = {"ingest": 1, "aggregate": aggregates, "results": 1}
    async with running(settings, stage.environ, workers=workers, broker=stage.broker) as bench:
        await bench.load(workload.definitions())
        await send_activations(bench, stage, workload)
        stage.say(f"{workload.actions:,} actions: sending")
        changelogs = bench.stored_bytes("changelog")
        async with backlog(settings) as writer:
            await send_all(writer, workload.action_records(), "actions")
            await writer.mark(LAST_MARK_MS)
            await writer.flush()
            calibration = calibrate()
            before = await bench.fresh_board()
            meter = Meter(bench)
        stage.say(f"{workload.actions:,} actions: counting")
        with profiling(bench.supervisor.pids, profiles):
            await bench.counted()
            spent = meter.spent()
        # As said with the last positions, so without those that were taken since.
        after = await bench.board()
        used = bench.usage()
        changelogs = bench.stored_bytes("changelog") - changelogs
        differing = bench.differing(wanted)
    us = _us(spent, workload.actions)
    in_all = sum(cost for name, cost in us.items() if name != _BROKER)
    return CpuFigures(
        actions=workload.actions,
        joins=sum(counts.volume for counts in wanted.values()),
        workers=aggregates,
        us_an_action=us,
        us_an_action_in_all=in_all,
        actions_a_second_and_core=1e6 / in_all,
        wall_seconds=spent.wall_seconds,
        others_cores=spent.others_cores,
        peak_rss_mb={name: one.peak_rss_mb for name, one in used.items()},
        whole_cpu_seconds={name: one.cpu_seconds for name, one in used.items()},
        changelog_bytes_an_action=changelogs / workload.actions,
        checkpoint_seconds=checkpoint_seconds,
        checkpoints_a_partition=_more(before, after, "checkpoints"),
        flushes_a_partition=_more(before, after, "flushes"),
        cells=len(wanted),
        differing_cells=differing,
        calibration=calibration,
    )


async def send_activations(bench: Bench, stage: Stage, workload: Workload) -> None:
    """Send all activations, and return when they have been counted."""
    stage.say(f"{workload.actions:,} actions: first the activations of {workload.users:,} users")
    async with backlog(bench.settings) as writer:
        await send_all(writer, workload.activation_records(), "activations")
        await writer.mark(FIRST_ACTION_MS)
    await bench.counted()


def checkpoint_seconds_for(figures: CpuFigures, *, speed_up: float = 1.0) -> float:
    """Return an interval that gives a checkpoint per 600,000 actions, or some more, by how long another run took.

    ``speed_up``: how many times as many actions a second are expected.
    """
    period = ACTIONS_A_CHECKPOINT * figures.wall_seconds / figures.actions / speed_up
    return max(LEAST_CHECKPOINT_SECONDS, 0.85 * period - FLUSH_SECONDS)


def has_enough_checkpoints(figures: CpuFigures) -> bool:
    """Tell whether aggregate has taken one per 600,000 actions, on average over its partitions."""
    return figures.checkpoints_a_partition["aggregate"] >= 0.95 * figures.actions / ACTIONS_A_CHECKPOINT


def _us(spent: Spent, actions: int) -> dict[str, float]:
    return {name: seconds * 1e6 / actions for name, seconds in spent.cpu_seconds.items()}


def has_all_checkpoints(figures: CpuFigures) -> bool:
    """Tell whether nearly every second flush of aggregate was a checkpoint: no interval gives more."""
    return figures.checkpoints_a_partition["aggregate"] >= 0.45 * figures.flushes_a_partition["aggregate"]


def _more(before: StatusBoard, after: StatusBoard, sensor: str) -> dict[str, float]:
    """Return by how much a sensor of each job's partitions has grown, on average over them."""
    was, now = _average(before, sensor), _average(after, sensor)
    return {job: now[job] - was[job] for job in now}


def _average(board: StatusBoard, sensor: str) -> dict[str, float]:
    averages = {}
    for job, agent in (("aggregate", "users"), ("results", "buckets")):
        details = [s.details.get(agent, {}) for s in board.live_partitions(job, _ANY_TIME_MS)]
        averages[job] = sum(int(d.get(sensor, 0)) for d in details) / max(len(details), 1)
    return averages
