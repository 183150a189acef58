"""The local store is a cache: whatever is wrong with it, it must be noticed, and the changelog fills it again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import rocksdict
from tests.unit.engine.fakes import NOW

from rtexp.engine.api import Page
from rtexp.engine.store import _NOT_THE_CONTENTS, LAYOUT, Head, PartitionStore
from rtexp.errors import DiskUnusable, StateError, StoreDamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def head_at(position: int, *, layout: int = LAYOUT) -> Head:
    return Head(layout, "incarnation", position, b"S", b"M", NOW)


def write(store: PartitionStore, pages: dict[bytes, bytes | None], position: int) -> None:
    for _ in store.write((Page(*item) for item in pages.items()), head_at(position)):
        pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent" / "0"


@pytest.fixture
def store(path: Path) -> Iterator[PartitionStore]:
    opened = PartitionStore(path)
    yield opened
    with suppress(rocksdict.DbClosedError):  # some tests close it, to open it anew
        opened.close()


def test_a_new_store_has_no_head_and_no_pages(store: PartitionStore) -> None:
    assert store.head is None
    assert list(store.pages()) == []


def test_pages_and_head_outlive_the_process(store: PartitionStore, path: Path) -> None:
    write(store, {b"page:b": b"2", b"page:a": b"1"}, 7)
    store.close()
    again = PartitionStore(path)
    assert again.head == head_at(7)
    assert list(again.pages()) == [Page(b"page:a", b"1"), Page(b"page:b", b"2")], "the head isn't a page"
    again.close()


def test_single_pages_are_read_as_they_were_last_written(store: PartitionStore) -> None:
    assert store.get(b"page:a") is None
    write(store, {b"page:a": b"1", b"page:b": b"1"}, 7)
    write(store, {b"page:a": b"2", b"page:b": None}, 8)
    assert store.get(b"page:a") == b"2"
    assert store.get(b"page:b") is None
    store.wipe()
    assert store.get(b"page:a") is None


def test_a_page_that_cant_be_read_is_no_missing_page(store: PartitionStore) -> None:
    store.close()
    with pytest.raises(StateError, match="can't be read"):
        store.get(b"page:a")


FULL = "No space left on device"


class Failing:
    """RocksDB as it is once it has failed in the background: every call says why, and `close` closes all the same."""

    def __init__(self, db: rocksdict.Rdict, said: str) -> None:
        self._db, self._said = db, said

    def get(self, _key: bytes) -> bytes:
        raise OSError(self._said)

    def write(self, _batch: object, _options: object) -> None:
        raise OSError(self._said)

    def close(self) -> None:
        self._db.close()
        raise OSError(self._said)


WRITER = """
import os, signal, sys
from pathlib import Path
from rtexp.engine.api import Page
from rtexp.engine.store import LAYOUT, Head, PartitionStore

