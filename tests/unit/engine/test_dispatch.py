"""Which task gets which records, and what becomes of tasks when partitions come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

import pytest
from tests.unit.engine.fakes import LEFT, RIGHT, FakeThread, World, config, head, records

from rtexp.engine import changelog
from rtexp.engine.api import BatchAgent, Commit, TopicPartition
from rtexp.engine.dispatch import OPENING_AT_ONCE, Dispatcher
from rtexp.engine.sensors import Standing
from rtexp.engine.transport import End
from rtexp.errors import FatalError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path


def inputs(*partitions: int) -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for partition in partitions for topic in (LEFT, RIGHT)]


@pytest.fixture
def thread() -> FakeThread:
    return FakeThread()


@pytest.fixture
def dispatcher(world: World, tmp_path: Path) -> Dispatcher:
    made = Dispatcher(config(tmp_path))
    made.directory = tmp_path
    made.add_batch_agent(world.agent())
    return made


@pytest.fixture
def died(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reasons for which the process would have ended."""
    reasons: list[str] = []

    def die(reason: str, _exc: BaseException | None = None) -> NoReturn:
        reasons.append(reason)
        raise asyncio.CancelledError

    monkeypatch.setattr("rtexp.engine.dispatch.die", die)
    return reasons


async def until(condition: Callable[[], bool]) -> None:
    """Let background work go on until something holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0)


async def fetching(dispatcher: Dispatcher, *tps: TopicPartition) -> dict[TopicPartition, int]:
    """Seek, as the transport does, until these are wanted; return where to."""
    sought: dict[TopicPartition, int] = {}

    def wants_them() -> bool:
        sought.update(dispatcher.take_seeks())
        return set(tps) <= dispatcher.wanted()

    await until(wants_them)
    return sought


def phases(dispatcher: Dispatcher) -> dict[int, str]:
    return {status.partition: status.phase for status in dispatcher.status()}


# -- standing -----------------------------------------------------------------------------------------------


async def test_a_worker_has_started_once_partitions_were_shared_out_and_counts_those_that_are_live(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    assert dispatcher.standing() == Standing(has_started=False, is_assigned=False, partitions=0, live=0)
    await dispatcher.assigned(inputs(0, 1), thread)
    assert dispatcher.standing() == Standing(has_started=True, is_assigned=True, partitions=2, live=0)
    await until(lambda: phases(dispatcher) == {0: "live", 1: "live"})
    assert dispatcher.standing() == Standing(has_started=True, is_assigned=True, partitions=2, live=2)
    assert [task.partition for task in dispatcher.all_tasks()] == [0, 1]
    await dispatcher.revoked()
    assert dispatcher.standing() == Standing(has_started=True, is_assigned=False, partitions=0, live=0)
    await dispatcher.assigned([], thread)
    assert dispatcher.standing() == Standing(has_started=True, is_assigned=True, partitions=0, live=0)


# -- assignments --------------------------------------------------------------------------------------------


async def test_new_partitions_are_opened_and_sought_to_where_their_tasks_go_on(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    world.heads[1] = head({LEFT: 3, RIGHT: 2}, {LEFT: 5, RIGHT: 2})
    await dispatcher.assigned(inputs(0, 1), thread)
    assert await fetching(dispatcher, *inputs(0), TopicPartition(LEFT, 1)) == {
        TopicPartition(LEFT, 0): 0,
        TopicPartition(RIGHT, 0): 0,
        TopicPartition(LEFT, 1): 3,
        TopicPartition(RIGHT, 1): 2,
    }
    assert phases(dispatcher) == {0: "live", 1: "rewinding"}
    assert dispatcher.take_seeks() == {}, "once"
    assert TopicPartition(RIGHT, 1) not in dispatcher.wanted(), "it is at its marker already"


async def test_nothing_is_wanted_of_a_task_that_still_opens(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    world.producer().may_start.clear()
    await dispatcher.assigned(inputs(0), thread)
    await until(lambda: world.producer().started == 1)
    assert dispatcher.wanted() == set()
    world.producer().may_start.set()
    await fetching(dispatcher, *inputs(0))


async def test_a_task_that_stays_goes_on_with_its_state_and_producer(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, *inputs(0))
    dispatcher.dispatch({TopicPartition(LEFT, 0): records("a", "b")}, {})
    await dispatcher.revoked()
    assert dispatcher.wanted() == set()
    await dispatcher.assigned(inputs(0), thread)
    assert dispatcher.wanted() == set(), "not before the client has been sent back"
    sought = await fetching(dispatcher, *inputs(0))
    assert sought[TopicPartition(LEFT, 0)] == 0, "what waited was forgotten: from `applied` on"
    assert len(world.made) == world.producer().started == 1


async def test_a_task_that_went_is_closed(world: World, dispatcher: Dispatcher, thread: FakeThread) -> None:
    await dispatcher.assigned(inputs(0, 1), thread)
    await fetching(dispatcher, *inputs(0, 1))
    await dispatcher.revoked()
    await dispatcher.assigned(inputs(1), thread)
    assert phases(dispatcher) == {1: "live"}
    assert world.producer(0).stopped
    assert not world.producer(1).stopped
    assert not dispatcher.owns(LEFT, 0)
    assert dispatcher.owns(LEFT, 1)


async def test_a_partition_that_comes_back_later_is_opened_anew(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, *inputs(0))
    await dispatcher.revoked()
    await dispatcher.assigned([], thread)
    await dispatcher.revoked()
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, *inputs(0))
    assert world.recovered == [0, 0]


async def test_a_task_whose_partition_went_while_it_opened_is_closed_when_done(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    world.producer().may_start.clear()
    await dispatcher.assigned(inputs(0), thread)
    await until(lambda: world.producer().started == 1)
    await dispatcher.revoked()
    await dispatcher.assigned(inputs(1), thread)
    world.producer().may_start.set()
    await until(lambda: world.producer(0).stopped)
    await fetching(dispatcher, *inputs(1))
    assert phases(dispatcher) == {1: "live"}
    assert dispatcher.wanted() == set(inputs(1))


async def test_a_revocation_while_positions_are_checked_leaves_the_task_paused(
    dispatcher: Dispatcher, thread: FakeThread
) -> None:
    """What was begun for one assignment must not be finished in another."""
    thread.may_answer.clear()
    await dispatcher.assigned(inputs(0), thread)
    await thread.asked.wait()
    await dispatcher.revoked()
    thread.may_answer.set()
    await until(lambda: phases(dispatcher) == {0: "live"})
    for _ in range(20):
        await asyncio.sleep(0)
    assert dispatcher.wanted() == set()
    assert dispatcher.take_seeks() == {}
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, *inputs(0))


async def test_a_task_that_opened_between_two_assignments_waits_for_the_second(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    world.producer().may_start.clear()
    await dispatcher.assigned(inputs(0), thread)
    await until(lambda: world.producer().started == 1)
    await dispatcher.revoked()
    world.producer().may_start.set()
    await until(lambda: phases(dispatcher) == {0: "live"})
    for _ in range(20):
        await asyncio.sleep(0)
    assert dispatcher.take_seeks() == {}
    assert all(task.paused for task in dispatcher.tasks("ledger"))
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, *inputs(0))
    assert world.recovered == [0]


async def test_an_assignment_that_is_over_resumes_nothing(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    """The revocation comes while the first of two kept tasks is looked at: the second stays paused, too."""
    await dispatcher.assigned(inputs(0, 1), thread)
    await fetching(dispatcher, *inputs(0, 1))
    await dispatcher.revoked()
    thread.may_answer.clear()
    thread.asked.clear()
    taking_over = asyncio.create_task(dispatcher.assigned(inputs(0, 1), thread))
    await thread.asked.wait()
    await dispatcher.revoked()
    thread.may_answer.set()
    await taking_over
    assert [task.paused for task in dispatcher.tasks("ledger")] == [True, True]
    assert dispatcher.take_seeks() == {}


async def test_a_partition_that_went_before_its_turn_to_open_is_never_opened(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    """Opening it would fence the worker that has it now."""
    partitions = range(OPENING_AT_ONCE + 1)
    last = partitions[-1]
    for partition in partitions:
        world.producer(partition).may_start.clear()
    await dispatcher.assigned(inputs(*partitions), thread)
    await until(lambda: sum(producer.started for producer in world.producers.values()) == OPENING_AT_ONCE)
    await dispatcher.revoked()
    await dispatcher.assigned(inputs(*partitions[:-1]), thread)
    for producer in world.producers.values():
        producer.may_start.set()
    await fetching(dispatcher, *inputs(*partitions[:-1]))
    await until(lambda: last not in phases(dispatcher))
    assert world.producer(last).started == 0


async def test_nothing_is_owned_between_a_revocation_and_the_next_assignment(
    dispatcher: Dispatcher, thread: FakeThread
) -> None:
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, *inputs(0))
    await dispatcher.revoked()
    assert not dispatcher.owns(LEFT, 0)


async def test_a_revocation_waits_for_flushes_and_changes_the_generation(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, *inputs(0))
    dispatcher.dispatch({TopicPartition(LEFT, 0): records("a")}, {})
    world.producer().may_commit.clear()
    [task] = dispatcher.tasks("ledger")
    flush = asyncio.create_task(task.flush())
    await world.producer().committing.wait()
    before = dispatcher.generation
    revocation = asyncio.create_task(dispatcher.revoked())
    done, _ = await asyncio.wait([revocation], timeout=0.05)
    assert not done
    assert dispatcher.generation != before, "what is fetched meanwhile belongs to nobody"
    world.producer().may_commit.set()
    await asyncio.gather(flush, revocation)


@pytest.mark.parametrize(
    ("first", "end"),
    [
        pytest.param(6, 9, id="retention passed the checkpoint"),
        pytest.param(0, 4, id="the topic is shorter than what was read"),
    ],
)
async def test_a_position_outside_of_the_log_is_refused_with_advice(
    world: World, dispatcher: Dispatcher, thread: FakeThread, first: int, end: int
) -> None:
    world.heads[0] = head({LEFT: 5, RIGHT: 5}, {LEFT: 5, RIGHT: 5})
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, *inputs(0))
    await dispatcher.revoked()
    thread.first[TopicPartition(LEFT, 0)] = first
    thread.end[TopicPartition(LEFT, 0)] = end
    with pytest.raises(StateError, match=f"table/0 goes on at 5 of left/0, whose log holds {first} to {end}"):
        await dispatcher.assigned(inputs(0), thread)


async def test_a_log_that_ends_before_the_marker_is_refused_as_no_rewind_would_end(
    world: World, dispatcher: Dispatcher, thread: FakeThread, died: list[str]
) -> None:
    world.heads[0] = head({LEFT: 2, RIGHT: 0}, {LEFT: 5, RIGHT: 0})
    thread.end[TopicPartition(LEFT, 0)] = 4
    await dispatcher.assigned(inputs(0), thread)
    await until(lambda: bool(died))
    assert "goes on at 2 of left/0, whose log holds 0 to 4" in died[0]
    assert "counted up to 5" in died[0]


async def test_marks_of_transactions_behind_the_last_record_are_passed(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    #  left   a  b  (mark)            then retention removes all three
    left = TopicPartition(LEFT, 0)
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, *inputs(0))
    [task] = dispatcher.tasks("ledger")
    dispatcher.dispatch({left: records("a", "b")}, {left: End(3, 3, 0)})
    assert task.next_offset(LEFT) == 2, "not while a record waits: what is forgotten must be fetched again"
    await task.flush()
    dispatcher.dispatch({}, {left: End(3, 3, 0)})
    await task.flush()
    assert world.producer().transactions[-1][-1].value == changelog.encode_position("s1", {LEFT: 3, RIGHT: 0})
    await dispatcher.revoked()
    thread.first[left] = 3
    await dispatcher.assigned(inputs(0), thread)
    assert (await fetching(dispatcher, *inputs(0)))[left] == 3


async def test_a_rewind_comes_to_a_marker_behind_marks_of_transactions_and_not_beyond(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    left = TopicPartition(LEFT, 0)
    world.heads[0] = head({LEFT: 0, RIGHT: 0}, {LEFT: 3, RIGHT: 0})
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, left)
    [task] = dispatcher._tasks.values()
    dispatcher.dispatch({left: records("a", "b")}, {left: End(4, 4, 0)})
    await task.flush()
    assert phases(dispatcher) == {0: "rewinding"}
    dispatcher.dispatch({}, {left: End(4, 4, 0)})
    assert task.next_offset(LEFT) == 3
    await task.flush()
    assert phases(dispatcher) == {0: "live"}


async def test_a_position_from_before_a_seek_passes_nothing(
    dispatcher: Dispatcher, thread: FakeThread
) -> None:
    """The client begins at what the group has committed, until it is sent to where the task goes on."""
    left = TopicPartition(LEFT, 0)
    await dispatcher.assigned(inputs(0), thread)
    await until(lambda: bool(dispatcher.tasks("ledger")) and not dispatcher.tasks("ledger")[0].paused)
    dispatcher.dispatch({}, {left: End(7, 9, 0)})
    assert dispatcher.tasks("ledger")[0].next_offset(LEFT) == 0


async def test_a_position_from_before_a_task_is_resumed_passes_nothing(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    """It is open, and its inputs' bounds are asked for; other partitions of the worker are fetched meanwhile."""
    left = TopicPartition(LEFT, 0)
    world.heads[0] = head({LEFT: 2, RIGHT: 0}, {LEFT: 5, RIGHT: 0})
    thread.may_answer.clear()
    await dispatcher.assigned(inputs(0), thread)
    await thread.asked.wait()
    assert phases(dispatcher) == {0: "rewinding"}
    dispatcher.dispatch({}, {left: End(5, 5, 0)})
    thread.may_answer.set()
    assert (await fetching(dispatcher, left))[left] == 2
    dispatcher.dispatch({left: records("c", "d", "e", start=2)}, {left: End(5, 5, 0)})
    [task] = dispatcher._tasks.values()
    await task.flush()
    assert world.state().calls == [(LEFT, ["c", "d", "e"])]
    assert phases(dispatcher) == {0: "live"}


