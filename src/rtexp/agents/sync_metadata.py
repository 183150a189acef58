"""`sync_metadata`: the experiments in SQL become a snapshot for ingest and results, and a CSV file for people.

It runs on one worker, the leader. Should two run for a moment, nothing breaks: readers ignore a snapshot that
is no newer than theirs.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import fsspec
import structlog
from fsspec.core import split_protocol

from rtexp.agents.frozen_plans import FrozenPlans
from rtexp.core.buckets import HOUR_MS
from rtexp.core.periods import periods_of, ramps_of
from rtexp.engine.api import Output
from rtexp.errors import StoreUnavailable
from rtexp.records import snapshot as wire
from rtexp.settings import masked_url
from rtexp.store import csv_text
from rtexp.store.availability import Availability
from rtexp.store.engine import reading
from rtexp.store.metadata import read_experiments
from rtexp.store.whole_file import replacing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from sqlalchemy import Engine
    from structlog.typing import FilteringBoundLogger

    from rtexp.settings import Settings
    from rtexp.store.definitions import Experiment

TOPIC = "ramped-groups"
CSV_NAME = "ramped_groups.csv"
CSV_INTERVAL_MS = 5 * 60_000


class RampedGroup(NamedTuple):
    """One line of the CSV file: an increase of a group's share, and the period in which it lies."""

    experiment: str
    group: str
    ramped_at_ms: int
    period_start_ms: int
    period_end_ms: int


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


def ramped_groups(taken: wire.Snapshot) -> Iterator[RampedGroup]:
    """Yield one line for every ramp, in the order of the snapshot."""
    for experiment in taken.experiments:
        for ramp in experiment.ramps:
            period = next(p for p in experiment.periods if p.start_ms <= ramp.at_ms < p.end_ms)
            yield RampedGroup(experiment.name, ramp.group, ramp.at_ms, period.start_ms, period.end_ms)


class MetadataSync:
    """Reads the experiments at every poll, and sends and keeps what it has read."""

    def __init__(self, engine: Engine, settings: Settings, send: Callable[[Output], Awaitable[None]]) -> None:
        """``send`` returns once the record is delivered."""
        self._engine = engine
        self._plans = FrozenPlans(engine, settings)
        self._send = send
        self._topic = settings.kafka.topic(TOPIC)
        self._period_ms = settings.pipeline.period_hours * HOUR_MS
        self._csv_place = csv_place(settings)
        self._csv_due_ms = 0
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)
        self.store = Availability(self._log)

    async def run_once(self, now_ms: int) -> wire.Snapshot | None:
        """Send a snapshot as of ``now_ms``, the wall clock at the call; None if SQL doesn't answer.

        Periods that have begun get their plans first, so that no snapshot shows one without.

        What ``send`` raises goes through. A CSV file that can't be written is logged and tried again.
        """
        try:
            experiments, plans = await asyncio.to_thread(self._read, now_ms)
        except StoreUnavailable as error:
            self.store.lost(error)
            return None
        self.store.found()
        taken = snapshot(experiments, plans, as_of_ms=now_ms, period_ms=self._period_ms)
        await self._send(Output(self._topic, 0, wire.encode(taken), key=wire.KEY))
        self._log.debug(
            "snapshot_sent", experiments=len(taken.experiments), plans=len(taken.plans), as_of_ms=now_ms
        )
        if now_ms >= self._csv_due_ms:
            await self._keep_csv(taken, now_ms)
        return taken

    def _read(self, now_ms: int) -> tuple[list[Experiment], list[wire.FrozenPlan]]:
        with reading(self._engine) as connection:
            experiments = read_experiments(connection)
        return experiments, self._plans.current(experiments, now_ms)

    async def _keep_csv(self, taken: wire.Snapshot, now_ms: int) -> None:
        try:
            await asyncio.to_thread(write_csv, self._csv_place, taken)
        except Exception as error:  # noqa: BLE001 - every file system has its own; none may end the worker
            place = masked_url(str(self._csv_place))
            self._log.warning("csv_not_written", place=place, error=masked_url(repr(error)))
        else:
            self._csv_due_ms = now_ms + CSV_INTERVAL_MS


def csv_place(settings: Settings) -> Path | str:
    """Return where the CSV file goes: to ``metadata.csv_url``, or else into the data directory.

    A path is on this machine, a text an fsspec URL of somewhere else.
    """
    url = settings.metadata.csv_url
    if not url:
        return settings.data.directory / CSV_NAME
    protocol, path = split_protocol(url)
    return Path(path) if protocol in {None, "file", "local"} else url


def write_csv(place: Path | str, taken: wire.Snapshot) -> None:
    """Replace the file at once: a reader sees the old lines or the new, never some of both.

    An object store does so by itself; other file systems behind a URL may not.
    """
    if isinstance(place, Path):
        place.parent.mkdir(parents=True, exist_ok=True)
        opened = replacing(place)
    else:
        opened = fsspec.open(place, "w", encoding="utf-8", newline="")
    with opened as file:
        csv_text.write_csv(file, RampedGroup._fields, ramped_groups(taken))


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
