"""One partition's life: what is applied when, what a transaction holds, what a rewind takes."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.engine.fakes import LEFT, OUT, RIGHT, Ledger, Rec, World, config, head, records

from rtexp.engine import changelog
from rtexp.engine.api import Page
from rtexp.engine.store import PartitionStore
from rtexp.engine.task import PartitionTask, Phase
from rtexp.errors import FatalError, SemanticsChanged, StateError, StoreDamaged

if TYPE_CHECKING:
    from pathlib import Path

    from rtexp.engine.api import Output


async def open_task(
    world: World, directory: Path, *, semantics: str = "s1", **settings: Any
) -> PartitionTask:
    """A task whose inputs have been sought: it may be fed."""
    task = PartitionTask(world.agent(semantics), 0, config(directory, **settings), directory)
    await task.open()
    task.resume()
    return task


def position(**offsets: int) -> bytes:
    return changelog.encode_position("s1", offsets)


def keys(transaction: list[Output]) -> list[bytes | None]:
    return [output.key for output in transaction]


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.getMessage() == event]


# -- flushing -----------------------------------------------------------------------------------------------


async def test_one_transaction_holds_outputs_and_the_marker(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a", "b"))
    task.feed(RIGHT, records("x"))
    await task.flush()
    [[output, marker]] = world.producer().transactions
    assert (output.topic, output.value) == (OUT, b"a b x")
    assert (marker.topic, marker.partition, marker.key) == ("table", 0, changelog.MARKER)
    assert marker.value == position(left=2, right=1)


async def test_a_checkpoint_goes_between_outputs_and_marker_pages_first(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    await task.flush(checkpoint=True)
    [transaction] = world.producer().transactions
    assert keys(transaction) == [None, b"page:a", b"page:left", changelog.CHECKPOINT, changelog.MARKER]
    assert transaction[-2].value == transaction[-1].value == position(left=1, right=0)


async def test_a_checkpoint_holds_only_what_changed_since_the_last_one(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    await task.flush(checkpoint=True)
    task.feed(RIGHT, records("x"))
    await task.flush(checkpoint=True)
    assert keys(world.producer().transactions[1]) == [
        None, b"page:right", b"page:x", changelog.CHECKPOINT, changelog.MARKER,
    ]  # fmt: skip


async def test_flushes_and_checkpoints_have_a_line_each_with_what_they_did(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rtexp.engine.task")
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a", "b"))
    await task.flush()
    [flush] = lines(caplog, "flush")
    assert (flush.levelname, flush.__dict__["rows"], flush.__dict__["outputs"]) == ("DEBUG", 2, 1)
    assert flush.__dict__["positions"] == {LEFT: 2, RIGHT: 0}
    assert lines(caplog, "checkpoint") == []
    task.feed(LEFT, records("c", start=2))
    await task.flush(checkpoint=True)
    [checkpoint] = lines(caplog, "checkpoint")
    assert (checkpoint.levelname, checkpoint.__dict__["agent"]) == ("INFO", task.agent.name)
    assert (checkpoint.__dict__["partition"], checkpoint.__dict__["positions"][LEFT]) == (0, 3)
    assert checkpoint.__dict__["pages"] == task.sensors.pages > 0
    assert checkpoint.__dict__["bytes"] > 0


async def test_the_local_store_follows_the_committed_checkpoint(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    world.producer().may_commit.clear()
    flush = asyncio.create_task(task.flush(checkpoint=True))
    await world.producer().committing.wait()
    store = task._store
    assert list(store.pages()) == [], "a page that isn't committed must not be on disk"
    world.producer().may_commit.set()
    await flush
    assert dict(store.pages()) == {b"page:a": b"1", b"page:left": b"1"}
    assert store.head is not None
    # Output, two pages, checkpoint and marker stand at 1 to 5.
    assert store.head.position == 6
    assert store.head.checkpoint == store.head.marker == position(left=1, right=0)


async def test_the_journal_goes_out_with_every_flush_and_alone_makes_one(
    world: World, tmp_path: Path
) -> None:
    task = await open_task(world, tmp_path)
    world.made[0].noted = [Page(b"decision", b"1")]
    await task.flush()
    await task.flush()
    [transaction] = world.producer().transactions
    assert keys(transaction) == [b"page:decision", changelog.MARKER], "once, and without a checkpoint"


async def test_the_store_gets_the_journal_with_the_next_checkpoint(world: World, tmp_path: Path) -> None:
    """Its head passes the records that hold the journal: what isn't in the store then is never read again."""
    task = await open_task(world, tmp_path)
    world.made[0].noted = [Page(b"decision", b"1"), Page(b"revoked", b"1")]
    await task.flush()
    world.made[0].noted = [Page(b"revoked", None)]
    task.feed(LEFT, records("a"))
    await task.flush(checkpoint=True)
    await task.close()
    store = PartitionStore(tmp_path / "ledger" / "0")
    assert dict(store.pages()) == {b"page:a": b"1", b"page:decision": b"1", b"page:left": b"1"}


