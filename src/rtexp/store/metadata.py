"""Experiments, their groups and allocations in SQL: read all, or add what a definition has more."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, insert, select, update

from rtexp.core.buckets import HOUR_MS
from rtexp.core.periods import periods_of, ramps_of
from rtexp.errors import UsageError
from rtexp.records.snapshot import Allocation
from rtexp.store.definitions import MOST_ALLOCATIONS, MOST_EXPERIMENTS, MOST_GROUPS, Experiment
from rtexp.store.schema import allocations, experiment_groups, experiments

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Table

    from rtexp.settings import PipelineSettings


class Loaded(NamedTuple):
    """How much a load has added."""

    experiments: int
    groups: int
    allocations: int
    plans: tuple[str, ...] = ()
    """The experiments whose own plan has been set, changed or removed."""


def read_experiments(connection: Connection) -> list[Experiment]:
    """Return all experiments in order of their creation, in three queries whatever their number.

    Groups stand in order of creation, allocations in order of time, then of creation.
    """
    groups: defaultdict[int, list[str]] = defaultdict(list)
    by_group: dict[int, tuple[int, str]] = {}
    for group in connection.execute(select(experiment_groups).order_by(experiment_groups.c.id)):
        groups[group.experiment_id].append(group.name)
        by_group[group.id] = (group.experiment_id, group.name)
    history: defaultdict[int, list[Allocation]] = defaultdict(list)
    for row in connection.execute(
        select(allocations).order_by(allocations.c.changed_at_ms, allocations.c.id)
    ):
        experiment_id, name = by_group[row.group_id]
        history[experiment_id].append(Allocation(name, row.percent, row.changed_at_ms))
    return [
        Experiment(row.name, row.control_group, tuple(groups[row.id]), tuple(history[row.id]), row.plan or "")
        for row in connection.execute(select(experiments).order_by(experiments.c.id))
    ]


def experiment_names(connection: Connection) -> list[str]:
    """Return the names of all experiments in order of their creation."""
    return list(connection.scalars(select(experiments.c.name).order_by(experiments.c.id)))


class Contradicts(UsageError):  # noqa: N818 - as in rtexp.errors
    """A definition isn't what is stored with something added; ``key`` is the part of it that isn't."""

    def __init__(self, experiment: str, key: str, what: str, allocation: Allocation | None = None) -> None:
        super().__init__(f"experiment `{experiment}`: {what}")
        self.what = what
        self.experiment = experiment
        self.key = key
        self.allocation = allocation


def load(
    connection: Connection, definitions: Iterable[Experiment], *, pipeline: PipelineSettings, now_ms: int
) -> Loaded:
    """Add the experiments, groups and allocations that aren't stored yet; what is stored stays as it is.

    An experiment's own plan alone becomes what its definition says; periods that have begun keep theirs (`plans`).

    ``connection`` must be in a transaction of `writing_alone`. Contradicts if a definition isn't what is stored and
    more, or would move a period in which users may have been counted; then nothing has been written.
    """
    judge = Judge(read_experiments(connection), pipeline, now_ms)
    return write(connection, [judge.change(defined) for defined in definitions], now_ms=now_ms)


class Judge:
    """Says of definitions, one after the other, what they have more than what is stored; it writes nothing."""

    def __init__(self, stored: Iterable[Experiment], pipeline: PipelineSettings, now_ms: int) -> None:
        self.stored = {experiment.name: experiment for experiment in stored}
        self._number = len(self.stored)
        self._period_ms = pipeline.period_hours * HOUR_MS
        self.latest_ms = now_ms + int(pipeline.max_ahead_seconds * 1000)
        """No accepted activation is later, so no period that begins later can have counted anyone."""

    def change(self, defined: Experiment) -> Change:
        """Return what ``defined`` adds; Contradicts if it can't be had by adding, or would be too much."""
        change = _change(self.stored.get(defined.name), defined)
        _refuse_moved_periods(change, self._period_ms, self.latest_ms)
        if len(change.history) + len(change.allocations) > MOST_ALLOCATIONS:
            raise Contradicts(
                defined.name,
                "allocations",
                f"expected at most {MOST_ALLOCATIONS:,} allocations, those in rtexp's tables included",
            )
        if len(defined.groups) > MOST_GROUPS:
            raise Contradicts(defined.name, "groups", f"expected at most {MOST_GROUPS} groups")
        if change.is_new and self._number >= MOST_EXPERIMENTS:
            raise Contradicts(
                defined.name, "", f"rtexp's tables have {MOST_EXPERIMENTS:,} experiments, and take no more"
            )
        self._number += change.is_new
        return change


