"""Waiting until all that stood in the raw topics has been counted and published.

The way of a record, and what says that it has gone it::

    raw topics ──► ingest: its group's committed offsets
    filtered   ──► aggregate: its positions in `status`
    partials   ──► results: `published` in `status`, the next offset whose cells SQL has

Each stage's goal is taken when the stage before it has been reached, as that is when everything stands there.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol

from rtexp.errors import RtexpError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rtexp.local.status_board import Report

Offsets = dict[str, int]
"""Next offsets, by ``topic/partition``."""

REPORTS_WITHOUT_MOVE = 2


class Observer(Protocol):
    """How far everything is. Each method asks anew, and takes a moment where nothing is new."""

    async def raw_ends(self) -> Offsets:
        """Return the ends of the raw topics' partitions, those that are empty left out."""

    async def ingested(self) -> Offsets:
        """Return what ingest has committed of the raw topics."""

    async def filtered_ends(self) -> Offsets:
        """Return the ends of both filtered topics' partitions, those that are empty left out."""

    async def aggregated(self) -> dict[str, Report]:
        """Return aggregate's reports of both filtered topics, by ``topic/partition``."""

    async def partials_ends(self) -> Offsets:
        """Return the next offsets after the last committed record of each partition of partials."""

    async def published(self) -> Offsets:
        """Return up to which offsets of partials SQL has the cells."""


class LaggingError(RtexpError):
    """Time is up, and a stage hasn't got where it must; the message says which."""

    code = "lagging"


class Lag(NamedTuple):
    """How far a stage is behind: records over all partitions, and the partition that is furthest behind."""

    records: int
    worst: str
    worst_records: int

    def __str__(self) -> str:
        return f"{self.records} records behind, {self.worst_records} of them in {self.worst}"


@dataclass(frozen=True, slots=True)
class Waited:
    """How a wait ended."""

    seconds: float
    held_actions: int
    """Actions that wait for a later marker; 0 where everything has been counted."""


def lag_of(goal: Mapping[str, int], reached: Mapping[str, int]) -> Lag | None:
    """Return how far ``reached`` is behind ``goal``; None where it isn't."""
    behind = {name: end - reached.get(name, 0) for name, end in goal.items() if reached.get(name, 0) < end}
    if not behind:
        return None
    worst = max(behind, key=lambda name: behind[name])
    return Lag(sum(behind.values()), worst, behind[worst])


class HeldBack:
    """Tells actions that wait for a marker that nobody has sent from actions that will be counted soon.

    With the clock of records, nothing but a record or a marker moves a watermark. So once all activations
    have been applied, actions that are still held stay so. That it is so shows when their partition's reader,
    at work since then, reports the same position twice more.
    """

    def __init__(self, actions_topic: str) -> None:
        self._actions = f"{actions_topic}/"
        self._unmoved: dict[str, list[Report]] = {}

    def rows(self, goal: Mapping[str, int], reports: Mapping[str, Report]) -> int | None:
        """Return how many actions are held for good; None while something may still move."""
        behind = [name for name in goal if lag_of({name: goal[name]}, _positions(reports))]
        if not all(name.startswith(self._actions) for name in behind):
            return None  # activations are still on their way
        stuck = [self._is_stuck(name, reports.get(name)) for name in behind]
        return sum(reports[name].held_rows for name in behind) if all(stuck) else None

    def _is_stuck(self, name: str, report: Report | None) -> bool:
        if report is None or not report.ready or report.held_rows == 0:
            self._unmoved.pop(name, None)
            return False
        seen = self._unmoved.setdefault(name, [])
        if seen and seen[-1].position != report.position:
            seen.clear()
        if not seen or seen[-1].at_ms != report.at_ms:
            seen.append(report)
        return len(seen) > REPORTS_WITHOUT_MOVE


async def wait_until_counted(
    observer: Observer,
    held_back: HeldBack | None,
    *,
    timeout_seconds: float,
    progress: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = monotonic,
) -> Waited:
    """Return when everything that stood in the raw topics has been counted, and its cells are in SQL.

    Args:
        observer: How far everything is.
        held_back: With the clock of records; None: nothing is held for good.
        timeout_seconds: For all stages together; LaggingError after it.
        progress: Gets a line about the stage that is waited for, again and again.
        clock: Real time in seconds.
    """
    watch = _Watch(clock, timeout_seconds, progress)
    goal = await observer.raw_ends()
    while watch.is_behind("ingest", lag_of(goal, await observer.ingested())):
        pass
    goal = await observer.filtered_ends()
    held: int | None = 0
    while True:
        reports = await observer.aggregated()
        held = held_back.rows(goal, reports) if held_back else None
        if held is not None or not watch.is_behind("aggregate", lag_of(goal, _positions(reports))):
            break
    goal = await observer.partials_ends()
    while watch.is_behind("results", lag_of(goal, await observer.published())):
        pass
    return Waited(watch.seconds(), held or 0)


class _Watch:
    def __init__(
        self, clock: Callable[[], float], timeout_seconds: float, progress: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._start = clock()
        self._timeout_seconds = timeout_seconds
        self._progress = progress

    def seconds(self) -> float:
        return self._clock() - self._start

    def is_behind(self, job: str, lag: Lag | None) -> bool:
        """Tell whether to go on waiting; LaggingError when there is no time left for it."""
        if lag is None:
            return False
        if self.seconds() >= self._timeout_seconds:
            raise LaggingError(f"not done after {self._timeout_seconds:g} s: {job} is {lag}")
        self._progress(f"{job} is {lag}")
        return True


def _positions(reports: Mapping[str, Report]) -> Offsets:
    return {name: report.position for name, report in reports.items()}
