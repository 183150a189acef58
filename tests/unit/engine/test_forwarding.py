"""Feed, drain, deliver, and only then commit."""

# ruff: noqa: ARG002 - fakes keep the signatures of what they stand for

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.engine.fakes import FakeThread, config, records

from rtexp.engine.api import Commit, ForwardAgent, Forwarded, Output, PartitionStatus, TopicPartition
from rtexp.engine.dispatch import Dispatcher
from rtexp.engine.forwarding import ForwardRunner
from rtexp.engine.transport import End
from rtexp.errors import FatalError, StateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from rtexp.engine.api import Record

RAW = TopicPartition("raw", 0)


class Copier:
    """A forwarder that sends on what it is fed, and writes down what it is told."""

    def __init__(self) -> None:
        self.assigned: dict[TopicPartition, tuple[Commit | None, int, int]] = {}
        self.waiting: dict[TopicPartition, list[Record]] = {}
        self.at_end: list[Mapping[TopicPartition, int]] = []

    def assign(
        self, tp: TopicPartition, committed: Commit | None, *, log_start: int, partitions: int
    ) -> None:
        self.assigned[tp] = (committed, log_start, partitions)
        self.waiting[tp] = []

    def revoke(self, tps: Iterable[TopicPartition]) -> None:
        for tp in tps:
            del self.waiting[tp]

    def feed(self, tp: TopicPartition, records: Sequence[Record], *, now_ms: int) -> None:
        self.waiting[tp] += records

    def drain(self, *, now_ms: int, at_end_ms: Mapping[TopicPartition, int]) -> Forwarded:
        self.at_end.append(at_end_ms)
        fed = {tp: records for tp, records in self.waiting.items() if records}
        self.waiting = {tp: [] for tp in self.waiting}
        return Forwarded(
            [Output("filtered", tp.partition, record.value) for tp, some in fed.items() for record in some],
            {tp: Commit(some[-1].offset + 1, "so far") for tp, some in fed.items()},
        )

    def waiting_rows(self, tp: TopicPartition) -> int:
        return len(self.waiting[tp])

    def waiting_bytes(self) -> int:
        return sum(len(record.value or b"") for records in self.waiting.values() for record in records)

    def status(self) -> PartitionStatus:
        return PartitionStatus(watermarks_ms={"raw/0": 7}, counters={"copied": 1})


class FakeClient:
    """For the client's producer: a send is delivered when the test says so."""

    def __init__(self, **_: Any) -> None:
        self.values: list[bytes | None] = []
        self.unsettled: list[asyncio.Future[None]] = []
        self.at_once = True
        self.sent = asyncio.Event()
        self.stopped = False

    async def start(self) -> None:
        pass

    async def send(self, topic: str, value: bytes | None, **_: Any) -> asyncio.Future[None]:
        assert not self.stopped, "a stopped producer takes nothing"
        future = asyncio.get_running_loop().create_future()
        self.values.append(value)
        self.sent.set()
        if self.at_once:
            future.set_result(None)
        else:
            self.unsettled.append(future)
        return future

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range({"filtered": 4}[topic]))

    async def stop(self) -> None:
        self.stopped = True


