"""What a demo shows while it runs: a table in place on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from sqlalchemy import func, select

from rtexp.local.demo_states import DECIDING
from rtexp.local.story import CONTROL, EXPERIMENTS
from rtexp.store.looks import read_newest_looks
from rtexp.store.schema import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

LINE_SECONDS = 5.0


class Totals(NamedTuple):
    """A group in a period, over all buckets."""

    experiment: str
    period_start_ms: int
    group: str
    exposures: int
    volume: int
    actors: int
    """Summed over the events: a user who did two things counts twice."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A moment of a demo."""

    totals: Sequence[Totals]
    states: Mapping[str, str]
    """By experiment what the newest look says of the metric that decides; absent before the first look."""
    sent_rows: int
    rows_per_second: float
    sent_ms: int | None
    """Simulated time of the newest record sent."""
    counted_ms: int
    """Simulated time up to which everything has been counted; 0 before the first marker has come through."""


def read_totals(connection: Connection) -> list[Totals]:
    """Return the totals of each group in the newest period of each experiment."""
    key = (cells.c.experiment, cells.c.period_start_ms, cells.c.group_name)
    sums = (func.sum(column) for column in (cells.c.exposures, cells.c.volume, cells.c.actors))
    rows = connection.execute(select(*key, *sums).group_by(*key).order_by(*key))
    totals = [Totals(*row) for row in rows]
    newest = {row.experiment: row.period_start_ms for row in totals}  # in order: the last one stays
    return [row for row in totals if row.period_start_ms == newest[row.experiment]]


def read_newest_states(connection: Connection) -> dict[str, str]:
    """Return by experiment what the newest look says of the deciding metric."""
    newest = read_newest_looks(connection, event=DECIDING.event)
    return {
        row.experiment: row.state for row in newest if (row.metric, row.role) == (DECIDING.metric, "decision")
    }


def table_of(scene: Scene) -> Table:
    """Return the results as a table, a line a group."""
    shows = {experiment.name: experiment.shows for experiment in EXPERIMENTS}
    table = Table("experiment", "planted", "period since", "group", box=None, header_style="bold")
    for column in ("exposures", "volume", "actions per user", "actors per user"):
        table.add_column(column, justify="right")
    table.add_column(f"verdict on {DECIDING.event} {DECIDING.metric}")
    for row in scene.totals:
        table.add_row(
            row.experiment,
            shows.get(row.experiment, ""),
            _time(row.period_start_ms),
            row.group,
            f"{row.exposures:,}",
            f"{row.volume:,}",
            _ratio(row.volume, row.exposures),
            _ratio(row.actors, row.exposures),
            "" if row.group == CONTROL else scene.states.get(row.experiment, "no look yet"),
        )
    return table


def status_line(scene: Scene) -> str:
    """Return how far the stream and the counting are."""
    counted = f"counted up to {_time(scene.counted_ms)}" if scene.counted_ms else "nothing counted yet"
    return (
        f"{scene.sent_rows:,} records sent, {scene.rows_per_second:,.0f} a second; "
        f"simulated time {_time(scene.sent_ms)}, {counted}; "
        f"{sum(row.exposures for row in scene.totals):,} exposures, "
        f"{sum(row.volume for row in scene.totals):,} actions in the newest periods"
    )


@contextmanager
def showing(stream: TextIO, *, clock: Callable[[], float] = monotonic) -> Iterator[Callable[[Scene], None]]:
    """Show scenes as they come."""
    if stream.isatty():
        with Live(console=Console(file=stream), auto_refresh=False) as live:
            yield lambda scene: live.update(Group(table_of(scene), Text(status_line(scene))), refresh=True)
        return
    next_line = clock()

    def show(scene: Scene) -> None:
        nonlocal next_line
        if clock() >= next_line:
            next_line = clock() + LINE_SECONDS
            stream.write(f"{status_line(scene)}\n")
            stream.flush()

    yield show


def _time(at_ms: int | None) -> str:
    return "none" if at_ms is None else f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "none"
