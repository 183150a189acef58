"""One partition's pages on the local disk: a cache of its changelog, so that a restart reads little of it.

Nothing here is trusted more than the changelog. A store that can't be opened or is damaged, is older than the topic
keeps tombstones, or belongs to another incarnation is wiped; the changelog then fills it again. A disk that is full is
no fault of the store's contents: it stays as it is.

So RocksDB needs no log of its own: a process that is killed loses what it had not yet written to a file, the newest
part, the head among it, and reads that from the changelog again. A page costs 2 us instead of 9 that way.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
import rocksdict

from rtexp.engine.api import Page
from rtexp.engine.opening import mark_of, watched
from rtexp.errors import DiskUnusable, StoreDamaged

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from rtexp.errors import RtexpError

log = logging.getLogger(__name__)

LAYOUT = 1
_HEAD = b"!head"
_BATCH_RECORDS = 2_000
"""A WriteBatch holds the interpreter lock while it is written: a few ms for this many pages."""

_UNLOGGED = rocksdict.WriteOptions()
_UNLOGGED.disable_wal = True

_CACHE = rocksdict.Cache(64 << 20)
"""Shared by all partitions of the process."""

_NOT_THE_CONTENTS = {
    "No space left on device": "free some space on that disk",
    "Disk quota exceeded": "free some space there, or raise the quota",
    "Read-only file system": "mount it so that it can be written",
    "Permission denied": "give the directory to the user that workers run as",
    "Too many open files": "raise the limit of open files (ulimit -n)",
    "/LOCK: ": "stop whatever else has it open",
}
"""What RocksDB says when it can't have its files although nothing is wrong with what is in them; and what to do."""


class Head(msgspec.Struct, array_like=True, frozen=True):
    """Up to where the pages reach; written after them, so pages may be newer but never older.

    RocksDB writes memory to files in the order in which it was filled, so this holds after a crash as well.
    """

    layout: int
    incarnation: str
    position: int
    """Next offset of the changelog to replay."""
    checkpoint: bytes
    marker: bytes
    written_at: float
    """Wall clock, seconds."""


class PartitionStore:
    """RocksDB behind five calls. May block for milliseconds; not thread-safe.

    Every call raises DiskUnusable if the disk is full or refuses its files, and StoreDamaged for other faults.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.head: Head | None
        try:
            self._db = self._open()
            self.head = self._read_head()
        except DiskUnusable:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever RocksDB dislikes: the changelog has it all
            log.warning("%s: local store can't be opened, replaying: %s", path, exc)
            self.wipe()

    def _open(self) -> rocksdict.Rdict:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if mark_of(self._path).exists():
                log.warning("%s: local store couldn't be opened the last time, replaying", self._path)
                shutil.rmtree(self._path, ignore_errors=True)
            with watched(self._path):
                return rocksdict.Rdict(str(self._path), self._options())
        except Exception as exc:
            raise self._meant(exc, "opened") from exc

    @staticmethod
    def _options() -> rocksdict.Options:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_max_open_files(128)
        options.set_write_buffer_size(2 << 20)  # a worker may have tens of stores
        options.set_max_write_buffer_number(2)
        options.set_compression_type(rocksdict.DBCompressionType.lz4())
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(_CACHE)
        options.set_block_based_table_factory(table)
        return options

    def _meant(self, exc: Exception, done: str) -> RtexpError:
        """Return what to raise for an error of RocksDB, whose only kind is Exception."""
        for words, act in _NOT_THE_CONTENTS.items():
            if words in str(exc):
                return DiskUnusable(
                    f"{self._path} can't be {done} ({words.strip('/: ')}): {act}, then start again"
                )
        return StoreDamaged(f"{self._path} can't be {done}: {exc}")

    def _read_head(self) -> Head | None:
        raw = self._db.get(_HEAD)
        if raw is None:
            return None
        head = msgspec.msgpack.decode(raw, type=Head)
        if head.layout != LAYOUT:
            raise ValueError("another layout of the store")
        return head

    def wipe(self) -> None:
        """Forget everything; the next replay starts at the changelog's beginning."""
        if hasattr(self, "_db"):
            with contextlib.suppress(Exception):  # it is closed, whatever it couldn't write before
                self._db.close()
        shutil.rmtree(self._path, ignore_errors=True)
        self._db = self._open()
        self.head = None

    def write(self, pages: Iterable[Page], head: Head) -> Iterator[None]:
        """Write pages, then the head; yields between batches, so that the caller can let others run."""
        try:
            yield from self._write(pages, head)
        except Exception as exc:
            raise self._meant(exc, "written") from exc
        self.head = head

    def _write(self, pages: Iterable[Page], head: Head) -> Iterator[None]:
        pages = iter(pages)
        while chunk := list(islice(pages, _BATCH_RECORDS)):
            batch = rocksdict.WriteBatch(raw_mode=True)
            for key, value in chunk:
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
            self._db.write(batch, _UNLOGGED)
            yield
        self._db.put(_HEAD, msgspec.msgpack.encode(head), _UNLOGGED)

    def get(self, key: bytes) -> bytes | None:
        """Return a page's value, or None."""
        try:
            value: bytes | None = self._db.get(key)
        except Exception as exc:
            raise self._meant(exc, "read") from exc
        return value

    def pages(self) -> Generator[Page, None, None]:
        """Yield all pages in order of key. Close it before `wipe` or `close`."""
        rows = self._db.iter()
        try:
            rows.seek_to_first()
            while rows.valid():
                key, value = rows.key(), rows.value()
                if key != _HEAD:
                    yield Page(key, value)
                rows.next()
            # Reading stops at a damaged block as it does at the end; only the status tells one from the other.
            rows.status()
        except Exception as exc:
            raise self._meant(exc, "read") from exc
        finally:
            del (
                rows
            )  # the error's traceback would keep it, and it RocksDB's lock: then nothing could be wiped

    def size_bytes(self) -> int:
        """Return the bytes on disk and in memory tables, roughly."""
        return sum(
            int(self._db.property_int_value(name) or 0)
            for name in ("rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables")
        )

    def close(self) -> None:
        """Close for good. What can't be written any more is read from the changelog at the next start."""
        try:
            self._db.close()
        except rocksdict.DbClosedError:
            raise
        except Exception as exc:  # noqa: BLE001 - it is closed all the same
            log.warning(
                "%s: local store closed without its newest part: %s", self._path, self._meant(exc, "written")
            )
