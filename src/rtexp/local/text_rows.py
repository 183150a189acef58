"""Rows of CSV with a header, and of JSON lines."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import cache
from typing import IO, TYPE_CHECKING

import msgspec

from rtexp.errors import UsageError
from rtexp.local.raw_writer import MAX_RECORD_BYTES
from rtexp.local.rows import (
    Refused,
    UnsendableError,
    checked_arrival_ms,
    key_of,
    made,
    moved_ms,
    place,
    sendable,
)
from rtexp.local.times import readable_ms, shifted
from rtexp.records.raw import REFUSALS, RawDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rtexp.local.rows import Layout, Sendable
    from rtexp.settings import TimeFormat

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


# --- JSON lines

_ARRAY = re.compile(rb"\[\s*(\{|$)")


def json_rows(file: IO[bytes], path: Path, layout: Layout) -> Iterator[Sendable | Refused]:
    """Read JSON lines: without ``--columns`` they are sent as they are, with all their fields.

    UsageError for a file that is one array of objects.
    """
    read = _mapped if layout.columns else _as_it_is
    row = 0
    for line, content in enumerate(file, 1):
        value = content.strip(b" \t\r\n").removeprefix(b"\xef\xbb\xbf" if line == 1 else b"")
        if not value:
            continue
        row += 1
        if row == 1 and _ARRAY.match(value):
            raise UsageError(
                f"{path} is a JSON array: expected an object a line, as `jq -c '.[]'` makes of it"
            )
        try:
            yield read(row, value, layout)
        except UnsendableError as exc:
            yield Refused(row, line, str(exc))


def _as_it_is(row: int, value: bytes, layout: Layout) -> Sendable:
    """Send the bytes of a line, whatever they are: bad input is ingest's to judge."""
    try:
        document = _decode(value)
    except REFUSALS:
        if layout.arrival is not None:
            raise UnsendableError(f"no such column: {layout.arrival}, as this is no JSON") from None
        return _as_ingest_reads_it(row, value, layout)
    user = key_of(_nested(document, layout.paths["user"]))
    time = _nested(document, layout.paths["time"])
    at_ms = readable_ms(time, layout.time_format) if layout.arrival is None else _arrival_ms(document, layout)
    if layout.shift_ms and readable_ms(time, layout.time_format) is not None:
        place(document, layout.paths["time"], shifted(time, layout.time_format, layout.shift_ms))
        value = _encode(document)
    return sendable(row, moved_ms(at_ms, layout), user, value)


def _as_ingest_reads_it(row: int, value: bytes, layout: Layout) -> Sendable:
    """Send a line that is no JSON for most: if the fault lies beside its fields, ingest counts it all the same.

    So it needs its user's partition and its own time. Where times are moved, only its fields can be written again.
    """
    found = _lenient(tuple(layout.paths.items()), layout.time_format).read(value)
    if found is None:
        return sendable(row, None, None, value)
    if layout.shift_ms:
        return made(row, found, layout, None)
    return sendable(row, readable_ms(found["time"], layout.time_format), key_of(found["user"]), value)


@cache
def _lenient(paths: tuple[tuple[str, str], ...], time_format: TimeFormat) -> RawDecoder:
    return RawDecoder(
        dict(paths), time_format=time_format, max_message_bytes=MAX_RECORD_BYTES, max_ahead_ms=0
    )


def _mapped(row: int, value: bytes, layout: Layout) -> Sendable:
    """Make a raw record of a line's mapped fields."""
    try:
        document = _decode(value)
    except REFUSALS as exc:
        raise UnsendableError(f"no columns, as this is no JSON: {exc}") from None
    found = {target: _follow(document, layout.source(target)) for target in layout.paths}
    for target, field in found.items():
        if field is _ABSENT:
            raise UnsendableError(f"no such column: {layout.source(target)}")
    arrival_ms = None if layout.arrival is None else _arrival_ms(document, layout)
    return made(row, found, layout, arrival_ms)


def _arrival_ms(document: object, layout: Layout) -> int:
    assert layout.arrival is not None
    found = _follow(document, layout.arrival)
    if found is _ABSENT:
        raise UnsendableError(f"no such column: {layout.arrival}")
    return checked_arrival_ms(found, layout)


_ABSENT = object()


def _follow(document: object, path: str) -> object:
    """Return what lies at a field path; a field whose name is the whole path comes first."""
    if isinstance(document, dict) and path in document:
        return document[path]
    return _nested(document, path)


def _nested(document: object, path: str) -> object:
    """Return what lies at a field path, as ingest follows it."""
    found = document
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return _ABSENT
        found = found[name]
    return found


# --- CSV


@dataclass(frozen=True, slots=True)
class _Header:
    """Where in a line of CSV the targets lie."""

    columns: int
    places: Mapping[str, int]
    arrival: int | None


def csv_rows(file: IO[bytes], path: Path, layout: Layout) -> Iterator[Sendable | Refused]:
    """Read CSV; UsageError for a header that lacks a column."""
    # A byte that is no UTF-8 becomes half of a surrogate pair, which no JSON can hold: its row is refused.
    with io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
        yield from _table_rows(text, path, layout)


def _table_rows(text: IO[str], path: Path, layout: Layout) -> Iterator[Sendable | Refused]:
    lines = csv.reader(text, strict=True)
    header = _header_of(lines, path, layout)
    row = 0
    while True:
        line = lines.line_num + 1
        try:
            cells = next(lines, None)
            if cells is None:
                return
            if cells:
                row += 1
                yield _csv_row(row, cells, header, layout)
        except csv.Error as exc:
            row += 1
            yield Refused(row, line, f"not CSV: {exc}")
        except UnsendableError as exc:
            yield Refused(row, line, str(exc))


def _csv_row(row: int, cells: list[str], header: _Header, layout: Layout) -> Sendable:
    if len(cells) != header.columns:
        raise UnsendableError(f"{len(cells)} columns, where the header has {header.columns}")
    found = {target: cells[place] for target, place in header.places.items()}
    arrival_ms = None if header.arrival is None else checked_arrival_ms(cells[header.arrival], layout)
    try:
        return made(row, found, layout, arrival_ms)
    except UnicodeEncodeError:
        raise UnsendableError("not UTF-8") from None


def _header_of(lines: Iterator[list[str]], path: Path, layout: Layout) -> _Header:
    try:
        names = next(lines, None)
    except csv.Error as exc:
        raise UsageError(f"{path}: its header is no CSV: {exc}") from exc
    if names is None:
        raise UsageError(f"{path} is empty: expected CSV that begins with the names of its columns")
    if any("\udc80" <= letter <= "\udcff" for name in names for letter in name):
        raise UsageError(f"{path}: its header isn't UTF-8")
    places = {target: _place_of(layout.source(target), names, path) for target in layout.paths}
    arrival = None if layout.arrival is None else _place_of(layout.arrival, names, path)
    return _Header(len(names), places, arrival)


def _place_of(column: str, names: list[str], path: Path) -> int:
    found = [place for place, name in enumerate(names) if name == column]
    if len(found) != 1:
        problem = "more than one column" if found else "no column"
        raise UsageError(
            f"{path}: {problem} {column!r} in the header ({', '.join(names)}); "
            "map another with --columns, such as --columns time=when"
        )
    return found[0]
