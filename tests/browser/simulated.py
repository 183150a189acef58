"""Experiments with simulated users, written to SQL as the jobs would: cells, and looks by the real evaluation."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from tests.look_samples import plan as plan_with

from rtexp.core import sketches
from rtexp.records.snapshot import Allocation
from rtexp.statistics.evaluation import PeriodEvaluator
from rtexp.statistics.looks import EventSums, GroupSums, LookInput, Stretch
from rtexp.statistics.plans import DecisionMetric, Guardrail, Plan, look_offsets_ms
from rtexp.store.cells import CellRow
from rtexp.store.definitions import Experiment
from rtexp.store.looks import LookInputRow, LookRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from rtexp.statistics.plans import Direction, Metric

BUCKET_MS = 900_000
HOUR_MS = 3_600_000
LG_K = 12
_MOST_SKETCHED = 20_000
"""Users of one group; more would take seconds to hash."""


class Behaviour(NamedTuple):
    """How users of one event behave."""

    share: float
    """Of control's users, who act."""
    change: float
    """Of that share under the last treatment, relative."""
    times: float = 1.6
    """Actions of one who acts, on average."""


@dataclass(frozen=True)
class Sample:
    """An experiment, ``hours`` into its period."""

    name: str
    groups: tuple[str, ...]
    """Control first."""
    hours: float
    users_per_hour: float
    """Of all groups together."""
    events: Mapping[str, Behaviour]
    decision: Sequence[tuple[str, Metric]]
    guardrails: Sequence[Guardrail] = ()
    good: Mapping[str, Direction] = field(default_factory=dict)
    split: tuple[float, ...] = ()
    """How users really arrive; equally, if empty, as the plan says."""
    missed: tuple[int, ...] = ()
    """Looks that there weren't."""
    ramps: tuple[tuple[float, float], ...] = ((0, 5),)
    """(hour, percent of each group)."""
    sketched: bool = False


class Simulated(NamedTuple):
    """What SQL has of one experiment."""

    definition: Experiment
    period_start_ms: int
    plan: Plan
    cells: list[CellRow]
    inputs: list[LookInputRow]
    looks: list[LookRow]


