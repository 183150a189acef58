"""Two workers on a real broker, and what may happen to them: sums of outputs stay exactly those of the inputs.

The workers stay up from one test to the next, and input keeps coming during each fault; each test starts those
that the one before ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
PATIENCE_SECONDS = 45.0
SESSION_SECONDS = 6.0
"""The toy's; a member that is silent for longer is expelled."""


class Lived(NamedTuple):
    """A task that has become live, as its worker's log says."""

    partition: int
    restored: int
    rewound: int


class Worker:
    """A toy worker process with a data directory and a log of its own."""

    def __init__(self, job: Job, name: str, *, data: Path | None = None) -> None:
        self.job = job
        self.data = data or job.directory / name
        self.log = job.directory / f"{name}.log"
        self._read_from = self._started_at = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._started_at = self._size()
        settings = {
            "TOY_BROKER": self.job.broker,
            "TOY_PREFIX": self.job.prefix,
            "TOY_CHECKPOINT": str(self.job.checkpoint_seconds),
            "PYTHONPATH": str(ROOT),
        }
        faust = [sys.executable, "-m", "faust", "--datadir", str(self.data), "-A", "tests.integration.toy"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*faust, "worker", "-l", "info"], cwd=ROOT, env=os.environ | settings, stdout=log, stderr=log
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the process; return its exit code."""
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, PATIENCE_SECONDS)

    def mark(self) -> None:
        """Leave out of `said` and `lived` what the log holds by now."""
        self._read_from = self._size()

    def _size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def said(self) -> str:
        return self.log.read_bytes()[self._read_from :].decode()

    def has_partitions(self) -> bool:
        """Whether this process has had a live task: with two workers each keeps some."""
        return b": live; rewound" in self.log.read_bytes()[self._started_at :]

    def generations(self) -> int:
        """How often the group has shared the partitions out since `mark`, as far as this process was there."""
        return len(re.findall(r"generation id \d+", self.said()))

    def lived(self) -> list[Lived]:
        """All tasks that have become live since `mark`."""
        text = self.said()
        restored = {
            int(partition): int(count)
            for partition, count in re.findall(r"count/(\d+): restored (\d+) changelog records", text)
        }
        return [
            Lived(int(partition), restored.get(int(partition), 0), int(rewound))
            for partition, rewound in re.findall(r"count/(\d+): live; rewound (\d+) records", text)
        ]


class Job:
    """Topics, workers, what was sent, and what came out."""

    def __init__(self, broker: str, directory: Path, *, partitions: int, checkpoint_seconds: float) -> None:
        self.broker = broker
        self.prefix = f"toy{uuid4().hex[:8]}"
        self.directory = directory
        self.partitions = partitions
        self.checkpoint_seconds = checkpoint_seconds
        self.sent: Counter[str] = Counter()
        self.workers: list[Worker] = []
        self._lefts = [0] * partitions
        self._random = random.Random(1)

    def topic(self, name: str) -> str:
        return f"{self.prefix}.{name}"

    async def create_topics(self) -> None:
        async with self.admin() as admin:
            compact = {"cleanup.policy": "compact"}
            await admin.create_topics(
                [NewTopic(self.topic(name), self.partitions, 1) for name in ("left", "right", "out")]
                + [NewTopic(self.topic("table"), self.partitions, 1, topic_configs=compact)]
            )

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    def add_worker(self, name: str, **options: Path) -> Worker:
        worker = Worker(self, name, **options)
        self.workers.append(worker)
        worker.start()
        return worker

    async def send_some(self, producer: AIOKafkaProducer) -> None:
        """A record to every input partition; those of `right` wait for all of `left` so far."""
        for partition in range(self.partitions):
            self._lefts[partition] += 1
            for topic, after in (("left", 0), ("right", self._lefts[partition])):
                words = [f"{topic} {self._random.randrange(20)}" for _ in range(5)]
                await producer.send(
                    self.topic(topic), msgspec.json.encode([words, after]), partition=partition
                )
                self.sent.update(words)
            self.sent["records of left"] += 1

    @contextlib.asynccontextmanager
    async def input(self) -> AsyncIterator[None]:
        """Keep sending until the block is over."""
        async with AIOKafkaProducer(bootstrap_servers=self.broker) as producer:
            over = asyncio.Event()

            async def send() -> None:
                while not over.is_set():
                    await self.send_some(producer)
                    await asyncio.sleep(0.02)

            sending = asyncio.create_task(send())
            try:
                yield
            finally:
                over.set()
                await sending
                await producer.flush()

    async def received(self) -> Counter[str]:
        """Add up everything that was ever put out."""
        total: Counter[str] = Counter()
        async with AIOKafkaConsumer(
            bootstrap_servers=self.broker, isolation_level="read_committed", enable_auto_commit=False
        ) as consumer:
            tps = [TopicPartition(self.topic("out"), partition) for partition in range(self.partitions)]
            consumer.assign(tps)
            for tp in tps:
                consumer.seek(tp, 0)
            ends = await consumer.end_offsets(tps)
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        total.update(msgspec.json.decode(record.value))
        return total

    async def comes_out_right(self) -> None:
        """Wait until as much has come out as was sent, then compare; then see that nothing follows."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (received := await self.received()).total() < self.sent.total():
            assert time.monotonic() < deadline, f"{received.total()} of {self.sent.total()} came out"
            await asyncio.sleep(0.2)
        assert received == self.sent

    async def becomes_live(self, worker: Worker) -> None:
        """Wait until a task has become live since the worker's `mark`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not worker.lived():
            assert time.monotonic() < deadline, worker.said()
            await asyncio.sleep(0.05)

    async def both(self) -> tuple[Worker, Worker]:
        """Start what doesn't run; return when both have partitions and all that was sent came out."""
        one, two = self.workers[:2]
        for worker in (one, two):
            if not worker.running:
                worker.start()
        async with self.input():
            while not (one.has_partitions() and two.has_partitions()):  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.05)
        await self.comes_out_right()
        for worker in (one, two):
            worker.mark()
        return one, two

    def end(self) -> None:
        for worker in self.workers:
            if worker.running and worker.process is not None:
                worker.process.kill()
                worker.process.wait()


