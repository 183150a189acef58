"""What a user costs in the memory of an aggregate worker: the difference between few users and many."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.bench.backlog import backlog, send_all
from rtexp.bench.cpu import LAST_MARK_MS, send_activations
from rtexp.bench.pipeline import bench_settings, running
from rtexp.bench.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtexp.bench.pipeline import Stage

WORKER = "aggregate-1"
MANY = 5
"""Times as many users."""


class UsersFigures(NamedTuple):
    """With so many users, each in three groups, and each counted in ten events or so; in MB."""

    users: int
    actions: int
    rss_mb: Mapping[str, float]
    """Of each process, once everything was counted."""
    peak_rss_mb: Mapping[str, float]
    differing_cells: int


class MemoryFigures(NamedTuple):
    """Bytes of resident memory that each user more adds to the one aggregate worker."""

    bytes_a_user: float
    peak_bytes_a_user: float
    with_users: Sequence[UsersFigures]

    @classmethod
    def of(cls, few: UsersFigures, many: UsersFigures) -> MemoryFigures:
        """Compare; what doesn't depend on users cancels out, as long as both have had the same actions."""
        more = many.users - few.users
        grown_mb = many.rss_mb[WORKER] - few.rss_mb[WORKER]
        peak_grown_mb = many.peak_rss_mb[WORKER] - few.peak_rss_mb[WORKER]
        return cls(grown_mb * (1 << 20) / more, peak_grown_mb * (1 << 20) / more, [few, many])


async def measure_memory(stages: Sequence[Stage], *, users: int, actions: int) -> MemoryFigures:
    """Count the same number of actions of ``users``, and of five times as many; a stage for each."""
    few, many = [
        await _with(stage, Workload(users=count, actions=actions))
        for stage, count in zip(stages, (users, MANY * users), strict=True)
    ]
    return MemoryFigures.of(few, many)


async def _with(stage: Stage, workload: Workload) -> UsersFigures:
    settings = bench_settings(stage.directory)
    async with running(settings, stage.environ) as bench:
        await bench.load(workload.definitions())
        await send_activations(bench, stage, workload)
        async with backlog(settings) as writer:
            await send_all(writer, workload.action_records(), "actions")
            await writer.mark(LAST_MARK_MS)
        await bench.counted()
        bench.require_undisturbed()
        used = bench.usage()
        return UsersFigures(
            users=workload.users,
            actions=workload.actions,
            rss_mb={name: one.rss_mb for name, one in used.items()},
            peak_rss_mb={name: one.peak_rss_mb for name, one in used.items()},
            differing_cells=bench.differing(workload.cells()),
        )
