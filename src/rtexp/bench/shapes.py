"""What skew and growth cost: shapes of input other than the even one, each beside even runs of the same time.

Without looks: they come by the hour for each experiment, whatever its actions are, and a backlog of six hours that
is counted within seconds would be mostly about them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from rtexp.bench.cpu import measure_cpu
from rtexp.settings import MetadataSettings, StatisticsSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rtexp.bench.cpu import CpuFigures
    from rtexp.bench.pipeline import Stage
    from rtexp.bench.workload import Workload

EVEN = "even"
SHAPES: Mapping[str, Callable[[Workload], Workload]] = {
    "hot-user": lambda even: replace(even, hot_user=0.3),
    "hot-user-uncapped": lambda even: replace(even, hot_user=0.3, cap_per_hour=0),
    "hot-user-repeats": lambda even: replace(even, hot_user=0.3, repeats=True),
    "hot-experiment": lambda even: replace(even, hot_experiment=0.9),
    "many-triggers": lambda even: replace(even, triggers=10_000),
    "many-triggers-hot": lambda even: replace(even, triggers=10_000, hot_user=0.3, hot_hours=1),
    "many-triggers-uncapped": lambda even: replace(
        even, triggers=10_000, hot_user=0.3, hot_hours=1, cap_per_hour=0
    ),
    "many-events": lambda even: replace(even, events=256),
    "many-experiments": lambda even: replace(even, experiments=300, groups=3),
    "many-users": lambda even: replace(even, users=10 * even.users),
}
"""What of the even workload is otherwise."""
BETWEEN_EVEN = 2
"""Shapes after each even run: close enough for a machine to be as busy with other things."""
CHECKPOINT_SECONDS = 2.0
SECTIONS = {"statistics": StatisticsSettings(look_every_hours=72), "metadata": MetadataSettings()}
"""No looks within the hours of the workload; and experiments are polled as often as elsewhere."""
_BROKER = "broker"


class ShapeFigures(NamedTuple):
    """Of one shape; microseconds are of CPU time, of all jobs together where no job is named."""

    shape: str
    of_even_throughput: float
    """Actions a second and core, as a share of what the even runs before and after this one had on average."""
    us_an_action: float
    us_a_join: float
    us_a_cell: float
    """Of all cells in SQL in the end."""
    us_an_action_by_job: Mapping[str, float]
    joins_an_action: float
    cells: int
    differing_cells: int
    peak_rss_mb: Mapping[str, float]
    others_cores: float


async def measure_shapes(
    workload: Workload, shapes: Sequence[str], make_stage: Callable[[str], Stage]
) -> list[ShapeFigures]:
    """Run even, two shapes, even, two shapes and so on; the last run is an even one."""
    runs: list[tuple[str, CpuFigures]] = []

    async def run(shape: str) -> None:
        stage = make_stage("shape")
        stage.say(f"shape: {shape}")
        shaped = workload if shape == EVEN else SHAPES[shape](workload)
        found = await measure_cpu(shaped, stage, checkpoint_seconds=CHECKPOINT_SECONDS, sections=SECTIONS)
        # At once: the whole takes long, and may be broken off.
        stage.say(
            f"{shape}: {found.us_an_action_in_all:.2f} us an action, {found.differing_cells} cells differ"
        )
        runs.append((shape, found))

    for number, shape in enumerate(shapes):
        if number % BETWEEN_EVEN == 0:
            await run(EVEN)
        await run(shape)
    await run(EVEN)
    return figures_of(runs)


def figures_of(runs: Sequence[tuple[str, CpuFigures]]) -> list[ShapeFigures]:
    """Compare each run with the nearest even ones before and after it, which must be there; an even one with itself."""
    evens = [place for place, (shape, _) in enumerate(runs) if shape == EVEN]
    found = []
    for place, (shape, run) in enumerate(runs):
        before = max(even for even in evens if even <= place)
        after = min(even for even in evens if even >= place)
        even_us = (runs[before][1].us_an_action_in_all + runs[after][1].us_an_action_in_all) / 2
        us = run.us_an_action_in_all
        found.append(
            ShapeFigures(
                shape=shape,
                of_even_throughput=even_us / us,
                us_an_action=us,
                us_a_join=us * run.actions / max(run.joins, 1),
                us_a_cell=us * run.actions / max(run.cells, 1),
                us_an_action_by_job={
                    name: cost for name, cost in run.us_an_action.items() if name != _BROKER
                },
                joins_an_action=run.joins / run.actions,
                cells=run.cells,
                differing_cells=run.differing_cells,
                peak_rss_mb=run.peak_rss_mb,
                others_cores=run.others_cores,
            )
        )
    return found
