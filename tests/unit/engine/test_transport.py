"""Between the client and the dispatcher: what is sought, what is fetched, and what of it may be handed on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import AsyncMock, MagicMock

import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnsupportedCodecError,
)
from aiokafka.structs import TopicPartition as KafkaTopicPartition
from tests.unit.engine.fakes import FakeThread

from rtexp.engine.api import TopicPartition
from rtexp.engine.transport import BatchConsumer, BatchConsumerThread, End, Fetched
from rtexp.errors import StateError, TooMuchBadInput

if TYPE_CHECKING:
    from collections.abc import Callable

A, B = TopicPartition("raw", 0), TopicPartition("raw", 1)
NOTHING = Fetched({}, {})


class Listener:
    """For the dispatcher."""

    def __init__(self) -> None:
        self.generation = 0
        self.seeks: dict[TopicPartition, int] = {}
        self.active = {A}
        self.got: list[Fetched] = []
        self.error: Exception | None = None
        self.refusal: Exception | None = None
        self.taken: list[set[TopicPartition]] = []
        self.taking = asyncio.Event()
        self.may_take = asyncio.Event()
        self.may_take.set()

    def take_seeks(self) -> dict[TopicPartition, int]:
        seeks, self.seeks = self.seeks, {}
        return seeks

    def wanted(self) -> set[TopicPartition]:
        return self.active - set(self.seeks)

    def dispatch(self, records: Any, ends: Any) -> None:
        if self.error is not None:
            raise self.error
        self.got.append(Fetched(records, ends))

    async def assigned(self, assigned: set[TopicPartition], _thread: object) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.taking.set()
        await self.may_take.wait()
        self.taken.append(assigned)


class Consumer(BatchConsumer):
    """Without Faust beneath it."""

    flow_active = True
    should_stop = False
    dispatcher = Listener()  # type: ignore[assignment]
    thread = FakeThread()

    def __init__(self, answer: Callable[[set[Any]], Any]) -> None:
        self.answer = answer
        self.dispatcher = Listener()
        self.thread = FakeThread()
        self.asked: list[set[Any]] = []
        self.idled = 0

    async def _getmany(self, active: set[Any], _timeout: float) -> Any:
        self.asked.append(active)
        return self.answer(active)

    async def sleep(self, _seconds: float) -> None:
        self.idled += 1

    def assignment(self) -> set[KafkaTopicPartition]:
        return {KafkaTopicPartition("raw", 3)}

    async def fetch(self) -> None:
        assert [item async for item in self.getmany(1.0)] == []


class Died(BaseException):
    """What `die` would have said."""


@pytest.fixture(autouse=True)
def die(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_it(reason: str, _exc: BaseException | None = None) -> NoReturn:
        raise Died(reason)

    monkeypatch.setattr("rtexp.engine.transport.die", raise_it)


def failing(error: Exception) -> Callable[[set[Any]], Any]:
    def answer(_active: set[Any]) -> NoReturn:
        raise error

    return answer


async def test_what_is_fetched_is_handed_on_whole() -> None:
    fetched = Fetched({A: ["r0", "r1"]}, {A: End(2, 2, 0)})
    consumer = Consumer(lambda _: fetched)
    await consumer.fetch()
    assert consumer.asked == [{KafkaTopicPartition("raw", 0)}]
    assert consumer.dispatcher.got == [fetched]


async def test_seeks_come_before_the_fetch() -> None:
    consumer = Consumer(lambda _: NOTHING)
    consumer.dispatcher.seeks = {A: 5}
    consumer.thread.on_seek = lambda: consumer.asked.append(set())
    await consumer.fetch()
    assert consumer.thread.seeks == [{A: 5}]
    assert consumer.asked == [set(), {KafkaTopicPartition("raw", 0)}]


async def test_a_partition_that_is_resumed_during_a_seek_is_not_fetched_unsought() -> None:
    """It would be read from wherever the client believes it to be: records would be missing, and nobody knew."""

    def resume_another() -> None:
        consumer.dispatcher.active = {A, B}
        consumer.dispatcher.seeks = {B: 7}
        consumer.thread.on_seek = lambda: None

    consumer = Consumer(lambda _: NOTHING)
    consumer.dispatcher.seeks = {A: 5}
    consumer.thread.on_seek = resume_another
    await consumer.fetch()
    await consumer.fetch()
    for asked, sought in zip(consumer.asked, [{A}, {A, B}], strict=True):
        assert {TopicPartition(*tp) for tp in asked} == sought
    assert consumer.thread.seeks == [{A: 5}, {B: 7}]


async def test_nothing_is_fetched_when_nothing_is_wanted() -> None:
    consumer = Consumer(lambda _: NOTHING)
    consumer.dispatcher.active = set()
    await consumer.fetch()
    assert consumer.asked == []
    assert consumer.idled == 1, "or the loop would spin"


async def test_a_worker_with_nothing_to_fetch_stays_in_the_group() -> None:
    """The client leaves after five minutes without a fetch, and doesn't come back until there is one."""
    consumer = Consumer(lambda _: NOTHING)
    consumer.dispatcher.active = set()
    await consumer.fetch()
    assert consumer.thread.stays == 1


