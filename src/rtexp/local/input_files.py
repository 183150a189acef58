"""Files of actions or activations as rows to send: CSV with a header, or JSON lines; also in gzip or zstd."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
import zstandard

from rtexp.errors import UsageError
from rtexp.local.raw_writer import MAX_RECORD_BYTES
from rtexp.local.times import converted, readable_ms, shifted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from rtexp.local.raw_records import Kind
    from rtexp.settings import Settings, TimeFormat

TARGETS: Mapping[Kind, tuple[str, ...]] = {
    "actions": ("user", "event", "time"),
    "activations": ("user", "experiment", "group", "time"),
}
"""What raw records are made of; columns can be mapped to these."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Sendable(NamedTuple):
    """One row, ready to go."""

    row: int
    """Its number, from 1; headers and empty lines don't count."""
    at_ms: int | None
    """Its record time; None where the row has no readable time: it goes with the row before it."""
    key: bytes | None
    value: bytes


class Refused(NamedTuple):
    """One row that can't be sent."""

    row: int
    line: int
    """Where in the file it begins, from 1."""
    reason: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows of one kind become raw records."""

    kind: Kind
    paths: Mapping[str, str]
    """The configured field path of each target."""
    time_format: TimeFormat
    columns: Mapping[str, str]
    """The column, or field path, that a target comes from, where it isn't the configured one."""
    arrival: str | None = None
    """The column of record times; None: the event times."""
    shift_ms: int = 0
    """By how much record times and event times are moved."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        kind: Kind,
        columns: Mapping[str, str] | None = None,
        arrival: str | None = None,
    ) -> Layout:
        """Take field paths and time format from the settings; ``columns`` of the other kind are left out."""
        section = settings.actions if kind == "actions" else settings.activations
        paths = {target: getattr(section, target) for target in TARGETS[kind]}
        mine = {target: column for target, column in (columns or {}).items() if target in paths}
        return cls(kind, paths, section.time_format, mine, arrival)

    def source(self, target: str) -> str:
        """Return the column, or field path, that a target comes from."""
        return self.columns.get(target, self.paths[target])


def rows_of(path: Path, layout: Layout) -> Iterator[Sendable | Refused]:
    """Read a file row by row.

    UsageError for a file whose kind isn't known, that can't be read, or whose header lacks a column.
    """
    suffixes = [suffix for suffix in path.suffixes if suffix not in {".gz", ".zst"}]
    suffix = suffixes[-1].lower() if suffixes else ""
    if suffix == ".parquet":
        raise UsageError(f"{path}: this version reads no Parquet; write it as CSV or JSON lines first")
    readers: dict[str, Callable[[IO[bytes], Path, Layout], Iterator[Sendable | Refused]]] = {
        ".csv": _csv_rows,
        ".jsonl": _json_rows,
        ".ndjson": _json_rows,
        ".json": _json_rows,
    }
    if suffix not in readers:
        raise UsageError(
            f"{path}: expected a name that ends in .csv, .jsonl or .ndjson, and then .gz or .zst at most"
        )
    try:
        with _open(path) as file:
            yield from readers[suffix](file, path, layout)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as exc:
        raise UsageError(f"{path} can't be read: {exc}") from exc


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if path.suffix == ".zst":
        return io.BufferedReader(_ZstdFile(path), 1 << 20)
    return path.open("rb")


class _ZstdFile(io.RawIOBase):
    """The library's own reader takes the end of a file that was cut short for the end of its content."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if self._frame.eof and self._frame.unused_data:  # another frame follows
                data = self._frame.unused_data
            elif not (data := self._file.read(1 << 17)):
                if not self._frame.eof:
                    raise EOFError("it ends in the middle of compressed data")
                return 0
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._ready = self._frame.decompress(data)
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


# --- JSON lines


def _json_rows(file: IO[bytes], path: Path, layout: Layout) -> Iterator[Sendable | Refused]:
    del path  # in the signature that both kinds of file share
    read = _mapped if layout.columns else _as_it_is
    row = 0
    for line, content in enumerate(file, 1):
        value = content.strip(b" \t\r\n").removeprefix(b"\xef\xbb\xbf" if line == 1 else b"")
        if not value:
            continue
        row += 1
        try:
            yield read(row, value, layout)
        except _UnsendableError as exc:
            yield Refused(row, line, str(exc))


class _UnsendableError(Exception):
    """A row lacks what it is to be made of, or is too large."""


