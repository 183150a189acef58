"""Files of actions or activations as rows to send: CSV, JSON lines or Parquet; also in gzip or zstd."""

from __future__ import annotations

import gzip
import io
import shutil
import tempfile
import zlib
from typing import IO, TYPE_CHECKING, Any, cast

import zstandard

from rtexp.errors import UsageError
from rtexp.local.text_rows import csv_rows, json_rows
from rtexp.store.parquet_file import missing_pyarrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rtexp.local.rows import Layout, Refused, Sendable

_PACKED = (".gz", ".zst")


def rows_of(path: Path, layout: Layout) -> Iterator[Sendable | Refused]:
    """Read a file row by row, holding a few thousand at a time.

    UsageError for a file whose kind isn't known, that can't be read, or that lacks a column.
    """
    suffixes = [suffix for suffix in path.suffixes if suffix not in _PACKED]
    suffix = suffixes[-1].lower() if suffixes else ""
    readers: dict[str, Callable[[IO[bytes], Path, Layout], Iterator[Sendable | Refused]]] = {
        ".csv": csv_rows,
        ".jsonl": json_rows,
        ".ndjson": json_rows,
        ".json": json_rows,
        ".parquet": _parquet_rows,
    }
    if suffix not in readers:
        raise UsageError(
            f"{path}: expected a name that ends in .csv, .jsonl, .ndjson or .parquet, and then .gz or .zst at most"
        )
    try:
        with _open(path) as file:
            yield from readers[suffix](file, path, layout)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as exc:
        raise UsageError(f"{path} can't be read: {exc}") from exc


def _parquet_rows(file: IO[bytes], path: Path, layout: Layout) -> Iterator[Sendable | Refused]:
    try:
        from rtexp.local.parquet_rows import parquet_rows  # noqa: PLC0415 - few need it, and it costs 0.2 s and 60 MB
    except ModuleNotFoundError as exc:
        raise UsageError(f"{path}: {missing_pyarrow()}") from exc
    if path.suffix not in _PACKED:
        yield from parquet_rows(file, path, layout)
        return
    # Parquet is read from its end, to which compressed files have no short way.
    with tempfile.TemporaryFile(prefix="rtexp-replay-") as whole:
        shutil.copyfileobj(file, whole)
        yield from parquet_rows(whole, path, layout)


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
