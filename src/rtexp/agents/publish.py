"""`publish`: changed cells and new looks become rows in SQL, some moments after they were counted.

Nothing here is counted or kept: the buckets table knows which cells SQL doesn't have yet, and a row is the
absolute value of its cell. So publishing may fail for hours, or happen twice, and SQL ends up the same.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from rtexp.errors import StoreUnavailable
from rtexp.store.availability import Availability
from rtexp.store.cells import CellRow, upsert_cells
from rtexp.store.engine import writing
from rtexp.store.incarnations import check_incarnation
from rtexp.store.looks import upsert_look_inputs, upsert_looks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Engine
    from structlog.typing import FilteringBoundLogger

    from rtexp.agents.freshness import Freshness
    from rtexp.engine.pace import Pace
    from rtexp.store.looks import LookInputRow, LookRow

INTERVAL_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 15.0
LIMIT_ROWS = 5_000
"""Rows of one SQL transaction; it holds SQLite's only write lock for some 200 ms, on MySQL its rows alone."""
ROWS_PER_INTERVAL = 20_000
"""With more changed rows a round, the interval grows in proportion: then each cell is written less often."""


class Changed(NamedTuple):
    """A part of what SQL lacks of one partition."""

    rows: Sequence[CellRow]
    """Each cell at most once, with ``sequence`` = ``position``."""
    position: int
    """Next offset of the partials partition; all below is counted in ``rows`` or was handed out before."""
    more: bool
    """Whether changed cells remain that aren't in ``rows``."""
    watermark_ms: int = 0
    """All that arrived before this time is counted below ``position``; 0: not known yet."""


class PublishedLook(NamedTuple):
    """One look as SQL keeps it."""

    given: LookInputRow
    rows: Sequence[LookRow]


@dataclass(slots=True)
class PublishSensors:
    """Counts since the publisher was made; seconds are wall clock."""

    rounds: int = 0
    """Those that wrote something."""
    seconds: float = 0.0
    cells: int = 0
    looks: int = 0
    """Rows of them."""


class PublishSource(Protocol):
    """The cells of one partition of the buckets table, as far as SQL is concerned."""

    @property
    def partition(self) -> int:
        """The partition of the partials topic."""

    @property
    def changelog(self) -> str:
        """Topic of the table's changelog."""

    @property
    def incarnation(self) -> str:
        """The id of that changelog partition's history."""

    async def changed(self, limit: int) -> Changed:
        """Return at most ``limit`` changed cells as they stand between two flushes.

        They stay changed until `mark_published`, which follows before the next call; or never, if SQL failed:
        then a later call returns them again, as they stand by then.
        """

    def mark_published(self, rows: Sequence[CellRow]) -> None:
        """Note that SQL has ``rows``. A cell that has changed again since it was handed out stays changed."""

    async def looks(self, limit: int) -> Sequence[PublishedLook]:
        """Return looks of about ``limit`` rows that SQL lacks, oldest first; none when there are none."""

    def mark_looks_published(self) -> None:
        """Note that SQL has the looks that were handed out last."""