class Harness:
    """A runner whose partition is assigned, and what it did."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.copier = Copier()
        self.commits: list[Mapping[TopicPartition, Commit]] = []
        self.group_agrees = True
        agent = ForwardAgent("copy", ("raw",), {"filtered": 4}, self.copier)
        self.runner = ForwardRunner(agent, config(directory, **settings), self._commit)

    async def _commit(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        self.commits.append(commits)
        return self.group_agrees

    def assign(self, committed: Commit | None = None, *, start: int = 0, end: int = 100) -> int:
        return self.runner.assign({RAW: committed}, {RAW: start}, {RAW: end}, {"raw": 4})[RAW]

    @property
    def client(self) -> FakeClient:
        found = self.runner._producer
        assert isinstance(found, FakeClient)
        return found


@pytest.fixture
async def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setattr("rtexp.engine.forwarding.AIOKafkaProducer", FakeClient)
    made = Harness(tmp_path)
    await made.runner.start()
    return made


# -- starting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [3, 5])
async def test_a_worker_that_would_cut_its_output_otherwise_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    monkeypatch.setattr("rtexp.engine.forwarding.AIOKafkaProducer", FakeClient)
    agent = ForwardAgent("copy", ("raw",), {"filtered": partitions}, Copier())
    runner = ForwardRunner(agent, config(tmp_path), lambda _: pytest.fail("nothing may be committed"))
    with pytest.raises(
        StateError, match=rf"filtered has 4 partitions, but this worker is set to send to {partitions}: put"
    ):
        await runner.start()


# -- where to begin -----------------------------------------------------------------------------------------


async def test_reading_begins_at_the_committed_offset_with_its_metadata(harness: Harness) -> None:
    assert harness.assign(Commit(5, "so far"), start=2) == 5
    assert harness.copier.assigned[RAW] == (Commit(5, "so far"), 2, 4)


async def test_reading_begins_at_the_logs_start_when_nothing_was_committed(harness: Harness) -> None:
    assert harness.assign(None, start=2) == 2


async def test_reading_goes_on_at_the_logs_start_when_retention_has_passed_the_commit(
    harness: Harness,
) -> None:
    assert harness.assign(Commit(5, ""), start=9) == 9
    assert harness.copier.assigned[RAW] == (Commit(5, ""), 9, 4), "the forwarder can tell how many are gone"


async def test_a_topic_shorter_than_what_was_read_of_it_is_refused_with_advice(harness: Harness) -> None:
    with pytest.raises(StateError, match=r"raw/0 ends at 4.*read up to 5.*new \[kafka\] prefix"):
        harness.assign(Commit(5, ""), end=4)


async def test_a_topic_read_to_its_very_end_is_not_too_short(harness: Harness) -> None:
    assert harness.assign(Commit(5, ""), end=5) == 5


# -- feeding ------------------------------------------------------------------------------------------------


async def test_nothing_is_wanted_before_an_assignment(harness: Harness) -> None:
    assert not harness.runner.wants(RAW)
    assert harness.runner.feed(RAW, records("a"))


async def test_what_was_fed_already_is_skipped(harness: Harness) -> None:
    harness.assign()
    assert not harness.runner.feed(RAW, records("a", "b"))
    assert not harness.runner.feed(RAW, records("a", "b", "c"))
    assert not harness.runner.feed(RAW, records("a"))
    assert [record.value for record in harness.copier.waiting[RAW]] == [b"a", b"b", b"c"]
    assert harness.runner.next_offset(RAW) == 3


async def test_too_much_waiting_stops_the_fetching(tmp_path: Path) -> None:
    harness = Harness(tmp_path, waiting_rows=2)
    harness.assign()
    harness.runner.feed(RAW, records("a"))
    assert harness.runner.wants(RAW)
    harness.runner.feed(RAW, records("b", start=1))
    assert not harness.runner.wants(RAW)


async def test_too_many_bytes_stop_the_fetching_until_they_are_on_their_way(harness: Harness) -> None:
    harness.assign()
    limit = harness.runner._config.waiting_bytes
    harness.runner.feed(RAW, records("a" * (limit - 1)))
    assert harness.runner.wants(RAW)
    harness.runner.feed(RAW, records("b", start=1))
    assert not harness.runner.wants(RAW)
    await harness.runner.drain()
    assert harness.runner.wants(RAW)


# -- delivering ---------------------------------------------------------------------------------------------


async def test_nothing_is_committed_before_all_of_it_has_been_delivered(harness: Harness) -> None:
    harness.assign()
    harness.client.at_once = False
    harness.runner.feed(RAW, records("a", "b"))
    drain = asyncio.create_task(harness.runner.drain())
    await harness.client.sent.wait()
    done, _ = await asyncio.wait([drain], timeout=0.05)
    assert not done
    first, second = harness.client.unsettled
    first.set_result(None)
    await asyncio.sleep(0)
    assert harness.commits == []
    second.set_result(None)
    await drain
    assert harness.commits == [{RAW: Commit(2, "so far")}]
    assert harness.runner.status().inputs["raw/0"].position == 2


async def test_a_commit_that_the_group_refuses_is_no_progress(harness: Harness) -> None:
    harness.assign()
    harness.group_agrees = False
    harness.runner.feed(RAW, records("a", "b"))
    await harness.runner.drain()
    assert harness.commits == [{RAW: Commit(2, "so far")}]
    assert harness.runner.status().inputs["raw/0"].position == 0
    harness.group_agrees = True
    harness.runner.feed(RAW, records("c", start=2))
    await harness.runner.drain()
    assert harness.runner.status().inputs["raw/0"].position == 3


async def test_one_drain_is_in_flight_at_a_time(harness: Harness) -> None:
    """Two of them could pass each other on the way, and the order within a partition would be lost."""
    harness.assign()
    harness.client.at_once = False
    harness.runner.feed(RAW, records("a"))
    first = asyncio.create_task(harness.runner.drain())
    await harness.client.sent.wait()
    harness.runner.feed(RAW, records("b", start=1))
    second = asyncio.create_task(harness.runner.drain())
    done, _ = await asyncio.wait([second], timeout=0.05)
    assert not done
    assert harness.client.values == [b"a"]
    harness.client.at_once = True
    harness.client.unsettled[0].set_result(None)
    await asyncio.gather(first, second)
    assert harness.client.values == [b"a", b"b"]
    assert [commit[RAW].next_offset for commit in harness.commits] == [1, 2]


async def test_a_delivery_that_fails_is_fatal_and_commits_nothing(harness: Harness) -> None:
    harness.assign()
    harness.client.at_once = False
    harness.runner.feed(RAW, records("a"))
    drain = asyncio.create_task(harness.runner.drain())
    await harness.client.sent.wait()
    harness.client.unsettled[0].set_exception(ConnectionError("gone"))
    with pytest.raises(FatalError, match=r"delivering failed .ConnectionError: gone"):
        await drain
    assert harness.commits == []


async def test_a_delivery_that_takes_too_long_is_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtexp.engine.forwarding.AIOKafkaProducer", FakeClient)
    harness = Harness(tmp_path, transaction_timeout=0.01)
    await harness.runner.start()
    harness.assign()
    harness.client.at_once = False
    harness.runner.feed(RAW, records("a"))
    with pytest.raises(FatalError, match="TimeoutError"):
        await harness.runner.drain()
    assert harness.commits == []


# -- the end of a partition ---------------------------------------------------------------------------------


async def test_the_end_is_told_only_while_nothing_is_unread(harness: Harness) -> None:
    harness.assign()
    harness.runner.feed(RAW, records("a"))
    harness.runner.saw_end(RAW, 2, reached_ms=None)
    await harness.runner.drain()
    harness.runner.feed(RAW, records("b", start=1))
    harness.runner.saw_end(RAW, 2, reached_ms=1000)
    await harness.runner.drain()
    harness.runner.feed(RAW, records("c", start=2))
    await harness.runner.drain()
    assert harness.copier.at_end == [{}, {RAW: 1000}, {}]


async def test_an_end_seen_in_an_earlier_assignment_is_forgotten(harness: Harness) -> None:
    harness.assign()
    harness.runner.saw_end(RAW, 0, reached_ms=1000)
    await harness.runner.pause()
    harness.assign()
    await harness.runner.drain()
    assert harness.copier.at_end == [{}]


@pytest.mark.parametrize(
    ("end", "at_end"),
    [
        pytest.param(End(1, 1, 1000), {RAW: 1000}, id="all handed over"),
        pytest.param(End(1, 2, 1000), {}, id="one more is known of"),
        pytest.param(End(1, 1, None), {}, id="all handed over, but since when"),
    ],
)
async def test_the_end_counts_once_all_was_handed_over_at_a_known_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: End, at_end: dict[TopicPartition, int]
) -> None:
    monkeypatch.setattr("rtexp.engine.forwarding.AIOKafkaProducer", FakeClient)
    copier = Copier()
    dispatcher = Dispatcher(config(tmp_path))
    dispatcher.add_forward_agent(ForwardAgent("copy", ("raw",), {"filtered": 4}, copier))
    [runner] = dispatcher._runners.values()
    await runner.start()
    await dispatcher.assigned([RAW], FakeThread())
    dispatcher.dispatch({RAW: records("a")}, {RAW: end})
    await runner.drain()
    assert copier.at_end == [at_end]
    assert runner.status().inputs["raw/0"].end == end.end


async def test_a_topic_has_at_least_the_partitions_that_are_assigned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If readers were told of fewer, they would take some partitions' watermark for that of the whole topic."""
    monkeypatch.setattr("rtexp.engine.forwarding.AIOKafkaProducer", FakeClient)
    copier = Copier()
    dispatcher = Dispatcher(config(tmp_path))
    dispatcher.add_forward_agent(ForwardAgent("copy", ("raw",), {"filtered": 4}, copier))
    fifth = TopicPartition("raw", 4)
    await dispatcher.assigned([RAW, fifth], FakeThread(partitions=4))
    assert {tp: partitions for tp, (_, _, partitions) in copier.assigned.items()} == {RAW: 5, fifth: 5}


