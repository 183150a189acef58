"""Looks as they are without workers: one fold over the partials, which knows no engine, no crash and no clock."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from rtexp.core.progress import Watermarks
from rtexp.records import partials, verdicts
from rtexp.statistics.evaluation import PeriodEvaluator
from rtexp.statistics.plans import decoded, look_offsets_ms
from rtexp.statistics.stretches import Share, look_input
from rtexp.store.metadata import read_experiments
from rtexp.store.plans import read_plans
from rtexp.tables.look_sums import LookSums

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka import ConsumerRecord
    from sqlalchemy import Connection

    from rtexp.settings import Settings
    from rtexp.statistics.looks import FrozenSums
    from rtexp.statistics.plans import Plan
    from rtexp.tables.buckets import Period

OF_THE_RUN = ("evaluated_ms", "version", "sequence")
"""Columns that say when, by what and where in the topic a look was made, not what it found."""


class Expected(NamedTuple):
    """What all looks of a run must have given, without what is `OF_THE_RUN`."""

    looks: dict[tuple[Any, ...], dict[str, Any]]
    """By key of the table: the other columns."""
    inputs: dict[tuple[str, int, int], str]
    """By (experiment, period, look): JSON."""
    newest: dict[bytes, dict[str, Any]]
    """By key of the topic `results`."""
    alerts: list[dict[str, Any]]


class Judged(NamedTuple):
    """How the periods of the run are judged, as SQL has it."""

    plans: dict[Period, Plan]
    shares: dict[str, list[Share]]


def judged(connection: Connection) -> Judged:
    experiments = read_experiments(connection)
    plans = {
        (stored.experiment, stored.period_start_ms): decoded(stored.plan.encode())
        for experiment in experiments
        for stored in read_plans(connection, experiment=experiment.name)
    }
    shares = {e.name: [Share(a.group, a.percent, a.at_ms) for a in e.allocations] for e in experiments}
    return Judged(plans, shares)


def expected_looks(settings: Settings, records: Iterable[ConsumerRecord], rules: Judged) -> Expected:
    """``records`` are those of `partials`, each partition's in order."""
    found = Expected({}, {}, {}, [])
    for period, times in sorted(frozen_sums(settings, records).items()):
        if plan := rules.plans.get(period):
            _evaluate(found, period, times, plan, rules.shares[period[0]])
    return found


def frozen_sums(settings: Settings, records: Iterable[ConsumerRecord]) -> dict[Period, list[FrozenSums]]:
    """Sums at every whole bucket of every period, as they stood at the record that made it due."""
    sums: dict[int, LookSums] = {}
    watermarks: defaultdict[int, Watermarks] = defaultdict(Watermarks)
    for record in records:
        body = partials.decode(record.value)
        of = sums.setdefault(
            record.partition,
            LookSums(
                bucket_ms=settings.pipeline.bucket_minutes * 60_000,
                period_ms=settings.pipeline.period_hours * 3_600_000,
                settle_ms=round(settings.statistics.settle_seconds * 1000),
            ),
        )
        of.add(body)
        progress = watermarks[record.partition]
        progress.expect(body.sources)
        progress.carry(body.source, body.watermark_ms)
        of.advance(progress.all_ms)
    return {period: times for of in sums.values() for period, times in of.frozen.items()}


def _evaluate(
    found: Expected, period: Period, times: list[FrozenSums], plan: Plan, shares: list[Share]
) -> None:
    evaluator = PeriodEvaluator(*period, plan)
    numbers = {period[1] + offset: number for number, offset in enumerate(look_offsets_ms(plan), start=1)}
    for frozen in times:
        if frozen.at_ms not in numbers:
            continue
        given = look_input(
            frozen,
            numbers[frozen.at_ms],
            groups=[plan.control, *plan.treatments],
            events=plan.events,
            shares=shares,
            bucket_ms=plan.bucket_minutes * 60_000,
        )
        records, edges = evaluator.look(given, evaluated_ms=0, version="")
        found.inputs[*period, given.look] = msgspec.json.encode(given).decode()
        for record in records:
            columns = comparable(msgspec.structs.asdict(record))
            found.looks[look_key(columns)] = columns
            found.newest[verdicts.result_key(record)] = columns
        found.alerts.extend(
            comparable(msgspec.json.decode(verdicts.encode_alert(edge, plan))) for edge in edges
        )


def look_key(columns: dict[str, Any]) -> tuple[Any, ...]:
    names = ("experiment", "period_start_ms", "group_name", "event", "metric", "role", "method", "look")
    return tuple(columns[name] for name in names)


def comparable(columns: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is of the run.

    >>> comparable({"look": 1, "evaluated_ms": 7})
    {'look': 1}
    """
    return {name: value for name, value in columns.items() if name not in OF_THE_RUN}
