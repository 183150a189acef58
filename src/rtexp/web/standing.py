"""Where the pipeline stands: how complete counts are, who is behind and why, judged from what the jobs last said."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

from rtexp.web import figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rtexp.store.operations import PipelineRow, WorkerRow

State = Literal["ready", "catching-up", "silent"]

SILENT_MS = 20_000
"""Everybody speaks every 5 s, and that is written every 5 s: who is older than this may be dead."""
LATE_MS = 30_000
"""So much more than what is waited for on purpose makes counts late."""
JOBS = ("ingest", "aggregate", "results")


class Clock(NamedTuple):
    """How distances are measured."""

    now_ms: int
    is_live: bool
    """False where the records' own times move things: those have no distance to now."""
    on_purpose_ms: int
    """What actions wait by design."""


class Partition(NamedTuple):
    """One input partition of a job."""

    row: PipelineRow
    state: State
    behind_ms: int | None
    """From the watermark to now; None where that says nothing, or nothing has been read yet."""

    @property
    def done(self) -> float:
        """How much of the rewind is done, 0 to 1; 1 where there is none."""
        return self.row.rewind_done / self.row.rewind_total if self.row.rewind_total else 1.0


class Job(NamedTuple):
    """All partitions of one job."""

    name: str
    partitions: Sequence[Partition]
    workers: int
    """That have spoken lately."""

    @property
    def slowest(self) -> Partition | None:
        """The partition with the earliest watermark."""
        return min(self.partitions, key=lambda each: each.row.watermark_ms, default=None)

    @property
    def held(self) -> int:
        """How many rows wait for the other input, or for metadata."""
        return sum(each.row.held for each in self.partitions)

    def in_state(self, state: State) -> int:
        """Return how many partitions are in a state."""
        return sum(each.state == state for each in self.partitions)


class Worker(NamedTuple):
    """One worker, and how it is."""

    row: WorkerRow
    state: State
    cores: float
    """CPU time a second since it started."""


class Sentence(NamedTuple):
    """What a page begins with."""

    headline: str
    why: str
    is_well: bool


class Standing(NamedTuple):
    """Where everything stands, the sentence first."""

    sentence: Sentence
    complete_ms: int | None
    """All that arrived before this is in the counts; None: not known."""
    said_ms: int | None
    """When a job last spoke."""
    jobs: Sequence[Job]
    workers: Sequence[Worker]


def judge(pipeline: Iterable[PipelineRow], workers: Iterable[WorkerRow], clock: Clock) -> Standing:
    """Return where things stand, from the rows that SQL has."""
    partitions = [_partition(row, clock) for row in pipeline]
    rows = list(workers)
    catching_up = {each.row.worker for each in partitions if each.state == "catching-up"}
    judged = [_worker(row, catching_up, clock) for row in rows]
    by_job: Mapping[str, list[Partition]] = {
        name: list(group)
        for name, group in groupby(
            sorted(partitions, key=lambda each: each.row.job), key=lambda each: each.row.job
        )
    }
    jobs = [
        Job(
            name,
            by_job.get(name, []),
            sum(each.row.job == name and each.state != "silent" for each in judged),
        )
        for name in (*JOBS, *sorted(by_job.keys() - set(JOBS)))
    ]
    complete_ms = _complete_ms(by_job)
    spoke_ms = [each.row.updated_ms for each in partitions] + [row.updated_ms for row in rows]
    said_ms = max(spoke_ms, default=None)
    sentence = _sentence(partitions, complete_ms, said_ms, clock)
    return Standing(sentence, complete_ms, said_ms, jobs, judged)


def _partition(row: PipelineRow, clock: Clock) -> Partition:
    if clock.now_ms - row.updated_ms > SILENT_MS:
        state: State = "silent"
    else:
        state = "catching-up" if row.rewind_done < row.rewind_total else "ready"
    has_distance = clock.is_live and row.watermark_ms > 0
    return Partition(row, state, max(clock.now_ms - row.watermark_ms, 0) if has_distance else None)