# -- losing partitions, stopping ----------------------------------------------------------------------------


async def test_a_pause_waits_for_the_drain_in_progress_then_gives_everything_up(harness: Harness) -> None:
    harness.assign()
    harness.client.at_once = False
    harness.runner.feed(RAW, records("a"))
    drain = asyncio.create_task(harness.runner.drain())
    await harness.client.sent.wait()
    pause = asyncio.create_task(harness.runner.pause())
    done, _ = await asyncio.wait([pause], timeout=0.05)
    assert not done
    assert not harness.runner.wants(RAW), "not even while waiting"
    harness.client.unsettled[0].set_result(None)
    await asyncio.gather(drain, pause)
    assert harness.commits == [{RAW: Commit(1, "so far")}]
    assert harness.copier.waiting == {}
    await harness.runner.drain()
    assert len(harness.copier.at_end) == 1, "a paused runner drains nothing"


async def test_a_stop_delivers_and_commits_what_is_there(harness: Harness) -> None:
    harness.assign()
    harness.runner.feed(RAW, records("a"))
    await harness.runner.close()
    assert harness.client.values == [b"a"]
    assert harness.commits == [{RAW: Commit(1, "so far")}]
    assert harness.client.stopped


async def test_a_drain_that_waits_for_the_last_one_finds_nothing_to_do(harness: Harness) -> None:
    harness.assign()
    harness.client.at_once = False
    harness.runner.feed(RAW, records("a"))
    closing = asyncio.create_task(harness.runner.close())
    await harness.client.sent.wait()
    behind = asyncio.create_task(harness.runner.drain())
    await asyncio.sleep(0)
    harness.runner.feed(RAW, records("b", start=1))
    harness.client.unsettled[0].set_result(None)
    harness.client.at_once = True
    await asyncio.gather(closing, behind)
    assert harness.client.values == [b"a"]
    assert harness.client.stopped