# -- records ------------------------------------------------------------------------------------------------


async def test_records_go_to_the_task_of_their_partition(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    await dispatcher.assigned(inputs(0, 1), thread)
    await fetching(dispatcher, *inputs(0, 1))
    dispatcher.dispatch(
        {TopicPartition(LEFT, 0): records("a"), TopicPartition(RIGHT, 1): records("x", "y")},
        {TopicPartition(LEFT, 0): End(1, 8, 0)},
    )
    for task in dispatcher.tasks("ledger"):
        await task.flush()
    assert world.state(0).calls == [(LEFT, ["a"])]
    assert world.state(1).calls == [(RIGHT, ["x", "y"])]
    assert dispatcher.take_seeks() == {}
    assert dispatcher.status()[0].inputs["left/0"].end == 8


async def test_records_that_were_not_taken_are_sought_again(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    world.heads[0] = head({LEFT: 0, RIGHT: 0}, {LEFT: 2, RIGHT: 0})
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, TopicPartition(LEFT, 0))
    dispatcher.dispatch({TopicPartition(LEFT, 0): records("a", "b", "c")}, {})
    assert dispatcher.take_seeks() == {TopicPartition(LEFT, 0): 2}


async def test_records_of_a_partition_that_nobody_has_are_dropped(
    dispatcher: Dispatcher, thread: FakeThread
) -> None:
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, *inputs(0))
    dispatcher.dispatch({TopicPartition(LEFT, 3): records("a")}, {TopicPartition(LEFT, 3): End(1, 1, 0)})
    assert dispatcher.take_seeks() == {}