@pytest.fixture(scope="module")
def job(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    made = Job(broker, tmp_path_factory.mktemp("toy"), partitions=PARTITIONS, checkpoint_seconds=2.0)
    asyncio.run(made.create_topics())
    made.add_worker("one")
    made.add_worker("two")
    yield made
    made.end()


@pytest.fixture
async def pair(job: Job) -> tuple[Worker, Worker]:
    """Both workers, each with partitions of its own, and output that matches the input."""
    return await job.both()


async def test_two_workers_share_the_partitions(job: Job, pair: tuple[Worker, Worker]) -> None:
    async with job.input():
        await asyncio.sleep(1)
    await job.comes_out_right()
    assert all(worker.running for worker in pair)


@pytest.mark.parametrize("wiped", [False, True], ids=["disk kept", "disk wiped"])
async def test_a_killed_worker_is_replaced_without_loss_or_double_counting(job: Job, *, wiped: bool) -> None:
    for _ in range(5):
        victim, other = await job.both()
        async with job.input():
            await asyncio.sleep(3)  # past a checkpoint, so that there is something to restore and to rewind
            victim.signal(signal.SIGKILL)
            assert await victim.ended() == -signal.SIGKILL
            if wiped:
                shutil.rmtree(victim.data)
            victim.start()
            await job.becomes_live(victim)
        await job.comes_out_right()
        if wiped:
            assert any(task.restored > 0 for task in victim.lived()), "from the changelog alone"
        if any(task.rewound > 0 for task in victim.lived() + other.lived()):
            return
    pytest.fail("no kill came between a checkpoint and a marker")


async def test_a_stopped_worker_leaves_nothing_to_rewind(job: Job) -> None:
    for _ in range(3):
        leaver, other = await job.both()
        async with job.input():
            await asyncio.sleep(1)
            leaver.signal(signal.SIGTERM)
            assert await leaver.ended() == 0, leaver.said()
            await job.becomes_live(other)
        await job.comes_out_right()
        # A machine that gives a worker no time for heartbeats shares the partitions out without anybody stopping, or
        # while it stops: then there may be something to rewind, and this says nothing of a stop.
        if other.generations() == 1 and "fenced while stopping" not in leaver.said():
            break
    else:
        pytest.fail(f"partitions moved without a stop, three times: {other.said()}")
    assert {task.rewound for task in other.lived()} == {0}


async def test_a_frozen_worker_that_wakes_up_has_no_effect(job: Job, pair: tuple[Worker, Worker]) -> None:
    sleeper, other = pair
    async with job.input():
        await asyncio.sleep(1)
        sleeper.signal(signal.SIGSTOP)
        await job.becomes_live(other)  # only once the sleeper has been expelled
        await asyncio.sleep(1)
        sleeper.signal(signal.SIGCONT)
        await asyncio.sleep(SESSION_SECONDS / 2)  # it finds out at its next heartbeat or commit
    await job.comes_out_right()
    assert any(task.rewound > 0 for task in other.lived())
    if not sleeper.running:
        assert await sleeper.ended() == 70, "fenced"
        assert "fatal" in sleeper.said()
    else:
        assert re.search("[Rr]evok|rejoin|count/", sleeper.said()), "it must have noticed"


async def test_a_second_worker_on_the_same_directory_ends_with_advice(
    job: Job, pair: tuple[Worker, Worker]
) -> None:
    second = job.add_worker("second", data=pair[0].data)
    assert await second.ended() == 70
    assert f"another worker uses {pair[0].data}" in second.said()
    assert "--datadir" in second.said()
    assert pair[0].running


async def test_input_that_retention_took_too_early_is_refused_with_advice(
    broker: str, tmp_path: Path
) -> None:
    job = Job(broker, tmp_path, partitions=1, checkpoint_seconds=3600.0)
    await job.create_topics()
    try:
        worker = job.add_worker("only")
        async with job.input():
            await job.becomes_live(worker)
        await job.comes_out_right()
        worker.signal(signal.SIGKILL)
        await worker.ended()
        async with job.admin() as admin:
            left = TopicPartition(job.topic("left"), 0)
            await admin.delete_records({left: RecordsToDelete(before_offset=3)})
        worker.start()
        assert await worker.ended() == 70
        assert re.search(
            r"goes on at 0 of \S+left/0, whose log holds 3 to \d+: retention is too short", worker.said()
        )
    finally:
        job.end()


async def test_input_that_was_counted_may_go_with_the_marks_of_its_transactions(
    broker: str, tmp_path: Path
) -> None:
    """A whole system may stand still for longer than retention: that takes no record which is needed."""
    job = Job(broker, tmp_path, partitions=1, checkpoint_seconds=3600.0)
    await job.create_topics()
    try:
        worker = job.add_worker("only")
        await job.becomes_live(worker)
        async with AIOKafkaProducer(bootstrap_servers=broker, transactional_id=job.prefix) as producer:
            async with producer.transaction():
                await job.send_some(producer)
            await job.comes_out_right()
            worker.signal(signal.SIGTERM)
            assert await worker.ended() == 0
            async with job.admin() as admin:
                inputs = [TopicPartition(job.topic(name), 0) for name in ("left", "right")]
                everything = RecordsToDelete(before_offset=-1)
                await admin.delete_records(dict.fromkeys(inputs, everything))
            worker.mark()
            worker.start()
            await job.becomes_live(worker)
            async with producer.transaction():
                await job.send_some(producer)
            await job.comes_out_right()
    finally:
        job.end()