async def test_a_stop_before_the_start_is_nothing(tmp_path: Path) -> None:
    await Harness(tmp_path).runner.close()


async def test_a_running_runner_drains_as_soon_as_there_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtexp.engine.forwarding.AIOKafkaProducer", FakeClient)
    harness = Harness(tmp_path, flush_rows=2)
    await harness.runner.start()
    harness.assign()
    running = asyncio.create_task(harness.runner.run())
    harness.runner.feed(RAW, records("a", "b"))
    async with asyncio.timeout(10):
        await harness.client.sent.wait()
        await harness.runner.close()
        await running
    assert harness.commits == [{RAW: Commit(2, "so far")}]


async def test_marks_of_transactions_at_the_end_are_no_lag(harness: Harness) -> None:
    def reached() -> tuple[int, int]:
        source = harness.runner.status().inputs["raw/0"]
        return source.position, source.end

    harness.assign()
    harness.runner.feed(RAW, records("a", "b"))
    await harness.runner.drain()
    harness.runner.saw_end(RAW, 4, reached_ms=None)
    assert reached() == (2, 4)
    harness.runner.saw_end(RAW, 4, reached_ms=1000)  # all has been fed, and no record lies behind the two
    assert reached() == (2, 2)
    harness.runner.feed(RAW, records("c", start=4))
    harness.runner.saw_end(RAW, 5, reached_ms=1000)
    assert reached() == (2, 5)
