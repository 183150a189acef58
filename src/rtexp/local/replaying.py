"""Several files as one stream in order of record time, whatever the order in each of them."""

from __future__ import annotations

import heapq
import itertools
import tempfile
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, NamedTuple

import msgspec

from rtexp.local.input_files import rows_of
from rtexp.local.raw_records import KINDS, RawRecord
from rtexp.local.rows import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from rtexp.local.rows import Layout

RUN_ROWS = 200_000
"""Rows of an unsorted file that are sorted in memory at a time: some 60 MB."""
_TOLD_ROWS = 5000


@dataclass(frozen=True, slots=True)
class Source:
    """A file, and how its rows become raw records."""

    path: Path
    layout: Layout


@dataclass(frozen=True, slots=True)
class Survey:
    """What a first reading of a file has shown."""

    source: Source
    rows: int
    refused: int
    first_ms: int | None
    """The least record time; None where no row has one."""
    last_ms: int | None
    is_sorted: bool


class _Row(NamedTuple):
    """Compares by what decides the order; no two are equal up to ``row``."""

    at_ms: int
    kind: int
    source: int
    row: int
    key: bytes | None
    value: bytes


def survey(
    source: Source, refuse: Callable[[Refused], None], *, progress: Callable[[int], None] = lambda _: None
) -> Survey:
    """Read a file once: count it, find its times, see if it is sorted; hand over what can't be sent.

    ``progress`` is told the number of rows now and then.
    """
    rows = refused = 0
    first_ms: int | None = None
    last_ms: int | None = None
    previous_ms = 0
    is_sorted = True
    for row in rows_of(source.path, source.layout):
        if isinstance(row, Refused):
            refused += 1
            refuse(row)
            continue
        rows += 1
        if rows % _TOLD_ROWS == 0:
            progress(rows)
        if row.at_ms is None:
            continue
        is_sorted = is_sorted and row.at_ms >= previous_ms
        previous_ms = row.at_ms
        first_ms = row.at_ms if first_ms is None else min(first_ms, row.at_ms)
        last_ms = row.at_ms if last_ms is None else max(last_ms, row.at_ms)
    return Survey(source, rows, refused, first_ms, last_ms, is_sorted)


def shifted_to(surveys: Sequence[Survey], start_ms: int) -> list[Survey]:
    """Move all times, by the same, so that the first row's is ``start_ms``."""
    first_ms = min((s.first_ms for s in surveys if s.first_ms is not None), default=start_ms)
    shift_ms = start_ms - first_ms
    return [
        replace(
            surveyed,
            source=replace(surveyed.source, layout=replace(surveyed.source.layout, shift_ms=shift_ms)),
            first_ms=None if surveyed.first_ms is None else surveyed.first_ms + shift_ms,
            last_ms=None if surveyed.last_ms is None else surveyed.last_ms + shift_ms,
        )
        for surveyed in surveys
    ]


def merged(surveys: Sequence[Survey], *, latest_ms: int | None = None) -> Iterator[RawRecord]:
    """Yield all rows in order of record time; of equal ones activations first, then as in the files.

    A row without a readable time goes with the row before it in its file. Record times after ``latest_ms``
    become ``latest_ms``: what is there has arrived, and one wrong clock must not move the watermark ahead of
    everything that is still to come.
    """
    streams = [_in_order(surveyed, place, latest_ms) for place, surveyed in enumerate(surveys)]
    for at_ms, kind, _, _, key, value in heapq.merge(*streams):
        yield RawRecord(at_ms, KINDS[kind], key, value)


def _in_order(surveyed: Survey, place: int, latest_ms: int | None) -> Iterator[_Row]:
    rows = _timed_rows(surveyed, place, latest_ms)
    return rows if surveyed.is_sorted else _sorted(rows)


def _timed_rows(surveyed: Survey, place: int, latest_ms: int | None) -> Iterator[_Row]:
    kind = KINDS.index(surveyed.source.layout.kind)
    before_ms = surveyed.first_ms or 0
    for row in rows_of(surveyed.source.path, surveyed.source.layout):
        if isinstance(row, Refused):
            continue
        if row.at_ms is not None:
            before_ms = row.at_ms
        at_ms = before_ms if latest_ms is None else min(before_ms, latest_ms)
        yield _Row(at_ms, kind, place, row.row, row.key, row.value)


def _sorted(rows: Iterator[_Row]) -> Iterator[_Row]:
    """Sort any number of rows: sorted runs go to a temporary file, and are merged from there."""
    with tempfile.TemporaryFile(prefix="rtexp-replay-") as spilled:
        starts = []
        while run := sorted(itertools.islice(rows, RUN_ROWS)):
            starts.append((spilled.tell(), len(run)))
            _spill(run, spilled)
        yield from heapq.merge(*(_unspill(spilled, start, size) for start, size in starts))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Row]).decode
_FRAME_ROWS = 1000


def _spill(run: Sequence[_Row], file: IO[bytes]) -> None:
    for start in range(0, len(run), _FRAME_ROWS):
        frame = _encode(run[start : start + _FRAME_ROWS])
        file.write(len(frame).to_bytes(8, "big") + frame)


def _unspill(file: IO[bytes], start: int, rows: int) -> Iterator[_Row]:
    for _ in range(0, rows, _FRAME_ROWS):
        file.seek(start)  # other runs are read in between
        size = int.from_bytes(file.read(8), "big")
        frame = _decode(file.read(size))
        start += 8 + size
        yield from frame


def closing_ms(last_ms: int, period_ends_ms: Iterable[int], *, grace_ms: int, join_delay_ms: int) -> int:
    """Return the watermark that closes a history: after the end and grace of every period.

    It is late enough that the last action waits for no activation.
    """
    return max(last_ms, max(period_ends_ms, default=0) + grace_ms) + join_delay_ms + 1
