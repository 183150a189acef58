"""Taking over experiments that a query yields into rtexp's own tables, as far as nothing that was counted moves."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from rtexp.store.engine import reading, writing_alone
from rtexp.store.foreign_rows import Refusal
from rtexp.store.metadata import Contradicts, Judge, Loaded, read_experiments, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Engine

    from rtexp.records.snapshot import Allocation
    from rtexp.settings import PipelineSettings
    from rtexp.store.definitions import Experiment
    from rtexp.store.foreign_rows import Yielded
    from rtexp.store.metadata import Change

NOTHING = Loaded(0, 0, 0)


class Imported(NamedTuple):
    """What came into rtexp's tables, and what didn't."""

    loaded: Loaded
    refusals: Sequence[Refusal]


def take_over(engine: Engine, yielded: Yielded, *, pipeline: PipelineSettings, now_ms: int) -> Imported:
    """Add to rtexp's tables what rows have more; an experiment that contradicts them is refused, the others go on.

    StoreUnavailable as of `reading` and `writing_alone`.
    """
    with reading(engine) as connection:
        stored = read_experiments(connection)
    changes, refusals = judged(stored, yielded, pipeline=pipeline, now_ms=now_ms)
    if not changes:
        return Imported(NOTHING, refusals)
    with writing_alone(engine) as connection:  # judged again: somebody may have loaded a file meanwhile
        changes, refusals = judged(read_experiments(connection), yielded, pipeline=pipeline, now_ms=now_ms)
        return Imported(write(connection, changes, now_ms=now_ms) if changes else NOTHING, refusals)


def judged(
    stored: Iterable[Experiment], yielded: Yielded, *, pipeline: PipelineSettings, now_ms: int
) -> tuple[list[Change], list[Refusal]]:
    """Return what rows add to what is stored, and all refusals, in the order of the rows.

    What lies ahead of all activations that may be accepted now is left for later: until then people may move it. So
    is all of an experiment that is new and has nothing else; of one that has begun groups are known before their time,
    as a period's plan is about all of them.
    """
    judge = Judge(stored, pipeline, now_ms)
    changes, refusals = [], list(yielded.refusals)
    for experiment in yielded.experiments:
        begun = [a for a in experiment.allocations if a.at_ms <= judge.latest_ms]
        if not begun and experiment.name not in judge.stored:
            continue
        found = replace(experiment, allocations=tuple(begun))
        try:
            change = judge.change(grown(judge.stored.get(experiment.name), found))
        except Contradicts as error:
            place = (experiment.name, error.allocation)
            row = yielded.rows.get(place) or yielded.rows[experiment.name, None]
            refusals.append(Refusal(row, experiment.name, error.what))
        else:
            if not change.is_empty:
                changes.append(change)
    return changes, sorted(refusals)


def grown(stored: Experiment | None, found: Experiment) -> Experiment:
    """Return what a definition of the whole experiment would say; ``found`` may lack what has been there.

    Rows that were deleted change nothing: their groups and allocations stay. So does the plan, which comes by
    `rtexp experiments load`. A row that repeats the percent in force adds nothing: a table that knows when a row was
    last touched, and not whether its percent changed, would fill ours.
    """
    if stored is None:
        return replace(found, allocations=_without_repeats((), found.allocations))
    groups = (*stored.groups, *(group for group in found.groups if group not in stored.groups))
    allocations = _without_repeats(stored.allocations, found.allocations)
    return replace(found, groups=groups, allocations=allocations, plan=stored.plan)


def _without_repeats(stored: Iterable[Allocation], found: Iterable[Allocation]) -> tuple[Allocation, ...]:
    """Return those of ``found`` that don't repeat what is in force before them; both are in order of time."""
    history: defaultdict[str, list[Allocation]] = defaultdict(list)
    for allocation in stored:
        history[allocation.group].append(allocation)
    added = []
    for allocation in found:
        of_group = history[allocation.group]
        # Of an allocation at the same time none is in force before: what contradicts it must be told.
        place = bisect_left(of_group, allocation.at_ms, key=_at_ms)
        is_stored = place < len(of_group) and of_group[place].at_ms == allocation.at_ms
        if place and not is_stored and of_group[place - 1].percent == allocation.percent:
            continue
        added.append(allocation)
        if not is_stored:
            of_group.insert(place, allocation)
    return tuple(added)


_at_ms = attrgetter("at_ms")
