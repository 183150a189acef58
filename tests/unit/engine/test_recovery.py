"""Bringing a local store up to its changelog's end, and deciding whether it can be built upon at all."""

# ruff: noqa: ARG002 - fakes keep the signatures of what they stand for

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.unit.engine.fakes import FakeProducer, config

from rtexp.engine import changelog
from rtexp.engine.api import Page
from rtexp.engine.recovery import recover
from rtexp.engine.sensors import TaskSensors
from rtexp.engine.store import LAYOUT, Head, PartitionStore
from rtexp.errors import FatalError, StateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rtexp.engine.api import Output

INCARNATION = (changelog.INCARNATION, b"born")


class Entry(NamedTuple):
    """A changelog record. Offsets without one are marks of transactions."""

    offset: int
    key: bytes
    value: bytes | None


class FakeLog:
    """A changelog partition, served to `AIOKafkaConsumer`'s place in fetches of a few records."""

    def __init__(self, entries: Iterable[tuple[bytes, bytes | None] | None], *, begin: int = 0) -> None:
        """None stands for a transaction's mark."""
        listed = list(entries)
        self.begin = begin
        self.end = begin + len(listed)
        self.entries = [Entry(begin + n, *entry) for n, entry in enumerate(listed) if entry is not None]
        self.per_fetch = 2
        self.stuck_at: int | None = None
        self.sought: list[int] = []
        self.options: dict[str, Any] = {}
        self.stopped = False
        self._position = 0

    def __call__(self, **options: Any) -> FakeLog:
        self.options = options
        return self

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.stopped = True

    def assign(self, tps: list[Any]) -> None:
        [self._tp] = tps

    def seek(self, _tp: object, offset: int) -> None:
        self.sought.append(offset)
        self._position = offset

    async def beginning_offsets(self, tps: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(tps, self.begin)

    async def end_offsets(self, tps: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(tps, self.end)

    async def position(self, _tp: object) -> int:
        return self._position

    async def getmany(self, tp: object, *, timeout_ms: int) -> dict[Any, list[Entry]]:
        if self._position == self.stuck_at:
            return {}
        got = [entry for entry in self.entries if entry.offset >= self._position][: self.per_fetch]
        later = [entry.offset for entry in self.entries if got and entry.offset > got[-1].offset]
        self._position = later[0] if later else self.end
        return {tp: got} if got else {}


class Births(FakeProducer):
    """Appends what is sent to the log."""

    def __init__(self, log: FakeLog) -> None:
        super().__init__("job-ledger-0", next_offset=0)
        self.log = log

    async def transact(self, outputs: Iterable[Output]) -> list[Any]:
        sent = list(outputs)
        self.log.entries += [Entry(self.log.end + n, o.key or b"", o.value) for n, o in enumerate(sent)]
        self.log.end += len(sent) + 1
        return await super().transact(sent)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PartitionStore]:
    opened = PartitionStore(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


async def replay(
    log: FakeLog,
    store: PartitionStore,
    patch: pytest.MonkeyPatch,
    *,
    sensors: TaskSensors | None = None,
    **settings: Any,
) -> Head:
    patch.setattr("rtexp.engine.recovery.AIOKafkaConsumer", log)
    try:
        return await recover(
            config(store._path, **settings), "table", 0,
            store=store, producer=Births(log), sensors=sensors or TaskSensors(),  # type: ignore[arg-type]
        )  # fmt: skip
    finally:
        assert log.stopped


def page(name: str, value: str | None) -> tuple[bytes, bytes | None]:
    return changelog.PAGE + name.encode(), None if value is None else value.encode()


def keep(store: PartitionStore, pages: dict[str, str], head: Head) -> None:
    list(store.write((Page(*page(*item)) for item in pages.items()), head))


def head_at(position: int, *, incarnation: str = "born", written_at: float | None = None) -> Head:
    return Head(
        LAYOUT, incarnation, position, b"S1", b"M1", time.time() if written_at is None else written_at
    )


SOUND = [
    INCARNATION, None,  # 0
    page("a", "1"), page("b", "1"), (changelog.CHECKPOINT, b"S1"), (changelog.MARKER, b"M1"), None,  # 2
    (changelog.MARKER, b"M2"), None,  # 7
    page("b", None), page("c", "1"), (changelog.CHECKPOINT, b"S3"), (changelog.MARKER, b"M3"), None,  # 9
    (changelog.MARKER, b"M4"), None,  # 14
]  # fmt: skip
"""Two checkpoints, and a marker after each."""

AFTER_ALL = {b"page:a": b"1", b"page:c": b"1"}


async def test_an_empty_store_takes_the_last_of_everything(
    store: PartitionStore, patch: pytest.MonkeyPatch
) -> None:
    log = FakeLog(SOUND)
    head = await replay(log, store, patch)
    assert (head.incarnation, head.checkpoint, head.marker) == ("born", b"S3", b"M4")
    assert dict(store.pages()) == AFTER_ALL
    assert store.head == head
    assert log.end - 1 <= head.position <= log.end


async def test_what_is_left_to_read_falls_to_nothing(
    store: PartitionStore, patch: pytest.MonkeyPatch
) -> None:
    log, sensors, left = FakeLog(SOUND), TaskSensors(), []
    fetch = log.getmany

    async def fetching(tp: object, *, timeout_ms: int) -> dict[Any, list[Entry]]:
        left.append(sensors.changelog_left)
        return await fetch(tp, timeout_ms=timeout_ms)

    patch.setattr(log, "getmany", fetching)
    await replay(log, store, patch, sensors=sensors)
    while_replaying = [number for number in left if number]
    assert while_replaying[0] == log.end
    assert while_replaying == sorted(set(while_replaying), reverse=True)
    assert len(while_replaying) > 3
    assert sensors.changelog_left == 0


async def test_only_committed_records_are_read_and_no_offset_is_ever_guessed(
    store: PartitionStore, patch: pytest.MonkeyPatch
) -> None:
    log = FakeLog(SOUND)
    await replay(log, store, patch)
    assert log.options["isolation_level"] == "read_committed"
    assert log.options["auto_offset_reset"] == "none"


async def test_a_restart_on_the_same_disk_reads_nothing_twice(
    store: PartitionStore, patch: pytest.MonkeyPatch
) -> None:
    keep(store, {"a": "1", "b": "1"}, head_at(6))
    log = FakeLog(SOUND)
    head = await replay(log, store, patch)
    assert log.sought == [0, 6], "the incarnation, then what is new"
    assert head.marker == b"M4"
    assert dict(store.pages()) == AFTER_ALL


async def test_a_store_at_the_end_already_is_left_as_it_is(
    store: PartitionStore, patch: pytest.MonkeyPatch
) -> None:
    before = head_at(len(SOUND))
    keep(store, {"kept": "1"}, before)
    assert await replay(FakeLog(SOUND), store, patch) == before
    assert dict(store.pages()) == {b"page:kept": b"1"}


async def test_pages_half_written_before_a_crash_come_out_right(
    store: PartitionStore, patch: pytest.MonkeyPatch
) -> None:
    """The crash came after page c of the second checkpoint, before the head."""
    keep(store, {"a": "1", "b": "1", "c": "1"}, head_at(6))
    await replay(FakeLog(SOUND), store, patch)
    assert dict(store.pages()) == AFTER_ALL


@pytest.mark.parametrize(
    ("head", "why"),
    [
        pytest.param(
            head_at(6, incarnation="another"), "belongs to a changelog that was deleted", id="incarnation"
        ),
        pytest.param(
            head_at(17), "position 17 is outside of the changelog's 0 to 16", id="beyond the changelog's end"
        ),
        pytest.param(
            head_at(6, written_at=time.time() - 3700),
            "older than the changelog keeps tombstones",
            id="too old",
        ),
    ],
)
async def test_a_store_that_can_not_be_built_upon_is_wiped(
    store: PartitionStore, patch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, head: Head, why: str
) -> None:
    caplog.set_level("INFO", "rtexp")
    keep(store, {"stale": "1"}, head)
    await replay(FakeLog(SOUND), store, patch, store_max_age=3600.0)
    assert dict(store.pages()) == AFTER_ALL
    assert why in caplog.text


async def test_a_store_just_young_enough_is_kept(store: PartitionStore, patch: pytest.MonkeyPatch) -> None:
    keep(store, {"a": "1"}, head_at(6, written_at=time.time() - 3500))
    log = FakeLog(SOUND)
    await replay(log, store, patch, store_max_age=3600.0)
    assert log.sought[-1] == 6


async def test_a_changelog_without_records_gets_its_incarnation_first(
    store: PartitionStore, patch: pytest.MonkeyPatch
) -> None:
    log = FakeLog([])
    head = await replay(log, store, patch)
    [birth] = log.entries
    assert birth.key == changelog.INCARNATION
    assert birth.value is not None
    assert head.incarnation == birth.value.decode()
    assert (head.checkpoint, head.marker) == (b"", b"")


async def test_a_changelog_whose_first_transaction_was_aborted_gets_its_incarnation_after_all(
    store: PartitionStore, patch: pytest.MonkeyPatch
) -> None:
    """Killed or fenced before the first commit: what was sent can't be read, but took its offsets."""
    log = FakeLog([None, None])
    head = await replay(log, store, patch)
    [birth] = log.entries
    assert (birth.offset, birth.key) == (2, changelog.INCARNATION)
    assert birth.value is not None
    assert head.incarnation == birth.value.decode()
    assert (await replay(log, store, patch)).incarnation == head.incarnation


async def test_two_changelogs_are_never_of_one_incarnation(
    store: PartitionStore, patch: pytest.MonkeyPatch
) -> None:
    first = await replay(FakeLog([]), store, patch)
    second = await replay(FakeLog([]), store, patch)
    assert first.incarnation != second.incarnation
    assert store.head == second


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(FakeLog([(b"k", b"v"), None]), id="someone else's topic"),
        pytest.param(
            FakeLog([(changelog.MARKER, b"M"), None], begin=40), id="its first records were deleted"
        ),
        pytest.param(FakeLog([], begin=40), id="all its records were deleted"),
        pytest.param(FakeLog([(changelog.INCARNATION, None), None]), id="an incarnation without value"),
    ],
)
async def test_a_topic_that_does_not_begin_with_its_incarnation_is_refused(
    store: PartitionStore, patch: pytest.MonkeyPatch, log: FakeLog
) -> None:
    keep(store, {"a": "1"}, head_at(41))
    with pytest.raises(
        StateError, match=r"table/0 doesn't begin with its incarnation.*cleanup.policy=compact"
    ):
        await replay(log, store, patch)
    assert dict(store.pages()) == {b"page:a": b"1"}, "left alone"


async def test_a_changelog_that_stops_yielding_is_fatal(
    store: PartitionStore, patch: pytest.MonkeyPatch
) -> None:
    patch.setattr("rtexp.engine.recovery.STALLED_SECONDS", 0.0)
    log = FakeLog(SOUND)
    log.stuck_at = 3
    with pytest.raises(FatalError, match="no progress at 3 of 16"):
        await replay(log, store, patch)
