"""From records of a filtered topic to the rows in them that are new, each of which counts once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from rtexp.core.progress import SourceProgress
from rtexp.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from rtexp.core.progress import Fresh, PlainProgress
    from rtexp.records.filtered import Segment

N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class FilteredBatch:
    """A decoded record of filtered actions or activations."""

    record: Any
    rows: int


@dataclass(frozen=True, slots=True)
class Rows(Generic[N]):
    """New rows in order, in columns of equal length; ``index`` points into ``names``."""

    users: list[str]
    index: NDArray[np.int64]
    names: Sequence[N]
    times_ms: NDArray[np.int64]
    arrivals_ms: NDArray[np.int64]


class Intake(Generic[N]):
    """Progress of one filtered topic, and counters that ride in it; ``names_of`` gives a record's names."""

    def __init__(
        self,
        decode: Callable[[bytes], Any],
        names_of: Callable[[Any], list[N]],
        *,
        counts_losses_of: Callable[[int], bool],
    ) -> None:
        self._decode = decode
        self._names_of = names_of
        self._counts_losses_of = counts_losses_of
        self._progress = SourceProgress()
        self._ahead: SourceProgress | None = None
        self.counters: Counter[str] = Counter()
        """Absolute, by reason: what ingest dropped, what came twice from it, what retention removed unread."""

    @property
    def watermark_ms(self) -> int:
        """Every raw record that arrived before this time, and concerns this partition, has been taken."""
        return self._progress.watermark_ms

    @property
    def next_offsets(self) -> Mapping[int, int]:
        """By source partition, the raw offset below which everything has been taken."""
        return self._progress.next_offsets

    @property
    def ignored_segments(self) -> int:
        """How many segments started above what has been taken."""
        return self._progress.ignored

    def decode(self, value: bytes) -> FilteredBatch:
        """Decode a record; changes nothing. StateError for one that contradicts itself."""
        record = self._decode(value)
        if any(segment.source >= record.sources for segment in record.segments):
            raise StateError(
                f"a filtered record says that its topic has {record.sources} partitions, but speaks of others: "
                "please report this"
            )
        return FilteredBatch(record, sum(len(segment.users) for segment in record.segments))

    def fits(self, batch: FilteredBatch, limit_ms: int) -> bool:
        """Tell whether all new rows of the next record arrived before ``limit_ms``.

        Next is the one after those that fitted since the last `take`; which must take them, all and in order:
        a row's arrival is raised to what the records before it carry, so only their order decides it.
        A record without new rows fits any limit: it only moves the watermark.
        """
        ahead = (self._ahead or self._progress).copy()
        newest_ms = _newest_arrival_ms(ahead, batch.record)
        if newest_ms is not None and newest_ms >= limit_ms:
            return False
        self._ahead = ahead
        return True

    def take(self, batches: Sequence[FilteredBatch]) -> Rows[N]:
        """Advance over these records; return their new rows."""
        users: list[str] = []
        index: list[NDArray[np.int64]] = [_NONE]
        times: list[NDArray[np.int64]] = [_NONE]
        arrivals: list[NDArray[np.int64]] = [_NONE]
        places: dict[N, int] = {}
        for batch in batches:
            record = batch.record
            self._progress.expect(record.sources)
            renamed = np.array([places.setdefault(n, len(places)) for n in self._names_of(record)], np.int64)
            for segment in record.segments:
                fresh = _accept(self._progress, segment)
                if fresh is None:
                    continue
                first = _first_row(segment, fresh)
                self._count(segment, fresh, first, record.reasons)
                if first == len(segment.users):
                    continue
                users += segment.users[first:] if first else segment.users
                index.append(renamed[np.frombuffer(segment.index, "<u4")[first:]])
                times.append(np.frombuffer(segment.times, "<i8")[first:])
                arrivals.append(
                    np.maximum(np.frombuffer(segment.arrivals, "<i8")[first:], fresh.raised_to_ms)
                )
        self._ahead = None
        return Rows(
            users,
            np.concatenate(index),
            list(places),
            np.concatenate(times),
            np.concatenate(arrivals),
        )

    def _count(self, segment: Segment, fresh: Fresh, seen_rows: int, reasons: list[str]) -> None:
        if fresh.lost and self._counts_losses_of(segment.source):
            self.counters["lost"] += fresh.lost
        if seen_rows:
            self.counters["seen-offset"] += seen_rows
        if not segment.dropped_offsets:
            return
        offsets = np.frombuffer(segment.dropped_offsets, "<u4").astype(np.int64)
        new = offsets >= fresh.from_offset - segment.first_offset
        if seen_drops := int((~new).sum()):
            self.counters["seen-offset"] += seen_drops
        counts = np.bincount(np.frombuffer(segment.dropped_reasons, "u1")[new], minlength=len(reasons))
        for reason, count in zip(reasons, counts.tolist(), strict=True):
            if count:
                self.counters[reason] += count

    def to_plain(self) -> tuple[PlainProgress, dict[str, int]]:
        """Return a value that stands for what has been taken so far."""
        return self._progress.to_plain(), dict(sorted(self.counters.items()))

    def load(self, plain: tuple[PlainProgress, dict[str, int]]) -> None:
        """Begin where `to_plain` was called."""
        progress, counters = plain
        self._progress = SourceProgress.from_plain(progress)
        self._ahead = None
        self.counters = Counter(counters)


_NONE = np.empty(0, np.int64)


def _accept(progress: SourceProgress, segment: Segment) -> Fresh | None:
    return progress.accept(
        segment.source,
        first_offset=segment.first_offset,
        next_offset=segment.next_offset,
        log_start=segment.log_start,
        watermark_ms=segment.watermark_ms,
    )


def _newest_arrival_ms(progress: SourceProgress, record: Any) -> int | None:
    """Advance over the record; return the newest arrival, raised, of its new rows; None without any."""
    newest_ms: int | None = None
    progress.expect(record.sources)
    for segment in record.segments:
        fresh = _accept(progress, segment)
        if fresh is not None and (first := _first_row(segment, fresh)) < len(segment.users):
            arrivals = np.frombuffer(segment.arrivals, "<i8")
            newest_ms = max(newest_ms or 0, fresh.raised_to_ms, int(arrivals[first:].max()))
    return newest_ms


def _first_row(segment: Segment, fresh: Fresh) -> int:
    """Return the index of the first new row; the number of rows when none is."""
    repeated = fresh.from_offset - segment.first_offset
    if repeated == 0:
        return 0
    if fresh.from_offset >= segment.next_offset:
        return len(segment.users)
    return int(np.searchsorted(np.frombuffer(segment.offsets, "<u4"), repeated))