store = PartitionStore(Path(sys.argv[1]))
for position in range(1, 31):
    pages = (Page(b"page:%d" % number, b"%d/" % position + os.urandom(60_000)) for number in range(32))
    for _ in store.write(pages, Head(LAYOUT, "incarnation", position, b"S", b"M", 1e9)):
        pass
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_leaves_has_no_page_older_than_its_head(path: Path) -> None:
    """57 MB, written by way of memory of 2: most of it has come to files, the newest has not."""
    killed = subprocess.run([sys.executable, "-c", WRITER, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = PartitionStore(path)
    assert store.head is not None
    assert 1 <= store.head.position < 30, "what was lost is read from the changelog again"
    versions = [int(page.value.partition(b"/")[0]) for page in store.pages() if page.value is not None]
    assert len(versions) == 32
    assert min(versions) >= store.head.position
    store.close()


def test_a_page_without_value_is_gone(store: PartitionStore) -> None:
    write(store, {b"page:a": b"1", b"page:b": b"2"}, 7)
    write(store, {b"page:a": None}, 8)
    assert list(store.pages()) == [Page(b"page:b", b"2")]


def test_a_crash_between_pages_and_head_leaves_the_old_position(
    store: PartitionStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages may be newer than the position, never older: replaying from it gives the same again."""
    monkeypatch.setattr("rtexp.engine.store._BATCH_RECORDS", 1)
    write(store, {b"page:a": b"1", b"page:b": b"1"}, 7)
    newer = {b"page:a": b"2", b"page:b": None, b"page:c": b"2"}
    crashing = store.write((Page(*item) for item in newer.items()), head_at(10))
    next(crashing)
    next(crashing)
    store.close()
    again = PartitionStore(path)
    assert again.head == head_at(7)
    assert list(again.pages()) == [Page(b"page:a", b"2")], "half of it was written"
    write(again, newer, 10)
    assert again.head == head_at(10)
    assert list(again.pages()) == [Page(b"page:a", b"2"), Page(b"page:c", b"2")]
    again.close()


def test_a_write_gives_way_between_batches(store: PartitionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtexp.engine.store._BATCH_RECORDS", 10)
    assert sum(1 for _ in store.write((Page(b"%d" % n, b"") for n in range(25)), head_at(7))) == 3


def test_a_wiped_store_is_empty_and_usable(store: PartitionStore) -> None:
    write(store, {b"page:a": b"1"}, 7)
    store.wipe()
    assert store.head is None
    assert list(store.pages()) == []
    write(store, {b"page:b": b"1"}, 3)
    assert store.head == head_at(3)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"garbage", id="unreadable head"),
        pytest.param(None, id="head of another layout"),
    ],
)
def test_a_store_with_a_strange_head_is_wiped(store: PartitionStore, path: Path, head: bytes | None) -> None:
    if head is None:
        for _ in store.write(iter([Page(b"page:a", b"1")]), head_at(7, layout=LAYOUT + 1)):
            pass
    else:
        write(store, {b"page:a": b"1"}, 7)
        store._db[b"!head"] = head
    store.close()
    again = PartitionStore(path)
    assert again.head is None
    assert list(again.pages()) == []
    again.close()


def test_a_store_that_does_not_open_is_wiped(store: PartitionStore, path: Path) -> None:
    write(store, {b"page:a": b"1"}, 7)
    store.close()
    (path / "CURRENT").write_text("nonsense")
    again = PartitionStore(path)
    assert again.head is None
    assert list(again.pages()) == []
    again.close()


def test_a_damaged_block_is_an_error_and_not_the_end_of_the_pages(store: PartitionStore, path: Path) -> None:
    write(store, {b"page:%05d" % n: os.urandom(500) for n in range(2000)}, 7)
    store._db.flush()
    store.close()
    table = max(path.glob("*.sst"), key=lambda file: file.stat().st_size)
    content = bytearray(table.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    table.write_bytes(content)
    again = PartitionStore(path)
    with pytest.raises(StoreDamaged, match=r"can't be read.*block checksum mismatch") as raised:
        list(again.pages())
    again.wipe()
    assert list(again.pages()) == [], "it can be wiped while the error is still being handled"
    assert raised.value.__traceback__ is not None
    again.close()


def test_a_store_that_can_not_write_its_last_part_can_be_wiped_and_closed(
    store: PartitionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a compaction has come upon a damaged block: RocksDB then takes no more, and says so again and again."""
    write(store, {b"page:a": b"1"}, 7)
    store._db = Failing(store._db, "Corruption: block checksum mismatch")
    store.wipe()
    write(store, {b"page:b": b"1"}, 3)
    store._db = Failing(store._db, f"IO error: {FULL}: While appending to file: 000015.sst")
    store.close()
    assert "closed without its newest part" in caplog.text
    assert "can't be written (No space left on device): free some space" in caplog.text


@pytest.mark.parametrize("call", ["get", "write"])
@pytest.mark.parametrize(
    ("said", "meant", "act"),
    [
        pytest.param("IO error: No space left on device: While", DiskUnusable, "free some space", id="full"),
        pytest.param("IO error: Too many open files: While", DiskUnusable, "ulimit -n", id="descriptors"),
        pytest.param("Corruption: block checksum mismatch", StoreDamaged, "checksum", id="damaged"),
    ],
)
def test_a_call_that_fails_says_whether_the_disk_or_what_is_on_it_is_to_blame(
    store: PartitionStore, call: str, said: str, meant: type[Exception], act: str
) -> None:
    sound = store._db
    store._db = Failing(sound, said)
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get(b"page:a"),
        "write": lambda: write(store, {b"page:a": b"1"}, 7),
    }
    with pytest.raises(meant, match=act):
        calls[call]()
    store._db = sound


@pytest.mark.parametrize("words", list(_NOT_THE_CONTENTS))
def test_a_store_that_does_not_open_for_the_disks_sake_is_kept_and_says_what_to_do(
    store: PartitionStore, path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    write(store, {b"page:a": b"1"}, 7)
    store.close()

    def refuse(*_: object) -> None:
        raise OSError(
            f"IO error: {words}: While open a file"
        )  # RocksDB's errors are Exception and no kind of it

    with monkeypatch.context() as patched:
        patched.setattr("rtexp.engine.store.rocksdict.Rdict", refuse)
        with pytest.raises(DiskUnusable, match=re.escape(_NOT_THE_CONTENTS[words])):
            PartitionStore(path)
    again = PartitionStore(path)
    assert again.head == head_at(7)
    again.close()


def test_two_stores_on_one_path_leave_the_first_as_it_is(store: PartitionStore, path: Path) -> None:
    write(store, {b"page:a": b"1"}, 7)
    with pytest.raises(DiskUnusable, match="stop whatever else has it open"):
        PartitionStore(path)
    assert list(store.pages()) == [Page(b"page:a", b"1")]


HANGS = """
import ctypes, sys
from pathlib import Path
import rocksdict
from rtexp.engine import opening
from rtexp.engine.store import PartitionStore
opening.OPEN_SECONDS = 0.5
rocksdict.Rdict = lambda *_: ctypes.PyDLL(None).sleep(120)  # with the interpreter lock, as RocksDB does
PartitionStore(Path(sys.argv[1]))
"""


def test_an_opening_that_never_ends_ends_the_process_and_the_next_start_replays(
    store: PartitionStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(store, {b"page:a": b"1"}, 7)
    store.close()
    ended = subprocess.run(
        [sys.executable, "-c", HANGS, str(path)], capture_output=True, timeout=100, check=False
    )
    assert (ended.returncode, b"Timeout" in ended.stderr) == (1, True)
    again = PartitionStore(path)
    assert (again.head, list(again.pages())) == (None, [])
    assert "couldn't be opened the last time, replaying" in caplog.text
    write(again, {b"page:a": b"2"}, 8)
    again.close()
    third = PartitionStore(path)
    assert third.head == head_at(8), "the mark is gone"
    third.close()
