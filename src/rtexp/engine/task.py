"""One partition of a batch agent: gather, step, commit; recover, rewind, go on.

::

    OPENING ──► REWINDING ──► LIVE ──► CLOSED
       pages as of S   inputs S..M,     inputs from M on,
       loaded          outputs thrown   outputs and marker in
                       away             one transaction

State changes only inside `flush`, under the task's lock. Everything that goes wrong there ends the process:
what was committed is known from the marker, what was not is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
import logging
import time
from typing import TYPE_CHECKING, Any

from aiokafka.errors import ProducerFenced

from rtexp.engine import changelog
from rtexp.engine.api import BatchAgent, Output, Page, TopicPartition
from rtexp.engine.inputs import Input, Waiting
from rtexp.engine.pace import Pace
from rtexp.engine.recovery import recover
from rtexp.engine.sensors import InputStatus, TaskSensors, TaskStatus
from rtexp.engine.store import LAYOUT, Head, PartitionStore
from rtexp.engine.transactions import FencedProducer
from rtexp.errors import FatalError, SemanticsChanged, StateError, StoreDamaged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from rtexp.engine.api import PartitionState, Record
    from rtexp.engine.config import EngineConfig

log = logging.getLogger(__name__)

WARN_AGAIN_SECONDS = 600.0
SLICE_SECONDS = 0.05
"""Encoding pages gives the event loop back after this long."""


class Phase(enum.Enum):
    """Where a task is in its life."""

    OPENING = "opening"
    REWINDING = "rewinding"
    LIVE = "live"
    CLOSED = "closed"


class PartitionTask:
    """Runs one `PartitionState`. All methods belong to the worker's event loop."""

    def __init__(
        self,
        agent: BatchAgent,
        partition: int,
        config: EngineConfig,
        directory: Path,
        pace: Pace | None = None,
    ) -> None:
        """``pace`` is that of the whole worker; a task without one goes by the interval of ``config``."""
        self.agent = agent
        self.partition = partition
        self.sensors = TaskSensors()
        self.phase = Phase.OPENING
        self.paused = True
        """Before the inputs have been sought, and between a revocation and the next assignment, nothing may be
        fed or flushed."""
        self._config = config
        self._pace = pace or Pace(config.flush_interval)
        self._path = directory / agent.name / str(partition)
        self._producer = FencedProducer(config, f"{config.group}-{agent.name}-{partition}")
        self._lock = asyncio.Lock()
        self._work = asyncio.Event()
        self._inputs: dict[str, Input] = {}
        self._state: PartitionState
        self._store: PartitionStore
        self._position = 0
        """Of the changelog: next offset after our last record."""
        self._incarnation = ""
        # Partitions of one worker take their checkpoints one after the other, not all at once.
        share = (partition % 16 + 1) / 16
        self._checkpoint_at = time.monotonic() + config.checkpoint_interval * share
        self._unsaved = False
        self._noted: dict[bytes, bytes | None] = {}
        """Pages of the journal that are in the changelog, and not yet in the store."""
        self._warn_at = 0.0

    # -- opening ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Fence earlier owners, restore the state of the last checkpoint; then inputs can be fed."""
        started = time.monotonic()
        await self._producer.start()
        self._store = await asyncio.to_thread(PartitionStore, self._path)
        head = await self._load()
        self._incarnation, self._position = head.incarnation, head.position
        base, mark = self._positions(head)
        self._inputs = {t: Input(base.get(t, 0), mark.get(t, 0)) for t in self.agent.inputs}
        self.phase = Phase.REWINDING
        self.sensors.recovery_seconds = time.monotonic() - started
        log.info(
            "%s/%s: restored %s changelog records in %.2f s; rewinding %s",
            self.agent.name, self.partition, self.sensors.changelog_records, self.sensors.recovery_seconds,
            {t: i.mark - i.applied for t, i in self._inputs.items()},
        )  # fmt: skip
        self._end_rewinding_if_done()

    async def _load(self) -> Head:
        """Replay the changelog and load the pages; a store that doesn't verify is replayed once from scratch."""
        table = self.agent.table
        for attempt in (1, 2):
            try:
                head = await recover(
                    self._config,
                    table,
                    self.partition,
                    store=self._store,
                    producer=self._producer,
                    sensors=self.sensors,
                )
                await self._load_pages()
            except StoreDamaged as exc:
                if attempt == 2:  # noqa: PLR2004 - the second time it's the changelog itself
                    raise
                log.warning("%s/%s: local store doesn't verify, replaying: %s", table, self.partition, exc)
                self._store.wipe()
            else:
                return head
        raise AssertionError("unreachable")

    async def _load_pages(self) -> None:
        self._state = self.agent.make_state(self.partition)
        prefix = len(changelog.PAGE)
        try:
            # RocksDB keeps its lock while an iterator lives, and then can't be wiped.
            with contextlib.closing(self._store.pages()) as stored:
                pages = (Page(key[prefix:], value) for key, value in stored)
                # In a thread: the loop must go on serving the other partitions of this worker.
                await asyncio.to_thread(self._state.load, pages, self._read_page)
        except StateError as exc:
            raise StoreDamaged(str(exc)) from exc

    def _read_page(self, key: bytes) -> bytes | None:
        return self._store.get(changelog.PAGE + key)

    def _positions(self, head: Head) -> tuple[dict[str, int], dict[str, int]]:
        """Return S and M; refuse to rewind under other rules than those under which M was reached."""
        table = f"{self.agent.table}/{self.partition}"
        base = changelog.decode_position(table, head.checkpoint).offsets if head.checkpoint else {}
        if not head.marker:
            return base, base
        marker = changelog.decode_position(table, head.marker)
        behind = any(base.get(topic, 0) < offset for topic, offset in marker.offsets.items())
        if behind and marker.semantics != self.agent.semantics:
            raise SemanticsChanged(
                f"{table}: rows were counted under other settings ({marker.semantics}) than this worker's "
                f"({self.agent.semantics}), and must be run again from the last checkpoint. Start the workers once "
                "with the settings (or the version) that they had, stop them cleanly (SIGTERM), then start them with "
                "the new ones"
            )
        return base, marker.offsets

    # -- feeding ------------------------------------------------------------------------------------------

    def wants(self, topic: str) -> bool:
        """Tell whether records of this input should be fetched now."""
        if self.paused or self.phase not in (Phase.REWINDING, Phase.LIVE):
            return False
        source = self._inputs[topic]
        if self.phase is Phase.REWINDING and source.fetched >= source.mark:
            return False
        return source.rows < self._config.waiting_rows and source.bytes < self._config.waiting_bytes

    def feed(self, topic: str, records: Sequence[Record]) -> bool:
        """Take over fetched records, in order; return True if the transport has to seek back to `next_offset`.

        While rewinding, nothing at or above the marker is taken: outputs thrown away and outputs to be sent
        must never come from one step.
        """
        if not self.wants(topic):
            return True
        source, decode = self._inputs[topic], self._state.decode
        limit = source.mark if self.phase is Phase.REWINDING else None
        for record in records:
            if record.offset < source.fetched:
                continue
            if limit is not None and record.offset >= limit:
                source.reach(limit)
                return True
            value = record.value
            if value is None:
                raise StateError(f"{topic}/{self.partition} holds an empty record at {record.offset}")
            batch = decode(topic, value)
            source.waiting.append(Waiting(record.offset + 1, batch, len(value), record.timestamp))
            source.fetched = record.offset + 1
            source.rows += batch.rows
            source.bytes += len(value)
        if source.rows >= self._config.flush_rows:
            self._work.set()
        return False

    def next_offset(self, topic: str) -> int:
        """Return the offset that the transport has to hand over next."""
        return self._inputs[topic].fetched

    def mark(self, topic: str) -> int:
        """Return the offset up to which an input's outputs are committed: a rewind must come to it."""
        return self._inputs[topic].mark

    def saw_end(self, topic: str, end: int, *, position: int = 0) -> None:
        """Take note of an input's end, and of ``position``, below which there is no record that wasn't fed.

        Marks of transactions may stand between the last record and ``position``. Were they not passed, it would
        look as if records were missing once retention has removed all that was read, and the marks.
        """
        source = self._inputs[topic]
        source.end = end
        if self.paused:
            # The client hasn't been sent to where we go on. It may stand at what the group has committed, which is
            # beyond the checkpoint: what lies between would be missing in the state.
            return
        if self.phase is Phase.REWINDING:
            position = min(position, source.mark)
        if not source.waiting:
            source.reach(position)

    # -- flushing -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Flush until closed: every interval, or as soon as there is enough to do."""
        while self.phase is not Phase.CLOSED:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._work.wait(), self._pace.interval())
            self._work.clear()
            more = True
            while more:
                more = await self.flush()
                await asyncio.sleep(0)  # others have partitions too

    async def flush(self, *, checkpoint: bool = False) -> bool:
        """Apply what is due and commit it; return whether more was due than one flush takes."""
        async with self._lock:
            if self.paused or self.phase not in (Phase.REWINDING, Phase.LIVE):
                return False
            started, rows = time.monotonic(), self.sensors.rows
            full = self._apply()
            outputs = self._state.collect()
            if self.phase is Phase.REWINDING:
                self._end_rewinding_if_done()  # and the outputs are gone: they were sent before
                return full
            journal = self._state.journal()
            checkpoint = checkpoint or (self._unsaved and time.monotonic() >= self._checkpoint_at)
            if checkpoint or journal or self._moved():
                await self._commit(outputs, journal, checkpoint=checkpoint)
                self._flushed(time.monotonic() - started, self.sensors.rows - rows, len(outputs))
            self._warn_of_held()
            return full

    def _flushed(self, seconds: float, rows: int, outputs: int) -> None:
        self.sensors.flushed(seconds)
        if log.isEnabledFor(logging.DEBUG):
            positions = {topic: source.mark for topic, source in self._inputs.items()}
            self._say(logging.DEBUG, "flush", seconds, rows=rows, outputs=outputs, positions=positions)

    def _say(self, level: int, event: str, seconds: float, **fields: object) -> None:
        """Log one piece of work as fields."""
        own = {"agent": self.agent.name, "partition": self.partition, "took_ms": round(seconds * 1000)}
        log.log(level, event, extra={**own, **fields})

    def _warn_of_held(self) -> None:
        """Warn, now and then, of records that wait until retention may soon take them."""
        if time.monotonic() < self._warn_at:
            return
        for topic, source in self._inputs.items():
            held_s = time.time() - source.waiting[0].written_ms / 1000 if source.waiting else 0.0
            if held_s > self._config.held_too_long:
                log.warning(
                    "%s/%s has waited at offset %s for %.1f days, and retention will take what isn't counted in time: "
                    "see why the other inputs of %s stand still, or raise the topic's retention.ms meanwhile",
                    topic, self.partition, source.applied, held_s / 86_400, self.agent.name,
                )  # fmt: skip
                self._warn_at = time.monotonic() + WARN_AGAIN_SECONDS

    def _apply(self) -> bool:
        room = self._config.flush_rows
        for topic in self.agent.inputs:
            source = self._inputs[topic]
            rows, start = source.rows, source.applied
            batches, room = source.take_due(self._state, topic, room)
            if batches:
                self._state.apply(topic, batches)
                if self.phase is Phase.REWINDING:
                    self.sensors.rewound_records += source.applied - start
            self.sensors.rows += rows - source.rows
        return room <= 0

    def _moved(self) -> bool:
        return any(source.applied != source.mark for source in self._inputs.values())

    def _end_rewinding_if_done(self) -> None:
        if self.phase is Phase.REWINDING and not self._moved():
            self.phase = Phase.LIVE
            self._unsaved = self.sensors.rewound_records > 0
            log.info(
                "%s/%s: live; rewound %s records",
                self.agent.name,
                self.partition,
                self.sensors.rewound_records,
            )

    async def _commit(self, outputs: Sequence[Output], journal: Sequence[Page], *, checkpoint: bool) -> None:
        began = time.monotonic()
        applied = {topic: source.applied for topic, source in self._inputs.items()}
        position = changelog.encode_position(self.agent.semantics, applied)
        pages = await self._changed_pages() if checkpoint else []
        noted = [Page(changelog.PAGE + page.key, page.value) for page in journal]
        saved = [self._record(page.key, page.value) for page in (*noted, *pages)]
        if checkpoint:
            saved.append(self._record(changelog.CHECKPOINT, position))
        metadata = await self._producer.transact([*outputs, *saved, self._record(changelog.MARKER, position)])
        self._position = metadata[-1].offset + 1
        for topic, offset in applied.items():
            self._inputs[topic].mark = offset
        self._unsaved = True
        self._noted.update(noted)
        if checkpoint:
            # Nothing of the journal has reached the store since the last checkpoint, and its head is about to
            # pass the records of all of it.
            await self._save([*itertools.starmap(Page, self._noted.items()), *pages], position)
            size = sum(len(page.value or b"") for page in pages)
            seconds = time.monotonic() - began
            self._say(logging.INFO, "checkpoint", seconds, pages=len(pages), bytes=size, positions=applied)
            self._noted.clear()
            self._checkpoint_at = time.monotonic() + self._config.checkpoint_interval
            self._unsaved = False

    def _record(self, key: bytes, value: bytes | None) -> Output:
        return Output(self.agent.table, self.partition, value, key)

    async def _changed_pages(self) -> list[Page]:
        """Encode what changed since the last checkpoint, in slices; the lock keeps the state still meanwhile."""
        pages = []
        started = slice_start = time.monotonic()
        for page in self._state.changed_pages():
            pages.append(Page(changelog.PAGE + page.key, page.value))
            if time.monotonic() - slice_start > SLICE_SECONDS:
                await asyncio.sleep(0)
                slice_start = time.monotonic()
        self.sensors.checkpoints += 1
        self.sensors.checkpoint_seconds += time.monotonic() - started
        self.sensors.pages += len(pages)
        return pages

    async def _save(self, pages: Sequence[Page], position: bytes) -> None:
        """Write a committed checkpoint to the local store; what a crash leaves half done is replayed."""
        head = Head(LAYOUT, self._incarnation, self._position, position, position, time.time())
        for _ in self._store.write(pages, head):
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def between_flushes(self) -> AsyncIterator[tuple[PartitionState, Mapping[str, int]] | None]:
        """Give the state as of the last commit, with its input positions; None unless the task is live.

        No flush takes place inside, so be quick; nothing that a flush would change may be changed, save by what the
        state then hands to the next flush as its `journal`.
        """
        async with self._lock:
            if self.phase is not Phase.LIVE:
                yield None
            else:
                yield self._state, {topic: source.mark for topic, source in self._inputs.items()}

    # -- losing and keeping the partition -----------------------------------------------------------------

    async def pause(self) -> None:
        """Finish the flush in progress, then do nothing until `resume`; what waits will be fetched again."""
        self.paused = True
        async with self._lock:
            for source in self._inputs.values():
                source.forget_waiting()

    def resume(self) -> None:
        """Go on: the partition is still ours. (If it was someone else's meanwhile, our producer has been fenced)."""
        self.paused = False

    async def close(self, *, clean: bool = False) -> None:
        """Stop. ``clean``: with a last flush and a checkpoint, so that nothing needs to be rewound."""
        if clean and self.phase is Phase.LIVE:
            await self._save_all()
        async with self._lock:
            if self.phase is Phase.CLOSED:
                return  # a rebalance and a stop may both want it
            opened = self.phase is not Phase.OPENING
            self.phase = Phase.CLOSED
            self._work.set()
            # First, and without a pause: the partition may be opened again while the producer says goodbye.
            if opened or hasattr(self, "_store"):
                self._store.close()
            await self._producer.stop()

    async def _save_all(self) -> None:
        try:
            await self.flush()
            async with self._lock:
                # A flush may wait for the lock already: what it applied would be beyond the checkpoint.
                self.paused = True
                # Paused or not: all workers of a job may be stopped at once, and those that leave first make the
                # others pause. Should somebody have opened the partition since, we are fenced.
                if self._unsaved:
                    outputs = self._state.collect()
                    await self._commit(outputs, self._state.journal(), checkpoint=True)
        except FatalError as exc:
            if not isinstance(exc.__cause__, ProducerFenced):
                raise
            # A rebalance was quicker than this stop (or the stop slower than a transaction may be). Nothing of
            # ours was committed: the next owner has it all.
            self.paused = True
            log.info("%s/%s: fenced while stopping; another worker goes on", self.agent.name, self.partition)

    # -- looking ------------------------------------------------------------------------------------------

    @property
    def live_state(self) -> PartitionState | None:
        """Return the state, to be looked at only, and between two awaits; None unless the task is live."""
        return self._state if self.phase is Phase.LIVE else None

    @property
    def incarnation(self) -> str:
        """Return the changelog's incarnation id; empty before the task is open."""
        return self._incarnation

    def status(self) -> TaskStatus:
        """Say what an operator wants to see."""
        sensors = self.sensors
        details: dict[str, Any] = {name: getattr(sensors, name) for name in TaskSensors.__slots__}
        if self.phase in (Phase.OPENING, Phase.CLOSED):
            return TaskStatus(
                self.agent.name,
                self.partition,
                ready=False,
                phase=self.phase.value,
                inputs={},
                details=details,
            )
        state = self._state.status()
        inputs = {
            f"{topic}/{self.partition}": InputStatus(
                source.mark, source.end, source.rows, state.watermarks_ms.get(topic, 0),
                source.rewound, source.rewind_to - source.start,
            )
            for topic, source in self._inputs.items()
        }  # fmt: skip
        details |= state.details
        details["oldest_held_ms"] = min(
            (source.waiting[0].written_ms for source in self._inputs.values() if source.waiting), default=None
        )
        details["rewind_left"] = sum(source.mark - source.applied for source in self._inputs.values())
        details["state_bytes"] = self._store.size_bytes()
        return TaskStatus(
            self.agent.name, self.partition, self.phase is Phase.LIVE, self.phase.value, inputs, state.counters, details
        )  # fmt: skip

    def input_partitions(self) -> list[TopicPartition]:
        """Return the partitions that this task reads."""
        return [TopicPartition(topic, self.partition) for topic in self.agent.inputs]
