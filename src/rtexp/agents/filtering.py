"""What filtering actions and filtering activations have in common: from raw records to filtered ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from rtexp.agents.dead_letters import DeadLetterLimits, dead_letter
from rtexp.agents.packing import REASONS, Drops, Packer, Rows, Stretch
from rtexp.core.arrivals import arrivals_of, metadata_of, watermark_of
from rtexp.engine.api import Commit, Forwarded, Output, PartitionStatus, TopicPartition
from rtexp.errors import TooMuchBadInput
from rtexp.records.raw import RawDecoder, marker_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from rtexp.engine.api import Record
    from rtexp.records.filtered import Segment
    from rtexp.settings import Settings

N = TypeVar("N")
N_co = TypeVar("N_co", covariant=True)

HEARTBEAT_MS = 1_000
"""How often, at most, a partition without records says that its watermark moves with the clock."""
REASON_INDEX = {reason: index for index, reason in enumerate(REASONS)}


class RawRows(NamedTuple):
    """Good input of one source partition, not yet judged; columns of equal length, in order of offsets."""

    offsets: NDArray[np.int64]
    texts: tuple[Sequence[str], ...]
    """The users, then a column for each name (event; or experiment and group)."""
    times_ms: NDArray[np.int64]
    arrivals_ms: NDArray[np.int64]
    watermarks_ms: NDArray[np.int64]
    """The partition's watermark just before each row."""

    def cut(self, at: slice) -> RawRows:
        """Return some of the rows."""
        return RawRows(
            self.offsets[at],
            tuple(column[at] for column in self.texts),
            self.times_ms[at],
            self.arrivals_ms[at],
            self.watermarks_ms[at],
        )


class Judge(Protocol[N_co]):
    """Decides, for one drain, which rows are kept and as what."""

    @property
    def names(self) -> Sequence[N_co]:
        """What verdicts point into, as far as there are verdicts yet."""

    def verdicts(self, rows: RawRows) -> NDArray[np.int64]:
        """Return, row by row, an index into `names`, or ``-1 - index`` into REASONS for a row to be dropped.

        Fewer verdicts than rows say that the next row can't be judged yet: it waits, and all behind it.
        """


@dataclass(slots=True)
class _Source:
    """One source partition, from what has been told of it to what has been fed."""

    partitions: int
    log_start: int
    told_offset: int
    """Next offset of the last segment."""
    told_watermark_ms: int
    fed_offset: int
    watermark_ms: int
    """As of the last record fed."""
    told_at_ms: int = 0
    """Wall clock of the last segment."""
    rows: deque[RawRows] = field(default_factory=deque)
    drops: list[Drops] = field(default_factory=list)
    """Of fed records; those of unfinished business stand behind the first row that waits."""
    dead_letters: list[Output] = field(default_factory=list)

    def waiting(self) -> int:
        return sum(len(rows.offsets) for rows in self.rows)