class Publisher:
    """Writes the changed cells of all partitions that this worker owns, round by round."""

    def __init__(
        self,
        engine: Engine,
        sources: Callable[[], Iterable[PublishSource]],
        *,
        pace: Pace | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
        limit_rows: int = LIMIT_ROWS,
        freshness: Freshness | None = None,
    ) -> None:
        """``sources`` returns those of the partitions that are owned and ready at the call.

        ``pace`` tells how long to wait between rounds: a worker that is busy catching up writes a cell that goes on
        changing less often. Without one it is always ``interval_seconds``. ``freshness`` is told of what SQL has.
        """
        self._engine = engine
        self._sources = sources
        self._interval_seconds = interval_seconds
        self._pace = pace
        self._limit_rows = limit_rows
        self._freshness = freshness
        self._published: dict[int, int] = {}
        self._is_slow = False
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)
        self.store = Availability(self._log)
        self.sensors = PublishSensors()

    @property
    def published(self) -> Mapping[int, int]:
        """By partition the position up to which every change is committed in SQL; it never goes back."""
        return self._published

    async def run(self) -> None:
        """Publish until cancelled. StateError if the database belongs to another history."""
        while True:
            rows = await self.run_round()
            await asyncio.sleep(self._pause_seconds(rows))

    async def run_round(self) -> int:
        """Write all that has changed and return how many rows that were; ends early if SQL doesn't answer."""
        sources = list(self._sources())
        owned = {source.partition for source in sources}
        self._published = {p: position for p, position in self._published.items() if p in owned}
        if self._freshness is not None:
            self._freshness.keep(owned)
        started = time.monotonic()
        before = self.sensors.cells, self.sensors.looks
        written = 0
        try:
            while sources:
                # In turns: a partition that changes as fast as it is written must not starve the others.
                parts = [(source, await self._publish_part(source)) for source in sources]
                written += sum(len(part.rows) for _, part in parts)
                for source, _ in parts:
                    await self._publish_looks(source)
                sources = [source for source, part in parts if part.more]
        except StoreUnavailable as error:
            self.store.lost(error)
        else:
            self.store.found()
        self._note_round(*before, time.monotonic() - started)
        return written

    def _note_round(self, cells_before: int, looks_before: int, seconds: float) -> None:
        sensors = self.sensors
        cells, looks = sensors.cells - cells_before, sensors.looks - looks_before
        if cells or looks:
            sensors.rounds += 1
            sensors.seconds += seconds
            self._log.debug("published", cells=cells, looks=looks, took_ms=round(seconds * 1000))

    async def _publish_part(self, source: PublishSource) -> Changed:
        part = await source.changed(self._limit_rows)
        if part.rows:
            await asyncio.to_thread(
                self._write, source.changelog, source.partition, source.incarnation, part.rows
            )
            source.mark_published(part.rows)
            self.sensors.cells += len(part.rows)
        if not part.more:
            # Not before: until the last part is in SQL, some cell that the position counts isn't.
            self._published[source.partition] = max(part.position, self._published.get(source.partition, 0))
            if self._freshness is not None:
                self._freshness.published(source.partition, part.watermark_ms)
        return part

    async def _publish_looks(self, source: PublishSource) -> None:
        """Write the looks that SQL lacks, each with its input in one transaction."""
        while looks := await source.looks(self._limit_rows):
            await asyncio.to_thread(
                self._write_looks, source.changelog, source.partition, source.incarnation, looks
            )
            source.mark_looks_published()
            self.sensors.looks += sum(len(look.rows) for look in looks)

    def _write_looks(
        self, changelog: str, partition: int, incarnation: str, looks: Sequence[PublishedLook]
    ) -> None:
        with writing(self._engine) as connection:
            check_incarnation(connection, changelog, partition, incarnation)
            upsert_look_inputs(connection, [look.given for look in looks])
            upsert_looks(connection, [row for look in looks for row in look.rows])

    def _write(self, changelog: str, partition: int, incarnation: str, rows: Sequence[CellRow]) -> None:
        with writing(self._engine) as connection:
            check_incarnation(connection, changelog, partition, incarnation)
            upsert_cells(connection, rows)

    def _pause_seconds(self, rows: int) -> float:
        if not self.store.is_up:
            doublings = min(self.store.failures, 10)  # days of failures overflow a float
            return min(self._interval_seconds * 2.0**doublings, LONGEST_RETRY_SECONDS)
        least = self._pace.interval() if self._pace else self._interval_seconds
        pause = max(least, self._interval_seconds * rows / ROWS_PER_INTERVAL)
        is_slow = pause > least
        if is_slow != self._is_slow:
            self._is_slow = is_slow
            self._log.info("publish_interval", seconds=round(pause, 1), rows=rows)
        return pause