def _worker(row: WorkerRow, catching_up: set[str], clock: Clock) -> Worker:
    if clock.now_ms - row.updated_ms > SILENT_MS:
        state: State = "silent"
    else:
        state = "catching-up" if row.worker in catching_up else "ready"
    up_ms = max(row.updated_ms - row.started_ms, 1)
    return Worker(row, state, 1000 * row.cpu_seconds / up_ms)


def _complete_ms(by_job: Mapping[str, Sequence[Partition]]) -> int | None:
    """Return the earliest watermark of the last job, whose rows are the cells."""
    earliest = min((each.row.watermark_ms for each in by_job.get("results", ())), default=0)
    return earliest or None


def _sentence(
    partitions: Sequence[Partition], complete_ms: int | None, said_ms: int | None, clock: Clock
) -> Sentence:
    if said_ms is None or not partitions:
        why = "What workers say shows here some ten seconds after they start: `rtexp up` starts them."
        return Sentence("Nothing is known of the jobs yet", why, is_well=False)
    if clock.now_ms - said_ms > SILENT_MS:
        why = (
            "What follows is as of then. Either no worker runs, or the results worker that writes here can't reach "
            "SQL: their logs say which. What was counted is kept."
        )
        return Sentence(f"No word from the jobs since {figures.second(said_ms)} UTC", why, is_well=False)
    complete = "complete to a time that isn't known yet"
    if complete_ms is not None:
        by = "UTC" if clock.is_live else "UTC by the clock of the records"
        complete = f"complete to {figures.second(complete_ms)} {by}"
    if (troubled := _troubled(partitions)) is not None:
        return _when_one_is_not_ready(troubled, complete)
    return _when_all_are_ready(partitions, complete, clock)


def _troubled(partitions: Sequence[Partition]) -> Partition | None:
    """Return the partition that has most to catch up, or else the one that has been silent for longest."""
    catching_up = [each for each in partitions if each.state == "catching-up"]
    if catching_up:
        return max(catching_up, key=lambda each: each.row.rewind_total - each.row.rewind_done)
    silent = [each for each in partitions if each.state == "silent"]
    return min(silent, key=lambda each: each.row.updated_ms, default=None)


def _when_one_is_not_ready(partition: Partition, complete: str) -> Sentence:
    row = partition.row
    where = f"{row.job} partition {row.partition}"
    if partition.state == "silent":
        why = (
            f"Worker {row.worker} hasn't spoken of it since {figures.second(row.updated_ms)} UTC. Another takes over "
            "once the broker has given it up, or it is started again; nothing is lost."
        )
        return Sentence(f"Counts are {complete}; {where} is silent", why, is_well=False)
    why = (
        f"Worker {row.worker} runs again what came since the last checkpoint: {partition.done:.0%} done. Nothing is "
        "lost and nothing is counted twice."
    )
    return Sentence(f"Counts are {complete}; {where} is catching up", why, is_well=False)


def _when_all_are_ready(partitions: Sequence[Partition], complete: str, clock: Clock) -> Sentence:
    late = [each for each in partitions if each.behind_ms is not None]
    slowest = max(late, key=lambda each: each.behind_ms or 0, default=None)
    if slowest is None or slowest.behind_ms is None:
        return Sentence(f"Counts are {complete}", "All partitions are ready.", is_well=True)
    row, behind = slowest.row, figures.duration(slowest.behind_ms)
    waited = f"{clock.on_purpose_ms / 1000:g} s are waited on purpose, so that late activations count"
    if slowest.behind_ms <= clock.on_purpose_ms + LATE_MS:
        why = f"The slowest partition is {behind} behind the clock; {waited}."
        return Sentence(f"Counts are {complete}", why, is_well=True)
    held = f", {row.held:,} rows wait there" if row.held else ""
    why = (
        f"{row.job} partition {row.partition} of {row.input} is the slowest{held}; {waited}. Nothing is lost: what is "
        "late is counted when it can be."
    )
    return Sentence(f"Counts are {complete}, {behind} behind the clock", why, is_well=False)