class Filter(ABC, Generic[N]):
    """A forwarder: decodes raw records, keeps what counts, and tells every target partition how far it got.

    A subclass judges; see `Judge`. One of its rows that has to wait holds back its partition, nothing else.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        raw_topic: str,
        decoder: RawDecoder,
        make_record: Callable[[int, list[N], list[str], list[Segment]], bytes],
    ) -> None:
        pipeline = settings.pipeline
        self._name = name
        self._decoder = decoder
        self._make_record = make_record
        self._raw_topic = raw_topic
        self._topic = settings.kafka.topic(f"filtered-{name}")
        self._dead_letters_topic = settings.kafka.topic("dead-letters")
        self._partitions = settings.kafka.partitions
        self._is_live = pipeline.clock == "live"
        self._out_of_order_ms = round(pipeline.out_of_order_seconds * 1000)
        self._limits = DeadLetterLimits(
            raw_topic, ratio=pipeline.dead_letter_ratio, run=pipeline.dead_letter_run
        )
        self._sources: dict[TopicPartition, _Source] = {}
        self._counters: Counter[str] = Counter()
        self._letter_bytes = 0
        """Of dead letters that wait for the next drain; those of partitions that went away meanwhile included."""

    @abstractmethod
    def judge(self) -> Judge[N]:
        """Return who judges in one drain."""

    def details(self) -> Mapping[str, Any]:
        """Return what else an operator wants to see."""
        return {}

    def assign(
        self, tp: TopicPartition, committed: Commit | None, *, log_start: int, partitions: int
    ) -> None:
        """See `rtexp.engine.api.Forwarder`."""
        start = log_start if committed is None else max(committed.next_offset, log_start)
        watermark_ms = 0 if committed is None else watermark_of(committed.metadata)
        self._sources[tp] = _Source(partitions, log_start, start, watermark_ms, start, watermark_ms)

    def revoke(self, tps: Iterable[TopicPartition]) -> None:
        """See `rtexp.engine.api.Forwarder`."""
        for tp in tps:
            self._sources.pop(tp, None)

    def feed(self, tp: TopicPartition, records: Sequence[Record], *, now_ms: int) -> None:
        """See `rtexp.engine.api.Forwarder`."""
        source = self._sources[tp]
        values = [record.value for record in records]
        offsets = _offsets_of(records)
        markers = (
            {} if all(values) else self._markers(records, values)
        )  # `None in values` takes four times as long
        arrived = arrivals_of(
            np.array([record.timestamp for record in records], np.int64),
            watermark_ms=source.watermark_ms,
            now_ms=now_ms,
            out_of_order_ms=self._out_of_order_ms,
            markers_ms=markers,
        )
        decoded = self._decoder.decode(values, arrived.arrivals_ms)
        refused = [refusal for refusal in decoded.refused if refusal.position not in markers]
        try:
            self._limits.judge(
                len(records) - len(markers), _ranks([at for at, _ in refused], markers), now_ms=now_ms
            )
        except TooMuchBadInput as exc:
            # Told here, as the dead letters of these records won't be sent any more.
            newest, error = refused[-1]
            where = f"{tp.topic}/{tp.partition} at {records[newest].offset}"
            raise TooMuchBadInput(f"{exc}. The newest is that of {where}: {error}") from exc
        source.fed_offset = records[-1].offset + 1
        source.watermark_ms = arrived.watermark_ms
        at = decoded.positions
        source.rows.append(
            RawRows(
                offsets[at],
                decoded.texts,
                decoded.times_ms,
                arrived.arrivals_ms[at],
                arrived.watermarks_ms[at],
            )
        )
        dropped = dict.fromkeys(markers, "marker") | {at: error.reason for at, error in refused}
        if dropped:
            positions = sorted(dropped)
            reasons = [REASON_INDEX[dropped[position]] for position in positions]
            source.drops.append(Drops(offsets[positions], np.array(reasons, np.int64)))
        letters = [dead_letter(self._dead_letters_topic, tp, records[at], error) for at, error in refused]
        source.dead_letters += letters
        self._letter_bytes += sum(len(letter.value or b"") for letter in letters)
        self._counters["read"] += len(records)

    def drain(self, *, now_ms: int, at_end_ms: Mapping[TopicPartition, int]) -> Forwarded:
        """See `rtexp.engine.api.Forwarder`."""
        judge = self.judge()
        outputs: list[Output] = []
        commits: dict[TopicPartition, Commit] = {}
        by_partitions: dict[int, list[Stretch]] = {}
        self._letter_bytes = 0
        for tp, source in self._sources.items():
            outputs += source.dead_letters
            source.dead_letters = []
            stretch = self._release(tp, source, judge, now_ms=now_ms, at_end_ms=at_end_ms.get(tp))
            if stretch is not None:
                by_partitions.setdefault(source.partitions, []).append(stretch)
                commits[tp] = Commit(stretch.next_offset, metadata_of(stretch.watermark_ms))
        for partitions, stretches in by_partitions.items():
            outputs += self._pack(partitions, stretches, judge.names)
        return Forwarded(outputs, commits)

    def waiting_rows(self, tp: TopicPartition) -> int:
        """See `rtexp.engine.api.Forwarder`."""
        return self._sources[tp].waiting()

    def waiting_bytes(self) -> int:
        """See `rtexp.engine.api.Forwarder`: dead letters, which may be large where good input never is."""
        return self._letter_bytes

    def status(self) -> PartitionStatus:
        """See `rtexp.engine.api.Forwarder`; counters are those of this worker since it started."""
        return PartitionStatus(
            {f"{tp.topic}/{tp.partition}": source.told_watermark_ms for tp, source in self._sources.items()},
            {f"{self._name}/{reason}": count for reason, count in sorted(self._counters.items())},
            self.details(),
        )

    def _markers(self, records: Sequence[Record], values: Sequence[bytes | None]) -> dict[int, int | None]:
        """Return the watermark of each marker by its position; None where it is to be ignored."""
        found = {at: marker_ms(records[at]) for at, value in enumerate(values) if value is None}
        return {at: None if self._is_live else ms for at, ms in found.items() if ms is not None}

    def _release(
        self, tp: TopicPartition, source: _Source, judge: Judge[N], *, now_ms: int, at_end_ms: int | None
    ) -> Stretch | None:
        """Take out what can go; None if there is nothing to tell."""
        rows = _judged(source, judge)
        if source.rows:
            # Everything behind the first row that waits arrived at or after its partition's watermark then.
            next_offset = int(source.rows[0].offsets[0])
            watermark_ms = int(source.rows[0].watermarks_ms[0])
        else:
            next_offset = source.fed_offset
            watermark_ms = source.watermark_ms
            if self._is_live and at_end_ms is not None:
                watermark_ms = max(watermark_ms, at_end_ms - self._out_of_order_ms)
        watermark_ms = max(watermark_ms, source.told_watermark_ms)
        if next_offset == source.told_offset and (
            watermark_ms == source.told_watermark_ms or 0 <= now_ms - source.told_at_ms < HEARTBEAT_MS
        ):
            return None
        drops = _drops_below(source, next_offset)
        stretch = Stretch(
            tp.partition, source.told_offset, next_offset, source.log_start,
            source.told_watermark_ms, watermark_ms, rows, drops,
        )  # fmt: skip
        source.told_offset, source.told_watermark_ms, source.told_at_ms = next_offset, watermark_ms, now_ms
        source.watermark_ms = max(source.watermark_ms, watermark_ms)
        self._count(rows, drops)
        return stretch

    def _count(self, rows: Rows, drops: Drops) -> None:
        self._counters["kept"] += len(rows.offsets)
        for reason, count in enumerate(np.bincount(drops.reasons, minlength=len(REASONS)).tolist()):
            if count:
                self._counters[REASONS[reason]] += count

    def _pack(self, partitions: int, stretches: Sequence[Stretch], names: Sequence[N]) -> list[Output]:
        def make(used: list[N], reasons: list[str], segments: list[Segment]) -> bytes:
            return self._make_record(partitions, used, reasons, segments)

        packed = Packer(self._partitions, make).pack(stretches, names)
        return [Output(self._topic, target, record) for target, record in packed]


def _offsets_of(records: Sequence[Record]) -> NDArray[np.int64]:
    first, last = records[0].offset, records[-1].offset
    if last - first == len(records) - 1:  # as almost always: none is missing between them
        return np.arange(first, last + 1)
    return np.array([record.offset for record in records], np.int64)


def _judged(source: _Source, judge: Judge[N]) -> Rows:
    """Move rows out of the source up to the first that waits; dropped ones go to its drops."""
    kept: list[Rows] = []
    while source.rows:
        rows = source.rows.popleft()
        verdicts = judge.verdicts(rows)
        judged = len(verdicts)
        is_kept = verdicts >= 0
        offsets = rows.offsets[:judged]
        source.drops.append(Drops(offsets[~is_kept], -1 - verdicts[~is_kept]))
        at = np.flatnonzero(is_kept)
        users = rows.texts[0]
        kept.append(
            Rows(
                offsets[at],
                list(users) if len(at) == len(users) else [users[position] for position in at.tolist()],
                verdicts[at],
                rows.times_ms[at],
                rows.arrivals_ms[at],
            )
        )
        if judged < len(rows.offsets):
            source.rows.appendleft(rows.cut(slice(judged, None)))
            break
    return Rows(
        _joined([rows.offsets for rows in kept]),
        [user for rows in kept for user in rows.users],
        _joined([rows.places for rows in kept]),
        _joined([rows.times_ms for rows in kept]),
        _joined([rows.arrivals_ms for rows in kept]),
    )


def _drops_below(source: _Source, next_offset: int) -> Drops:
    """Take the drops below an offset out of the source, in order of offsets."""
    offsets = _joined([drops.offsets for drops in source.drops])
    reasons = _joined([drops.reasons for drops in source.drops])
    order = np.argsort(offsets)
    offsets, reasons = offsets[order], reasons[order]
    cut = int(np.searchsorted(offsets, next_offset))
    source.drops = [Drops(offsets[cut:], reasons[cut:])]
    return Drops(offsets[:cut], reasons[:cut])


def _joined(columns: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(columns) if columns else np.empty(0, np.int64)


def _ranks(positions: Sequence[int], markers: Mapping[int, object]) -> list[int]:
    """Number positions as if there were no markers: those are neither good input nor bad."""
    if not markers:
        return list(positions)
    return [position - sum(marker < position for marker in markers) for position in positions]
