"""From rows by source partition to records by target partition: what ingest hands to aggregate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar
from zlib import crc32

import numpy as np

from rtexp.core.acceptance import Rejection
from rtexp.records import raw
from rtexp.records.filtered import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

N = TypeVar("N")

MAX_RECORD_BYTES = 900_000
"""Brokers refuse records above 1 MB."""
REASONS = [*raw.REASONS, *Rejection, "untracked", "marker"]
"""Why a raw record leaves no row; columns of reasons point into it."""

_ROW_BYTES = 4 + 4 + 8 + 8 + 5
"""Four numbers, and what MessagePack puts before a text."""
_DROP_BYTES = 4 + 1
_SEGMENT_BYTES = 100
_RECORD_BYTES = 1_000
_NAME_BYTES = 2 * raw.MAX_NAME_BYTES + 40
"""The most that one entry of a record's events or kinds can take."""


class Rows(NamedTuple):
    """Rows of one source partition in columns of equal length, in order of their raw offsets."""

    offsets: NDArray[np.int64]
    users: Sequence[str]
    places: NDArray[np.int64]
    """What each row is, as a place in a list of names: its event, or its kind."""
    times_ms: NDArray[np.int64]
    arrivals_ms: NDArray[np.int64]

    def cut(self, at: slice) -> Rows:
        """Return some of the rows."""
        return Rows(
            self.offsets[at], self.users[at], self.places[at], self.times_ms[at], self.arrivals_ms[at]
        )


class Drops(NamedTuple):
    """Raw records that leave no row, in order of their offsets; ``reasons`` point into `REASONS`."""

    offsets: NDArray[np.int64]
    reasons: NDArray[np.int64]

    def cut(self, at: slice) -> Drops:
        """Return some of them."""
        return Drops(self.offsets[at], self.reasons[at])


@dataclass(frozen=True, slots=True)
class Stretch:
    """All that is to be told of raw offsets ``first_offset <= o < next_offset`` of one source partition."""

    source: int
    first_offset: int
    next_offset: int
    log_start: int
    watermark_before_ms: int
    watermark_ms: int
    rows: Rows
    drops: Drops

    def halves(self) -> tuple[Stretch, Stretch] | None:
        """Cut in two that weigh about the same; None if there is but one raw record left.

        The first half says nothing new about the watermark: it may stand on what the second one brings.
        """
        offsets = np.sort(np.concatenate([self.rows.offsets, self.drops.offsets]))
        if len(offsets) < 2:  # noqa: PLR2004 - halves
            return None
        middle = int(offsets[len(offsets) // 2])
        row = int(np.searchsorted(self.rows.offsets, middle))
        drop = int(np.searchsorted(self.drops.offsets, middle))
        first = replace(
            self,
            next_offset=middle,
            watermark_ms=self.watermark_before_ms,
            rows=self.rows.cut(slice(row)),
            drops=self.drops.cut(slice(drop)),
        )
        second = replace(
            self,
            first_offset=middle,
            rows=self.rows.cut(slice(row, None)),
            drops=self.drops.cut(slice(drop, None)),
        )
        return first, second

    def size(self) -> int:
        """Return the most bytes that this takes in a record, but for the names that its rows point to."""
        users = len("".join(self.rows.users).encode())
        return (
            users + len(self.rows.users) * _ROW_BYTES + len(self.drops.offsets) * _DROP_BYTES + _SEGMENT_BYTES
        )

    def segment(self, renamed: NDArray[np.int64]) -> Segment:
        """Return what goes on the wire; ``renamed`` has the place of each name in the record."""
        rows, drops = self.rows, self.drops
        return Segment(
            source=self.source,
            first_offset=self.first_offset,
            next_offset=self.next_offset,
            log_start=self.log_start,
            watermark_ms=self.watermark_ms,
            offsets=(rows.offsets - self.first_offset).astype("<u4").tobytes(),
            users=list(rows.users),
            index=renamed[rows.places].astype("<u4").tobytes(),
            times=rows.times_ms.astype("<i8").tobytes(),
            arrivals=rows.arrivals_ms.astype("<i8").tobytes(),
            dropped_offsets=(drops.offsets - self.first_offset).astype("<u4").tobytes(),
            dropped_reasons=drops.reasons.astype("u1").tobytes(),
        )


class Packer(Generic[N]):
    """Makes a topic's records: ``make`` is given names, reasons and segments, and returns the encoded record."""

    def __init__(
        self,
        partitions: int,
        make: Callable[[list[N], list[str], list[Segment]], bytes],
        max_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        self._partitions = partitions
        self._make = make
        self._max_bytes = max_bytes

    def pack(self, stretches: Sequence[Stretch], names: Sequence[N]) -> Iterator[tuple[int, bytes]]:
        """Yield (target partition, record); rows' places are those in ``names``.

        Every target partition is told of every stretch, be it that it has no rows there; a user's rows go to
        ``crc32(user) % partitions``, and a source's drops to ``source % partitions``.
        """
        by_target = zip(*(self._by_target(stretch) for stretch in stretches), strict=True)
        for target, parts in enumerate(by_target):
            for record in self._records(parts, names):
                yield target, record

    def _by_target(self, whole: Stretch) -> list[Stretch]:
        rows = whole.rows
        hashes = np.fromiter(map(crc32, map(str.encode, rows.users)), np.uint32, len(rows.users))
        targets = (hashes % self._partitions).astype(np.uint16)
        order = np.argsort(targets, kind="stable")  # a radix sort, for 16 bits
        ends = np.cumsum(np.bincount(targets, minlength=self._partitions)).tolist()
        ordered = Rows(
            rows.offsets[order],
            np.array(rows.users, object)[order].tolist(),
            rows.places[order],
            rows.times_ms[order],
            rows.arrivals_ms[order],
        )
        parts = []
        for target, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            told = whole.source % self._partitions == target
            part = replace(
                whole, rows=ordered.cut(slice(start, end)), drops=whole.drops if told else _NO_DROPS
            )
            parts.append(part)
        return parts

    def _records(self, parts: Sequence[Stretch], names: Sequence[N]) -> Iterator[bytes]:
        """Gather parts as far as they fit, and cut those that don't."""
        gathered: list[Stretch] = []
        used = np.zeros(len(names), bool)
        size = _RECORD_BYTES
        todo = list(reversed(parts))
        while todo:
            part = todo.pop()
            used_then = used.copy()
            used_then[part.rows.places] = True
            added = part.size() + (int(used_then.sum()) - int(used.sum())) * _NAME_BYTES
            if size + added <= self._max_bytes:
                gathered.append(part)
                used, size = used_then, size + added
            elif gathered:
                yield self._record(gathered, used, names)
                gathered, used, size = [], np.zeros(len(names), bool), _RECORD_BYTES
                todo.append(part)
            elif halves := part.halves():
                todo += reversed(halves)
            else:
                yield self._record([part], used_then, names)
        if gathered:
            yield self._record(gathered, used, names)

    def _record(self, parts: Sequence[Stretch], used: NDArray[np.bool], names: Sequence[N]) -> bytes:
        places = np.flatnonzero(used).tolist()
        renamed = np.cumsum(used) - 1
        reasons = REASONS if any(len(part.drops.offsets) for part in parts) else []
        return self._make(
            [names[place] for place in places], reasons, [part.segment(renamed) for part in parts]
        )


_NO_DROPS = Drops(np.empty(0, np.int64), np.empty(0, np.int64))
