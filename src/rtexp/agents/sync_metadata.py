"""`sync_metadata`: the experiments in SQL become a snapshot for ingest and results, and a CSV file for people.

It runs on one worker, the leader. Should two run for a moment, nothing breaks: readers ignore a snapshot that
is no newer than theirs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from rtexp.agents.foreign_experiments import ForeignExperiments
from rtexp.agents.frozen_plans import FrozenPlans
from rtexp.agents.snapshot_file import SnapshotFile, csv_place
from rtexp.core.buckets import HOUR_MS
from rtexp.core.periods import periods_of, ramps_of
from rtexp.engine.api import Output
from rtexp.errors import StoreUnavailable
from rtexp.records import snapshot as wire
from rtexp.store.availability import Availability
from rtexp.store.engine import reading
from rtexp.store.metadata import read_experiments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sqlalchemy import Engine
    from structlog.typing import FilteringBoundLogger

    from rtexp.settings import Settings
    from rtexp.store.definitions import Experiment

TOPIC = "ramped-groups"


def snapshot(
    experiments: Iterable[Experiment],
    plans: Iterable[wire.FrozenPlan] = (),
    *,
    as_of_ms: int,
    period_ms: int,
) -> wire.Snapshot:
    """Return what workers need to know; ``as_of_ms`` is a wall clock before the experiments were read."""
    with_periods = [_with_periods(experiment, period_ms) for experiment in experiments]
    return wire.Snapshot(wire.VERSION, as_of_ms, with_periods, list(plans))


class MetadataSync:
    """Reads the experiments at every poll, and sends and keeps what it has read."""

    def __init__(self, engine: Engine, settings: Settings, send: Callable[[Output], Awaitable[None]]) -> None:
        """``send`` returns once the record is delivered."""
        self._engine = engine
        self._foreign = ForeignExperiments(engine, settings) if settings.metadata.query else None
        self._plans = FrozenPlans(engine, settings)
        self._send = send
        self._topic = settings.kafka.topic(TOPIC)
        self._period_ms = settings.pipeline.period_hours * HOUR_MS
        self._csv = SnapshotFile(csv_place(settings))
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)
        self.store = Availability(self._log)

    async def run_once(self, now_ms: int) -> wire.Snapshot | None:
        """Send a snapshot as of ``now_ms``, the wall clock at the call; None if SQL doesn't answer.

        Periods that have begun get their plans first, so that no snapshot shows one without.

        What ``send`` raises goes through. More experiments than a record holds are as if SQL didn't answer: counting
        and publishing what is known go on. A CSV file that can't be written is logged and tried again.
        """
        try:
            experiments, plans = await asyncio.to_thread(self._read, now_ms)
            taken = snapshot(experiments, plans, as_of_ms=now_ms, period_ms=self._period_ms)
            value = _encoded(taken)
        except StoreUnavailable as error:
            self.store.lost(error)
            return None
        self.store.found()
        await self._send(Output(self._topic, 0, value, key=wire.KEY))
        self._log.debug(
            "snapshot_sent", experiments=len(taken.experiments), plans=len(taken.plans), as_of_ms=now_ms
        )
        await self._csv.keep(taken, now_ms)
        return taken

    def _read(self, now_ms: int) -> tuple[list[Experiment], list[wire.FrozenPlan]]:
        if self._foreign:
            self._foreign.take_over(now_ms)
        with reading(self._engine) as connection:
            experiments = read_experiments(connection)
        return experiments, self._plans.current(experiments, now_ms)


def _encoded(taken: wire.Snapshot) -> bytes:
    value = wire.encode(taken)
    if len(value) > wire.MOST_BYTES:
        raise StoreUnavailable(
            f"a snapshot of {len(taken.experiments):,} experiments with {len(taken.plans):,} plans takes "
            f"{len(value):,} bytes, and {wire.MOST_BYTES:,} are the most: activations wait until there are fewer. "
            "Remove experiments that are over from the tables allocations, experiment_groups and experiments"
        )
    return value


def _with_periods(experiment: Experiment, period_ms: int) -> wire.Experiment:
    ramps = ramps_of([(a.group, a.percent, a.at_ms) for a in experiment.allocations])
    return wire.Experiment(
        experiment.name,
        experiment.control,
        list(experiment.groups),
        [
            wire.Period(start_ms, end_ms)
            for start_ms, end_ms in periods_of([at_ms for _, at_ms in ramps], period_ms)
        ],
        [wire.Ramp(group, at_ms) for group, at_ms in ramps],
        list(experiment.allocations),
    )