async def test_a_topic_has_one_reader(world: World, dispatcher: Dispatcher) -> None:
    other = BatchAgent("other", (RIGHT,), "other-table", (), "s1", world.make_state)
    with pytest.raises(ValueError, match="right has two agents"):
        dispatcher.add_batch_agent(other)


# -- stopping -----------------------------------------------------------------------------------------------


async def test_a_stop_flushes_and_saves_every_task(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    await dispatcher.assigned(inputs(0, 1), thread)
    await fetching(dispatcher, *inputs(0, 1))
    for partition in (0, 1):
        dispatcher.dispatch({TopicPartition(LEFT, partition): records("a")}, {})
    await dispatcher.stop()
    for partition in (0, 1):
        last = world.producer(partition).transactions[-1]
        assert [o.key for o in last][-2:] == [changelog.CHECKPOINT, changelog.MARKER]
        assert world.producer(partition).stopped
    assert dispatcher.tasks("ledger") == []


async def test_background_work_that_fails_ends_the_process(
    world: World, dispatcher: Dispatcher, thread: FakeThread, died: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise FatalError("the broker said no")

    monkeypatch.setattr(world.producer(), "start", fail)
    await dispatcher.assigned(inputs(0), thread)
    await until(lambda: bool(died))
    assert died == ["the broker said no"]


async def test_a_rebalance_in_the_middle_of_a_stop_leaves_it_clean(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    """Workers of one job are stopped together: the first to leave must not cost the others their checkpoints."""
    await dispatcher.assigned(inputs(0, 1), thread)
    await fetching(dispatcher, *inputs(0, 1))
    for partition in (0, 1):
        dispatcher.dispatch({TopicPartition(LEFT, partition): records("a")}, {})
    world.producer(0).may_commit.clear()
    stop = asyncio.create_task(dispatcher.stop())
    await world.producer(0).committing.wait()
    revocation = asyncio.create_task(dispatcher.revoked())
    await asyncio.sleep(0)
    world.producer(0).may_commit.set()
    await asyncio.gather(stop, revocation)
    for partition in (0, 1):
        last = world.producer(partition).transactions[-1]
        assert changelog.CHECKPOINT in [output.key for output in last]


async def test_a_flush_that_fails_while_stopping_ends_the_process(
    world: World, dispatcher: Dispatcher, thread: FakeThread, died: list[str]
) -> None:
    """Its outputs are gone from the state: the marker of a later flush would say that they were sent."""
    await dispatcher.assigned(inputs(0), thread)
    await fetching(dispatcher, *inputs(0))
    [task] = dispatcher.tasks("ledger")
    producer = world.producer()
    producer.may_commit.clear()
    dispatcher.dispatch({TopicPartition(LEFT, 0): records("a")}, {})
    task._work.set()
    await producer.committing.wait()
    stop = asyncio.create_task(dispatcher.stop())
    await asyncio.sleep(0)
    producer.fenced = True
    producer.may_commit.set()
    await until(lambda: bool(died) or stop.done())
    assert died == ["a transaction failed (ProducerFenced)"]


async def test_what_still_opens_may_fail_while_stopping(
    world: World,
    dispatcher: Dispatcher,
    thread: FakeThread,
    died: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It has sent nothing, and is left to the end of the process."""
    may_fail = asyncio.Event()

    async def fail() -> None:
        await may_fail.wait()
        raise FatalError("the broker said no")

    caplog.set_level("INFO")
    world.producer().start = fail  # type: ignore[method-assign]
    await dispatcher.assigned(inputs(0), thread)
    await dispatcher.stop()
    may_fail.set()
    await until(lambda: "ended while stopping" in caplog.text)
    assert died == []


def test_work_that_is_left_when_the_loop_closes_has_not_failed(
    dispatcher: Dispatcher, died: list[str]
) -> None:
    class Never:
        def __await__(self) -> Generator[None]:
            yield

    async def wait() -> None:
        await Never()

    left = dispatcher._or_die(wait(), left_by_stop=False)
    left.send(None)
    left.close()
    assert died == []


async def test_committed_positions_are_those_of_live_tasks_only(
    world: World, dispatcher: Dispatcher, thread: FakeThread
) -> None:
    world.heads[1] = head({LEFT: 0, RIGHT: 0}, {LEFT: 2, RIGHT: 0})
    await dispatcher.assigned(inputs(0, 1), thread)
    await fetching(dispatcher, *inputs(0), TopicPartition(LEFT, 1))
    dispatcher.dispatch({TopicPartition(LEFT, 0): records("a")}, {})
    [task] = dispatcher.tasks("ledger")
    await task.flush()
    await dispatcher.commit_positions()
    assert thread.commits == [
        {TopicPartition(LEFT, 0): Commit(1, ""), TopicPartition(RIGHT, 0): Commit(0, "")}
    ]
    await dispatcher.revoked()
    await dispatcher.commit_positions()
    assert len(thread.commits) == 1, "a paused task may be someone else's"