def simulate(sample: Sample, *, now_ms: int, **plan_has: Any) -> Simulated:
    """Return the same for the same sample, moved in time; ``plan_has`` are keys of its plan."""
    start_ms = now_ms // BUCKET_MS * BUCKET_MS - round(sample.hours * HOUR_MS / BUCKET_MS) * BUCKET_MS
    plan = msgspec.structs.replace(_plan(sample), **plan_has)
    buckets = min(-(-(now_ms - start_ms) // BUCKET_MS), plan.period_hours * HOUR_MS // BUCKET_MS)
    rng = np.random.default_rng(zlib.crc32(sample.name.encode()))
    exposed, sums = _users(sample, buckets, rng)
    inputs = list(_inputs(sample, plan, exposed, sums, start_ms=start_ms, now_ms=now_ms))
    evaluator = PeriodEvaluator(sample.name, start_ms, plan)
    looks = [
        LookRow._make((*msgspec.structs.astuple(record), 1))
        for given in inputs
        for record in evaluator.look(given, evaluated_ms=given.scheduled_ms + 61_000, version="0.1.0").records
    ]
    return Simulated(
        Experiment(
            sample.name,
            sample.groups[0],
            sample.groups,
            tuple(
                Allocation(group, percent, start_ms + round(hour * HOUR_MS))
                for hour, percent in sample.ramps
                for group in sample.groups
            ),
        ),
        start_ms,
        plan,
        list(_cells(sample, exposed, sums, start_ms)),
        [
            LookInputRow(
                sample.name, start_ms, one.look, one.scheduled_ms, msgspec.json.encode(one).decode(), 1
            )
            for one in inputs
        ],
        looks,
    )


def _plan(sample: Sample) -> Plan:
    share = 1 / len(sample.groups)
    return plan_with(
        control=sample.groups[0],
        treatments=list(sample.groups[1:]),
        weights=dict.fromkeys(sample.groups, share),
        events=list(sample.events),
        decision=[DecisionMetric(*metric) for metric in sample.decision],
        guardrails=list(sample.guardrails),
        good=dict(sample.good),
        look_every_hours=1.0,
    )


Sums = dict[tuple[int, str], "NDArray[np.int64]"]
"""By group and event, shape (buckets, 3): volume, sum of squares, actors; of users exposed in the bucket."""


def _users(sample: Sample, buckets: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Sums]:
    """Return exposures of shape (groups, buckets), and what these users do, at once."""
    split = np.array(sample.split or [1 / len(sample.groups)] * len(sample.groups))
    # Days have nights, and an allocation that goes up brings more users.
    day = 1 + 0.4 * np.sin(np.arange(buckets) * (2 * np.pi / 96) - 1)
    size = np.ones(buckets)
    for hour, percent in sample.ramps:
        size[round(hour * 4) :] = percent / sample.ramps[-1][1]
    exposed = rng.poisson(split[:, None] * (day * size * sample.users_per_hour / 4))
    sums: Sums = {}
    for group in range(len(sample.groups)):
        for event, behaviour in sample.events.items():
            treated = group == len(sample.groups) - 1
            share = behaviour.share * (1 + behaviour.change * treated)
            acting = rng.binomial(exposed[group], share)
            counts = np.zeros((buckets, 3), np.int64)
            for bucket, actors in enumerate(acting):
                each = rng.geometric(1 / behaviour.times, actors)
                counts[bucket] = each.sum(), (each**2).sum(), actors
            sums[group, event] = counts
    return exposed, sums


def _inputs(
    sample: Sample, plan: Plan, exposed: NDArray[np.int64], sums: Sums, *, start_ms: int, now_ms: int
) -> Iterator[LookInput]:
    for look, offset_ms in enumerate(look_offsets_ms(plan), start=1):
        at_ms = start_ms + offset_ms
        if at_ms + 61_000 > now_ms:
            return
        if look in sample.missed:
            continue
        counted = offset_ms // BUCKET_MS
        users = exposed[:, :counted].sum(axis=1).tolist()
        groups = {
            name: GroupSums(
                users[group],
                users[group] // 2000,
                {
                    event: EventSums(*sums[group, event][:counted].sum(axis=0).tolist())
                    for event in sample.events
                },
            )
            for group, name in enumerate(sample.groups)
        }
        again = {name: found.multiple for name, found in groups.items()}
        shown = {name: found.users for name, found in groups.items()}
        yield LookInput(look, at_ms, groups, [Stretch(start_ms, at_ms, plan.weights, shown, again)])


def _cells(sample: Sample, exposed: NDArray[np.int64], sums: Sums, start_ms: int) -> Iterator[CellRow]:
    sketched = sample.sketched and exposed.sum() < _MOST_SKETCHED
    for group, name in enumerate(sample.groups):
        before = 0
        for bucket, users in enumerate(exposed[group].tolist()):
            at_ms = start_ms + bucket * BUCKET_MS
            again = (before + users) // 2000 - before // 2000
            key = (sample.name, start_ms, name)
            sketch = _sketch(name, before, users) if sketched else None
            if users:
                yield CellRow(*key, "", at_ms, 0, 0, 0, users, again, sketch, 1)
            for event in sample.events:
                volume, squares, actors = sums[group, event][bucket].tolist()
                if actors:
                    sketch = _sketch(name, before, actors) if sketched else None
                    yield CellRow(*key, event, at_ms, volume, actors, squares, 0, 0, sketch, 1)
            before += users


def _sketch(group: str, first: int, users: int) -> bytes:
    entries = [sketches.entry(f"{group} {user}", LG_K) for user in range(first, first + users)]
    return sketches.to_bytes(np.array(entries, np.uint32), LG_K)