async def test_what_was_fetched_across_a_revocation_belongs_to_nobody() -> None:
    def revoke(_active: set[Any]) -> Fetched:
        consumer.dispatcher.generation += 1
        return Fetched({A: ["r0"]}, {})

    consumer = Consumer(revoke)
    await consumer.fetch()
    assert consumer.dispatcher.got == []


async def test_an_offset_that_is_gone_ends_the_worker_and_is_named() -> None:
    consumer = Consumer(failing(OffsetOutOfRangeError({KafkaTopicPartition("raw", 0): 17})))
    with pytest.raises(Died, match=r"raw/0 at 17.*retention is too short"):
        await consumer.fetch()


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(NoOffsetForPartitionError(KafkaTopicPartition("raw", 0)), id="it has no position"),
        pytest.param(OffsetOutOfRangeError({KafkaTopicPartition("raw", 0): 17}), id="it has an old one"),
    ],
)
async def test_a_partition_of_the_next_assignment_that_nobody_sought_is_no_error(error: KafkaError) -> None:
    def revoke(_active: set[Any]) -> NoReturn:
        consumer.dispatcher.generation += 1
        raise error

    consumer = Consumer(revoke)
    await consumer.fetch()
    assert consumer.dispatcher.got == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(NoOffsetForPartitionError(A), "fetching failed", id="an unsought partition of this one"),
        pytest.param(KafkaError("no"), "fetching failed", id="a client error"),
        pytest.param(
            UnsupportedCodecError("Libraries for lz4 compression codec not found"),
            r"can't be unpacked \(.*Libraries for lz4 .*\): install cramjam",
            id="a codec that isn't there",
        ),
        pytest.param(ValueError("no"), "handling fetched records failed", id="a bug"),
    ],
)
async def test_whatever_goes_wrong_in_fetching_ends_the_worker(error: Exception, said: str) -> None:
    with pytest.raises(Died, match=said):
        await Consumer(failing(error)).fetch()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GroupAuthorizationFailedError("rtexp-ingest"), "let this user read .*rtexp-ingest.*: grant it READ"),
        (TopicAuthorizationFailedError({"actions"}), "let this user read .*actions.*: grant it READ"),
        (KafkaError("no"), "the consumer group can't be joined"),
    ],
    ids=["the group is refused", "a topic is refused", "anything else"],
)
async def test_whatever_keeps_a_worker_from_its_group_ends_it(error: KafkaError, said: str) -> None:
    consumer = Consumer(lambda _: NOTHING)
    consumer.thread.group_error = error
    with pytest.raises(Died, match=said):
        await consumer._check_group()


async def test_an_error_of_the_client_while_stopping_is_expected() -> None:
    def stop(_active: set[Any]) -> NoReturn:
        consumer.should_stop = True
        raise KafkaError("closed")

    consumer = Consumer(stop)
    await consumer.fetch()
    assert len(consumer.asked) == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(StateError("raw/0 holds an empty record"), "^raw/0 holds an empty record$", id="state"),
        pytest.param(TooMuchBadInput("nearly all is bad"), "^nearly all is bad$", id="too much bad input"),
        pytest.param(KeyError("k"), "handling fetched records failed", id="an agent's bug in decoding"),
    ],
)
async def test_whatever_goes_wrong_in_taking_records_ends_the_worker(error: Exception, said: str) -> None:
    consumer = Consumer(lambda _: NOTHING)
    consumer.dispatcher.error = error
    with pytest.raises(Died, match=said):
        await consumer.fetch()


async def test_an_assignment_is_taken_over_when_faust_seeks() -> None:
    consumer = Consumer(lambda _: NOTHING)
    await consumer.perform_seek()
    assert consumer.dispatcher.taken == [{TopicPartition("raw", 3)}]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(StateError("raw/3 is too short"), "^raw/3 is too short$", id="state"),
        pytest.param(KafkaError("no"), "^taking over partitions failed$", id="a client error"),
    ],
)
async def test_an_assignment_that_fails_ends_the_worker(error: Exception, said: str) -> None:
    consumer = Consumer(lambda _: NOTHING)
    consumer.dispatcher.refusal = error
    with pytest.raises(Died, match=said):
        await consumer.perform_seek()


@pytest.mark.parametrize(
    ("assigned", "taken"),
    [
        pytest.param(set(), [set()], id="Faust seeks nothing"),
        pytest.param({KafkaTopicPartition("raw", 3)}, [], id="Faust will seek, which takes over"),
    ],
)
async def test_an_empty_assignment_is_taken_over_although_faust_seeks_nothing(
    monkeypatch: pytest.MonkeyPatch, assigned: set[KafkaTopicPartition], taken: list[set[TopicPartition]]
) -> None:
    async def faust(*_: object) -> None:
        pass

    monkeypatch.setattr("faust.transport.consumer.Consumer.on_partitions_assigned", faust)
    consumer = Consumer(lambda _: NOTHING)
    await consumer.on_partitions_assigned(assigned, 1)
    assert consumer.dispatcher.taken == taken