def _as_it_is(row: int, value: bytes, layout: Layout) -> Sendable:
    """Send the bytes of a line, whatever they are: bad input is ingest's to judge."""
    try:
        document = _decode(value)
    except (msgspec.DecodeError, RecursionError):
        if layout.arrival is not None:
            raise _UnsendableError(f"no such column: {layout.arrival}, as this is no JSON") from None
        return _sendable(row, None, None, value)
    user = _key(_follow(document, layout.paths["user"]))
    time = _follow(document, layout.paths["time"])
    at_ms = readable_ms(time, layout.time_format) if layout.arrival is None else _arrival_ms(document, layout)
    if layout.shift_ms and readable_ms(time, layout.time_format) is not None:
        _place(document, layout.paths["time"], shifted(time, layout.time_format, layout.shift_ms))
        value = _encode(document)
    return _sendable(row, _moved(at_ms, layout), user, value)


def _mapped(row: int, value: bytes, layout: Layout) -> Sendable:
    """Make a raw record of a line's mapped fields."""
    try:
        document = _decode(value)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise _UnsendableError(f"no columns, as this is no JSON: {exc}") from None
    found = {target: _follow(document, layout.source(target)) for target in layout.paths}
    for target, field in found.items():
        if field is _ABSENT:
            raise _UnsendableError(f"no such column: {layout.source(target)}")
    arrival_ms = None if layout.arrival is None else _arrival_ms(document, layout)
    return _made(row, found, layout, arrival_ms)


def _arrival_ms(document: object, layout: Layout) -> int:
    assert layout.arrival is not None
    found = _follow(document, layout.arrival)
    if found is _ABSENT:
        raise _UnsendableError(f"no such column: {layout.arrival}")
    return _checked_arrival_ms(found, layout)


_ABSENT = object()


def _follow(document: object, path: str) -> object:
    """Return what lies at a field path; a field whose name is the whole path comes first."""
    if isinstance(document, dict) and path in document:
        return document[path]
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


def _csv_rows(file: IO[bytes], path: Path, layout: Layout) -> Iterator[Sendable | Refused]:
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
        except _UnsendableError as exc:
            yield Refused(row, line, str(exc))


def _csv_row(row: int, cells: list[str], header: _Header, layout: Layout) -> Sendable:
    if len(cells) != header.columns:
        raise _UnsendableError(f"{len(cells)} columns, where the header has {header.columns}")
    found = {target: cells[place] for target, place in header.places.items()}
    arrival_ms = None if header.arrival is None else _checked_arrival_ms(cells[header.arrival], layout)
    try:
        return _made(row, found, layout, arrival_ms)
    except UnicodeEncodeError:
        raise _UnsendableError("not UTF-8") from None


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


# --- From fields to raw records


def _made(row: int, found: Mapping[str, object], layout: Layout, arrival_ms: int | None) -> Sendable:
    """Build the raw record that the configured field paths describe."""
    time = converted(found["time"], layout.time_format)
    at_ms = readable_ms(time, layout.time_format) if arrival_ms is None else arrival_ms
    if layout.shift_ms:
        time = shifted(time, layout.time_format, layout.shift_ms)
    document: dict[str, Any] = {}
    for target, field in found.items():
        _place(document, layout.paths[target], time if target == "time" else field)
    return _sendable(row, _moved(at_ms, layout), _key(found["user"]), _encode(document))


def _sendable(row: int, at_ms: int | None, key: bytes | None, value: bytes) -> Sendable:
    if len(value) + len(key or b"") > MAX_RECORD_BYTES:
        raise _UnsendableError(f"more than {MAX_RECORD_BYTES} bytes")
    return Sendable(row, at_ms, key, value)


def _checked_arrival_ms(found: object, layout: Layout) -> int:
    arrival_ms = readable_ms(converted(found, layout.time_format), layout.time_format)
    if arrival_ms is None:
        raise _UnsendableError(f"{layout.arrival} is no time in the configured format, {layout.time_format}")
    return arrival_ms


def _moved(at_ms: int | None, layout: Layout) -> int | None:
    return None if at_ms is None else at_ms + layout.shift_ms


def _key(user: object) -> bytes | None:
    """Return the user as a record's key; None for what can't be one."""
    if isinstance(user, str):
        return user.encode()
    return str(user).encode() if isinstance(user, int) and not isinstance(user, bool) else None


def _place(document: dict[str, Any], path: str, value: object) -> None:
    """Put a value where a field path leads, making the objects on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
    document[name] = value