async def test_a_clean_stop_takes_the_journal_along(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    world.made[0].noted = [Page(b"decision", b"1")]
    await task.close(clean=True)
    assert b"page:decision" in keys(world.producer().transactions[0])


async def test_a_state_reads_single_pages_of_the_last_checkpoint_back(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    read = world.state().read
    task.feed(LEFT, records("a"))
    await task.flush()
    assert read(b"a") is None, "no checkpoint has saved it yet"
    await task.flush(checkpoint=True)
    task.feed(LEFT, records("a", "b", start=1))
    await task.flush()
    assert read(b"a") == b"1", "not what it has become since"
    assert read(b"b") is None


async def test_a_checkpoint_is_taken_when_its_time_has_come(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path, checkpoint_interval=0.0)
    task.feed(LEFT, records("a"))
    await task.flush()  # nothing was unsaved before it
    await task.flush()
    assert [changelog.CHECKPOINT in keys(t) for t in world.producer().transactions] == [False, True]
    await task.flush()
    assert len(world.producer().transactions) == 2, "all is saved: nothing more to write"


async def test_nothing_new_commits_nothing(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    assert await task.flush() is False
    assert world.producer().transactions == []


async def test_progress_without_outputs_is_committed_all_the_same(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "collect", lambda _: [])
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    await task.flush()
    assert [keys(t) for t in world.producer().transactions] == [[changelog.MARKER]]


async def test_a_failed_transaction_is_fatal_and_marks_nothing(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    world.producer().fenced = True
    with pytest.raises(FatalError, match="ProducerFenced"):
        await task.flush()
    async with task.between_flushes() as committed:
        assert committed is not None
        assert committed[1] == {LEFT: 0, RIGHT: 0}


async def test_inputs_are_applied_in_declared_order_whatever_came_first(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(RIGHT, records("x", "y"))
    task.feed(LEFT, records("a"))
    await task.flush()
    assert world.state().calls == [(LEFT, ["a"]), (RIGHT, ["x", "y"])]


async def test_a_record_that_is_not_due_holds_back_all_behind_it(world: World, tmp_path: Path) -> None:
    #  left    a               b
    #  right   x  y@2  z       |
    #             ^ needs two of left: y, and z behind it, wait for b
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    task.feed(RIGHT, records("x", "y@2", "z"))
    await task.flush()
    state = world.state()
    assert state.calls == [(LEFT, ["a"]), (RIGHT, ["x"])]
    assert state.asked == ["a", "x", "y"], "z must not be asked while y waits"
    task.feed(LEFT, records("b", start=1))
    await task.flush()
    assert state.calls[2:] == [(LEFT, ["b"]), (RIGHT, ["y", "z"])]
    assert [t[-1].value for t in world.producer().transactions] == [
        position(left=1, right=1),
        position(left=2, right=3),
    ]


async def test_a_flush_takes_so_many_rows_and_says_that_there_are_more(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path, flush_rows=4)
    task.feed(LEFT, records(*"abcdef"))
    assert await task.flush() is True
    first = len(world.state().calls[0][1])
    while await task.flush():
        pass
    assert 1 <= first <= 4
    assert [word for _, words in world.state().calls for word in words] == list("abcdef")


async def test_enough_rows_are_flushed_without_waiting_for_the_interval(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path, flush_rows=2)
    running = asyncio.create_task(task.run())
    task.feed(LEFT, records("a", "b"))
    async with asyncio.timeout(10):
        await world.producer().committing.wait()
        await task.close()
        await running
    assert world.state().counts[LEFT] >= 1


# -- feeding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "fits"),
    [
        pytest.param({"waiting_rows": 2}, 1, id="rows"),
        pytest.param({"waiting_bytes": 6}, 1, id="bytes"),
    ],
)
async def test_too_much_waiting_stops_the_fetching_until_it_has_been_applied(
    world: World, tmp_path: Path, limit: dict[str, Any], fits: int
) -> None:
    task = await open_task(world, tmp_path, **limit)
    task.feed(LEFT, records(*["abc"] * fits))
    assert task.wants(LEFT)
    task.feed(LEFT, records("def", start=fits))
    assert not task.wants(LEFT)
    assert task.wants(RIGHT), "the other input may be what the waiting ones wait for"
    assert task.feed(LEFT, records("ghi", start=fits + 1)), "refused: it has to be fetched again"
    assert task.next_offset(LEFT) == fits + 1
    await task.flush()
    assert task.wants(LEFT)


async def test_what_was_taken_already_is_skipped(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a", "b"))
    task.feed(LEFT, records("a", "b", "c"))
    await task.flush()
    assert world.state().calls == [(LEFT, ["a", "b", "c"])]


async def test_offsets_may_have_gaps(world: World, tmp_path: Path) -> None:
    """Marks of transactions take offsets that no record ever has."""
    task = await open_task(world, tmp_path)
    task.feed(LEFT, [*records("a"), *records("b", start=7)])
    await task.flush()
    assert world.producer().transactions[0][-1].value == position(left=8, right=0)


async def test_an_empty_record_says_where_it_stands(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    with pytest.raises(StateError, match="left/0 holds an empty record at 3"):
        task.feed(LEFT, [Rec(3, None)])


async def test_a_task_that_is_not_open_takes_nothing(world: World, tmp_path: Path) -> None:
    task = PartitionTask(world.agent(), 0, config(tmp_path), tmp_path)
    task.resume()
    assert not task.wants(LEFT)
    assert task.feed(LEFT, records("a"))
    assert not await task.flush()
    assert task.status().phase == "opening"


async def test_an_open_task_takes_nothing_before_its_inputs_were_sought(world: World, tmp_path: Path) -> None:
    task = PartitionTask(world.agent(), 0, config(tmp_path), tmp_path)
    await task.open()
    assert not task.wants(LEFT)
    assert task.feed(LEFT, records("a"))
    task.resume()
    assert task.wants(LEFT)
    await task.flush()
    assert world.producer().transactions == []


async def test_records_held_for_half_of_their_retention_are_warned_of_once_in_a_while(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written_ms = int((time.time() - 4000) * 1000)
    task = await open_task(world, tmp_path, held_too_long=5000.0)
    task.feed(RIGHT, [Rec(0, b"x@9", written_ms)])
    await task.flush()
    assert caplog.records == []
    assert task.status().details["oldest_held_ms"] == written_ms
    task = await open_task(World(), tmp_path / "other", held_too_long=3000.0)
    task.feed(RIGHT, [Rec(0, b"x", written_ms), Rec(1, b"y@9", written_ms)])
    await task.flush()
    await task.flush()
    [warning] = caplog.records
    assert "right/0 has waited at offset 1 for 0.0 days" in warning.getMessage()


# -- rewinding ----------------------------------------------------------------------------------------------


@pytest.fixture
def behind(world: World) -> World:
    """S is left 2, right 0; M is left 5, right 1."""
    world.heads[0] = head({LEFT: 2, RIGHT: 0}, {LEFT: 5, RIGHT: 1})
    world.pages[0] = [Page(b"page:left", b"2")]
    return world


async def test_rewinding_starts_at_the_checkpoint_with_its_pages(behind: World, tmp_path: Path) -> None:
    task = await open_task(behind, tmp_path)
    assert task.phase is Phase.REWINDING
    assert (task.next_offset(LEFT), task.next_offset(RIGHT)) == (2, 0)
    assert behind.state().counts == {LEFT: 2}
    assert task.status().details["rewind_left"] == 4


async def test_rewinding_takes_nothing_at_or_above_the_marker_and_seeks_to_it(
    behind: World, tmp_path: Path
) -> None:
    #  left   2 3 4 | 5 6      the marker stands before 5
    task = await open_task(behind, tmp_path)
    assert task.feed(LEFT, records(*"cdefg", start=2)), "5 and 6 have to be fetched again"
    assert task.next_offset(LEFT) == 5
    assert not task.wants(LEFT)
    await task.flush()
    assert behind.state().calls == [(LEFT, ["c", "d", "e"])]
    assert task.phase is Phase.REWINDING, "right isn't there yet"


async def test_rewound_outputs_are_thrown_away_and_later_ones_are_not(behind: World, tmp_path: Path) -> None:
    task = await open_task(behind, tmp_path)
    task.feed(LEFT, records(*"cdefg", start=2))
    task.feed(RIGHT, records("x", "y"))
    await task.flush()
    assert behind.producer().transactions == []
    assert task.phase is Phase.LIVE
    assert task.sensors.rewound_records == 4
    assert task.next_offset(RIGHT) == 1
    assert not task.feed(LEFT, records(*"fg", start=5))
    assert not task.feed(RIGHT, records("y", start=1))
    await task.flush()
    [[output, marker]] = behind.producer().transactions
    assert output.value == b"f g y"
    assert marker.value == position(left=7, right=2)


async def test_a_position_of_the_client_passes_nothing_before_the_client_was_sent_to_where_the_task_goes_on(
    behind: World, tmp_path: Path
) -> None:
    """Between opening and resuming: the client stands at what the group has committed, beyond the checkpoint."""
    task = await open_task(behind, tmp_path)
    await task.pause()
    task.saw_end(LEFT, 9, position=5)
    assert task.next_offset(LEFT) == 2, "what lies between the checkpoint and the marker must be run again"


async def test_a_marker_behind_marks_of_transactions_is_reached_by_a_record_beyond_it(
    behind: World, tmp_path: Path
) -> None:
    #  left   c (mark) (mark) | f      the checkpoint stands before 2, the marker before 5
    task = await open_task(behind, tmp_path)
    task.feed(RIGHT, records("x"))
    assert task.feed(LEFT, [*records("c", start=2), *records("f", start=5)])
    assert task.next_offset(LEFT) == 5
    await task.flush()
    assert behind.state().calls[0] == (LEFT, ["c"])
    assert task.phase is Phase.LIVE


async def test_a_marker_with_nothing_but_marks_before_it_is_reached_too(
    behind: World, tmp_path: Path
) -> None:
    #  left   three marks, then f: the checkpoint stands before 2, the marker before 5
    task = await open_task(behind, tmp_path)
    task.feed(RIGHT, records("x"))
    assert task.feed(LEFT, records("f", start=5))
    assert task.next_offset(LEFT) == 5
    await task.flush()
    assert task.phase is Phase.LIVE
    assert not task.feed(LEFT, records("f", start=5))
    await task.flush()
    assert behind.producer().transactions[-1][-1].value == position(left=6, right=1)


async def test_records_that_end_right_at_the_marker_need_no_seek(behind: World, tmp_path: Path) -> None:
    task = await open_task(behind, tmp_path)
    assert not task.feed(LEFT, records(*"cde", start=2))
    assert not task.wants(LEFT)


async def test_a_marker_at_the_checkpoint_needs_no_rewinding(world: World, tmp_path: Path) -> None:
    world.heads[0] = head({LEFT: 5, RIGHT: 1}, {LEFT: 5, RIGHT: 1})
    task = await open_task(world, tmp_path)
    assert task.phase is Phase.LIVE
    assert task.next_offset(LEFT) == 5


async def test_what_was_rewound_is_saved_at_a_clean_stop(behind: World, tmp_path: Path) -> None:
    """Otherwise the next start would rewind it again, under settings that may have changed."""
    task = await open_task(behind, tmp_path)
    task.feed(LEFT, records(*"cde", start=2))
    task.feed(RIGHT, records("x"))
    await task.flush()
    await task.close(clean=True)
    [transaction] = behind.producer().transactions
    assert keys(transaction)[-2:] == [changelog.CHECKPOINT, changelog.MARKER]
    assert transaction[-1].value == position(left=5, right=1)


# -- semantics ----------------------------------------------------------------------------------------------


async def test_rows_counted_under_other_settings_are_not_rewound(behind: World, tmp_path: Path) -> None:
    with pytest.raises(SemanticsChanged, match=r"s1.*s2.*stop them cleanly"):
        await open_task(behind, tmp_path, semantics="s2")


async def test_settings_may_change_when_nothing_is_to_be_rewound(world: World, tmp_path: Path) -> None:
    world.heads[0] = head({LEFT: 5, RIGHT: 1}, {LEFT: 5, RIGHT: 1})
    task = await open_task(world, tmp_path, semantics="s2")
    task.feed(LEFT, records("f", start=5))
    await task.flush()
    marker = world.producer().transactions[0][-1].value
    assert changelog.decode_position("table", marker or b"").semantics == "s2"


# -- damaged pages ------------------------------------------------------------------------------------------


async def test_pages_that_do_not_verify_are_replayed_once_from_scratch(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.pages[0] = [Page(b"page:left", b"damaged")]
    wiped: list[bool] = []

    def wipe(store: PartitionStore) -> None:
        wiped.append(True)
        world.pages[0] = [Page(b"page:left", b"2")]  # what the changelog holds is sound
        wipe_really(store)

    wipe_really = PartitionStore.wipe
    monkeypatch.setattr(PartitionStore, "wipe", wipe)
    await open_task(world, tmp_path)
    assert wiped == [True]
    assert world.recovered == [0, 0]
    assert world.state().counts == {LEFT: 2}
    assert world.state().read(b"left") == b"2"
    assert len(world.made) == 2, "a state that took half of the damaged pages isn't used"
    assert "doesn't verify, replaying: a page doesn't verify" in caplog.text


async def test_a_store_that_shows_itself_damaged_while_it_is_filled_is_replayed_from_scratch(
    behind: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compaction may come upon a damaged block before anybody reads it: then writing fails, at every start."""
    wiped: list[bool] = []
    write, wipe = PartitionStore.write, PartitionStore.wipe

    def refuse(store: PartitionStore, *given: Any) -> Any:
        if not wiped:
            raise StoreDamaged("can't be written: Corruption")
        return write(store, *given)

    def note(store: PartitionStore) -> None:
        wiped.append(True)
        wipe(store)

    monkeypatch.setattr(PartitionStore, "write", refuse)
    monkeypatch.setattr(PartitionStore, "wipe", note)
    await open_task(behind, tmp_path)
    assert wiped == [True]
    assert behind.state().counts == {LEFT: 2}


async def test_pages_damaged_in_the_changelog_itself_end_the_worker(world: World, tmp_path: Path) -> None:
    world.pages[0] = [Page(b"page:left", b"damaged")]
    with pytest.raises(StateError, match="a page doesn't verify"):
        await open_task(world, tmp_path)
    assert world.recovered == [0, 0]


# -- losing and keeping the partition -----------------------------------------------------------------------


async def test_a_revocation_waits_for_the_flush_in_progress(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    world.producer().may_commit.clear()
    flush = asyncio.create_task(task.flush())
    await world.producer().committing.wait()
    pause = asyncio.create_task(task.pause())
    done, _ = await asyncio.wait([pause], timeout=0.05)
    assert not done, "the commit may still take place"
    world.producer().may_commit.set()
    await asyncio.gather(flush, pause)
    assert world.producer().transactions[0][-1].value == position(left=1, right=0)


async def test_a_paused_task_forgets_what_waits_and_goes_on_at_what_it_applied(
    world: World, tmp_path: Path
) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    task.feed(RIGHT, records("x", "y@9"))
    await task.flush()
    task.feed(LEFT, records("b", "c", start=1))
    await task.pause()
    assert not task.wants(LEFT)
    assert task.feed(LEFT, records("d", start=3))
    await task.flush()
    assert len(world.producer().transactions) == 1
    assert (task.next_offset(LEFT), task.next_offset(RIGHT)) == (1, 1)
    task.resume()
    task.feed(LEFT, records("b", start=1))
    await task.flush()
    assert world.state().calls == [(LEFT, ["a"]), (RIGHT, ["x"]), (LEFT, ["b"])]


async def test_a_pause_in_mid_rewind_goes_on_where_it_was(behind: World, tmp_path: Path) -> None:
    task = await open_task(behind, tmp_path)
    task.feed(LEFT, records("c", start=2))
    await task.flush()
    task.feed(LEFT, records("d", start=3))
    await task.pause()
    task.resume()
    assert task.next_offset(LEFT) == 3
    assert task.feed(LEFT, records("d", "e", "f", start=3))
    assert task.next_offset(LEFT) == 5


async def test_a_closed_task_has_let_go_of_everything(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    await task.close()
    assert task.phase is Phase.CLOSED
    assert world.producer().transactions == [], "only a clean stop flushes"
    assert world.producer().stopped
    assert task.feed(LEFT, records("b", start=1))
    assert task.status().phase == "closed"
    again = PartitionStore(tmp_path / "ledger" / "0")  # one process may open it at a time
    assert again.head is not None
    again.close()


async def test_a_closing_task_lets_go_of_its_store_before_it_waits_for_anything(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partition may come back, and be opened anew, while the producer takes its time."""
    task = await open_task(world, tmp_path)
    farewell = asyncio.Event()
    monkeypatch.setattr(world.producer(), "stop", farewell.wait)
    closing = asyncio.create_task(task.close())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    again = PartitionStore(tmp_path / "ledger" / "0")
    again.close()
    farewell.set()
    await closing


async def test_nothing_is_applied_behind_the_checkpoint_of_a_clean_stop(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    await task.flush()
    producer = world.producer()
    producer.may_commit.clear()
    producer.committing.clear()
    closing = asyncio.create_task(task.close(clean=True))
    await producer.committing.wait()
    task.feed(LEFT, records("b", start=1))
    waiting = asyncio.create_task(task.flush())
    await asyncio.sleep(0)
    producer.may_commit.set()
    await asyncio.gather(closing, waiting)
    assert [keys(transaction)[-2:] for transaction in producer.transactions[1:]] == [
        [changelog.CHECKPOINT, changelog.MARKER]
    ]


async def test_a_clean_stop_flushes_and_takes_a_checkpoint(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    await task.close(clean=True)
    last = world.producer().transactions[-1]
    assert keys(last)[-2:] == [changelog.CHECKPOINT, changelog.MARKER]
    assert last[-1].value == last[-2].value == position(left=1, right=0)
    assert [o.value for t in world.producer().transactions for o in t if o.topic == OUT] == [b"a"]


@pytest.mark.parametrize("fenced", [False, True])
async def test_a_clean_stop_between_two_assignments_takes_a_checkpoint_unless_somebody_was_quicker(
    world: World, tmp_path: Path, *, fenced: bool
) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    await task.flush()
    task.feed(LEFT, records("b", start=1))
    await task.pause()
    world.producer().fenced = fenced
    await task.close(clean=True)
    later = world.producer().transactions[1:]
    if fenced:
        assert later == []
    else:
        assert [keys(t)[-2:] for t in later] == [[changelog.CHECKPOINT, changelog.MARKER]]
        assert later[0][-1].value == position(left=1, right=0)
        assert OUT not in {output.topic for output in later[0]}
    assert task.phase is Phase.CLOSED


async def test_a_clean_stop_with_nothing_unsaved_writes_nothing(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    await task.flush(checkpoint=True)
    await task.close(clean=True)
    assert len(world.producer().transactions) == 1


async def test_whoever_was_fenced_before_its_stop_leaves_everything_to_the_new_owner(
    world: World, tmp_path: Path
) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    world.producer().fenced = True
    await task.close(clean=True)
    assert task.phase is Phase.CLOSED
    assert world.producer().transactions == []
    assert world.producer().stopped


async def test_a_last_flush_that_fails_otherwise_is_fatal(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_outputs: object) -> None:
        raise FatalError("a transaction failed (TimeoutError)") from TimeoutError()

    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    monkeypatch.setattr(world.producer(), "transact", fail)
    with pytest.raises(FatalError, match="TimeoutError"):
        await task.close(clean=True)


# -- looking ------------------------------------------------------------------------------------------------


async def test_between_flushes_gives_the_committed_state_and_its_positions(
    world: World, tmp_path: Path
) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    await task.flush()
    task.feed(LEFT, records("b", start=1))
    async with task.between_flushes() as committed:
        assert committed == (world.state(), {LEFT: 1, RIGHT: 0})
        flush = asyncio.create_task(task.flush())
        done, _ = await asyncio.wait([flush], timeout=0.05)
        assert not done, "the state must stand still inside"
    await flush
    assert world.state().counts[LEFT] == 2


async def test_between_flushes_gives_nothing_while_rewinding(behind: World, tmp_path: Path) -> None:
    task = await open_task(behind, tmp_path)
    async with task.between_flushes() as committed:
        assert committed is None


async def test_status_shows_positions_ends_and_held_rows(world: World, tmp_path: Path) -> None:
    task = await open_task(world, tmp_path)
    task.feed(LEFT, records("a"))
    task.feed(RIGHT, records("x@9"))
    await task.flush()
    task.saw_end(LEFT, 42)
    status = task.status()
    assert (status.ready, status.phase) == (True, "live")
    left, right = status.inputs["left/0"], status.inputs["right/0"]
    assert (left.position, left.end, left.held_rows, left.watermark_ms) == (1, 42, 0, 7)
    assert (right.position, right.held_rows) == (0, 1)


async def test_status_shows_how_much_of_each_input_has_been_run_again(behind: World, tmp_path: Path) -> None:
    def rewound(task: PartitionTask) -> dict[str, tuple[int, int]]:
        return {name: (i.rewind_done, i.rewind_total) for name, i in task.status().inputs.items()}

    task = await open_task(behind, tmp_path)
    assert rewound(task) == {f"{LEFT}/0": (0, 3), f"{RIGHT}/0": (0, 1)}
    task.feed(LEFT, records("c", "d", start=2))
    await task.flush()
    assert rewound(task) == {f"{LEFT}/0": (2, 3), f"{RIGHT}/0": (0, 1)}
    task.feed(LEFT, records("e", start=4))
    task.feed(RIGHT, records("x@0"))
    await task.flush()
    assert task.phase is Phase.LIVE
    task.feed(LEFT, records("f", "g", start=5))
    await task.flush()
    assert rewound(task) == {f"{LEFT}/0": (3, 3), f"{RIGHT}/0": (1, 1)}, (
        "it ends with what it was to run again"
    )