async def test_faust_may_give_up_on_a_seek_but_tasks_are_taken_over_to_the_end() -> None:
    """Faust cancels `perform_seek` at the next rebalance, and after a time-out goes on as if it were done."""
    consumer = Consumer(lambda _: NOTHING)
    consumer.dispatcher.may_take.clear()
    seeking = asyncio.create_task(consumer.perform_seek())
    await consumer.dispatcher.taking.wait()
    seeking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await seeking
    consumer.dispatcher.may_take.set()
    await asyncio.sleep(0)
    assert consumer.dispatcher.taken == [{TopicPartition("raw", 3)}]


async def test_faust_commits_nothing() -> None:
    assert await Consumer(lambda _: NOTHING)._commit({A: 5}) is True


# -- what the client's thread reads of the client -----------------------------------------------------------


class State:
    """For aiokafka's TopicPartitionState."""

    def __init__(self, position: int | None, lso: int | None, timestamp: int | None) -> None:
        self._position, self.lso, self.timestamp = position, lso, timestamp

    @property
    def has_valid_position(self) -> bool:
        return self._position is not None

    @property
    def position(self) -> int:
        assert self._position is not None
        return self._position


class Client:
    """For `AIOKafkaConsumer`, as far as `_ends` looks into it; also its subscription and assignment."""

    def __init__(self, states: dict[TopicPartition, State | None] | None) -> None:
        self._subscription = self.subscription = self
        self.assignment = None if states is None else self
        self._states = states or {}
        self.tps = set(self._states)

    def state_value(self, tp: TopicPartition) -> State | None:
        return self._states[tp]


@pytest.fixture
def thread() -> BatchConsumerThread:
    """Not started, and with no Faust app around it."""
    made = BatchConsumerThread.__new__(BatchConsumerThread)
    made.consumer = made.app = MagicMock()
    made.__post_init__()
    return made


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param(State(5, 9, 1000), {A: End(5, 9, None)}, id="fetched"),
        pytest.param(State(None, 9, 1000), {}, id="no position"),
        pytest.param(State(5, None, None), {}, id="not fetched yet"),
        pytest.param(State(5, None, 1000), {}, id="an answer without an end"),
        pytest.param(State(5, 9, None), {}, id="an end of unknown age"),
        pytest.param(State(0, 0, 1000), {A: End(0, 0, None)}, id="an empty partition has an end, too"),
        pytest.param(None, {}, id="gone"),
    ],
)
def test_ends_are_told_of_partitions_whose_end_is_known(
    thread: BatchConsumerThread, state: State | None, expected: dict[TopicPartition, End]
) -> None:
    assert thread._ends(Client({A: state})) == expected


def test_without_an_assignment_there_are_no_ends(thread: BatchConsumerThread) -> None:
    assert thread._ends(Client(None)) == {}


def test_an_end_is_as_old_as_the_answer_before_it(thread: BatchConsumerThread) -> None:
    """An answer may lie in the socket while the process stands still, and is then stamped when it is taken up."""

    def polled_ms(answered_ms: int) -> int | None:
        return thread._ends(Client({A: State(5, 5, answered_ms)}))[A].polled_ms

    assert polled_ms(1000) is None, "the first answer"
    assert polled_ms(1000) is None, "the same once more"
    assert polled_ms(1500) == 1000
    assert polled_ms(1500) == 1000, "looking twice makes it no younger"
    assert polled_ms(2000) == 1500


def test_each_partition_has_answers_of_its_own(thread: BatchConsumerThread) -> None:
    thread._ends(Client({A: State(5, 5, 1000)}))
    found = thread._ends(Client({A: State(5, 5, 1500), B: State(7, 7, 1500)}))
    assert found == {A: End(5, 5, 1000), B: End(7, 7, None)}


async def test_partitions_are_counted_from_metadata_that_is_waited_for(
    thread: BatchConsumerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the client knows already may be nothing: a worker that isn't the group's leader looks nothing up."""
    client = MagicMock()
    client._client._wait_on_metadata = AsyncMock(side_effect=[{0, 1, 2}, {0}])
    client.partitions_for_topic.return_value = None
    monkeypatch.setattr(thread, "_ensure_consumer", lambda: client)
    assert await thread._partition_counts(["raw", "more"]) == {"raw": 3, "more": 1}


async def test_staying_is_a_fetch_to_the_client(
    thread: BatchConsumerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MagicMock()
    client._subscription = SubscriptionState()
    client._subscription._last_fetch_ended -= 1000
    assert client._subscription.fetcher_idle_time >= 1000
    monkeypatch.setattr(thread, "_ensure_consumer", lambda: client)
    await thread._stay()
    assert client._subscription.fetcher_idle_time < 100