def write(connection: Connection, changes: Sequence[Change], *, now_ms: int) -> Loaded:
    """Write what a `Judge` has found; the transaction is the one in which that one's experiments were read."""
    new = [change for change in changes if change.is_new]
    _insert(
        connection,
        experiments,
        [{"name": c.name, "control_group": c.control, "created_at_ms": now_ms} for c in new],
    )
    with_plans = [change for change in changes if change.plan is not None]
    if with_plans:
        set_plan = update(experiments).where(experiments.c.name == bindparam("of"))
        connection.execute(
            set_plan.values(plan=bindparam("own")),
            [{"of": c.name, "own": c.plan or None} for c in with_plans],
        )
    ids = {row.name: row.id for row in connection.execute(select(experiments.c.id, experiments.c.name))}
    new_groups = [{"experiment_id": ids[c.name], "name": group} for c in changes for group in c.groups]
    _insert(connection, experiment_groups, new_groups)
    group_ids = {
        (row.experiment_id, row.name): row.id for row in connection.execute(select(experiment_groups))
    }
    new_allocations = [
        {"group_id": group_ids[ids[c.name], a.group], "percent": a.percent, "changed_at_ms": a.at_ms}
        for c in changes
        for a in c.allocations
    ]
    _insert(connection, allocations, new_allocations)
    return Loaded(len(new), len(new_groups), len(new_allocations), tuple(c.name for c in with_plans))


@dataclass(frozen=True, slots=True)
class Change:
    """What comes to one experiment."""

    name: str
    control: str
    is_new: bool
    groups: tuple[str, ...]
    allocations: tuple[Allocation, ...]
    history: tuple[Allocation, ...] = ()
    """What is stored; ``groups`` and ``allocations`` are what comes to it."""
    plan: str | None = None
    """What the experiment's own plan becomes; None: it stays."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.is_new or self.groups or self.allocations or self.plan is not None)


def _change(stored: Experiment | None, defined: Experiment) -> Change:
    """Return what ``defined`` has more than ``stored``; Contradicts if it can't be had by adding."""
    if stored is None:
        return Change(
            defined.name,
            defined.control,
            True,
            defined.groups,
            defined.allocations,
            plan=defined.plan or None,
        )
    if stored.control != defined.control:
        raise Contradicts(
            defined.name,
            "control",
            f"control is `{stored.control}` in rtexp's tables and can't become `{defined.control}`",
        )
    for group in stored.groups:
        if group not in defined.groups:
            raise Contradicts(
                defined.name,
                "groups",
                f"groups lacks `{group}`, which rtexp's tables have: groups stay; allocate it 0 percent instead",
            )
    known = {(a.group, a.at_ms): a.percent for a in stored.allocations}
    for a in defined.allocations:
        if known.get((a.group, a.at_ms), a.percent) != a.percent:
            raise Contradicts(
                defined.name,
                "allocations",
                f"allocations gives `{a.group}` {a.percent:g} percent at {a.at_ms} ms, "
                f"rtexp's tables have {known[a.group, a.at_ms]:g}: history can't change; add a later allocation",
                a,
            )
    added = tuple(a for a in defined.allocations if (a.group, a.at_ms) not in known)
    groups = tuple(group for group in defined.groups if group not in stored.groups)
    plan = defined.plan if defined.plan != stored.plan else None
    return Change(defined.name, defined.control, False, groups, added, stored.allocations, plan)


def _refuse_moved_periods(change: Change, period_ms: int, latest_ms: int) -> None:
    # Ingest accepts by the newest snapshot it has and never asks again, because histories only grow. An
    # allocation before a stored one can shift its period, or make it no ramp, after users were counted.
    kept = set(_periods((*change.history, *change.allocations), period_ms))
    for start_ms, end_ms in _periods(change.history, period_ms):
        if start_ms <= latest_ms and (start_ms, end_ms) not in kept:
            earliest = min(change.allocations, key=lambda a: a.at_ms)
            raise Contradicts(
                change.name,
                "allocations",
                f"allocations would move the period that began at {start_ms} ms, "
                "in which users may have been counted: add allocations at later times only",
                earliest,
            )


def periods(experiment: Experiment, period_ms: int) -> list[tuple[int, int]]:
    """Return the periods (start_ms, end_ms) of an experiment, in order of time; some may yet begin."""
    return _periods(experiment.allocations, period_ms)


def _periods(history: Sequence[Allocation], period_ms: int) -> list[tuple[int, int]]:
    ramps = ramps_of([(a.group, a.percent, a.at_ms) for a in history])
    return periods_of([at_ms for _, at_ms in ramps], period_ms)


def _insert(connection: Connection, table: Table, rows: list[dict[str, object]]) -> None:
    if rows:  # an empty list would insert one row of defaults
        connection.execute(insert(table), rows)
