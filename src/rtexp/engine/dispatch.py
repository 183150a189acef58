"""Which task gets which records, and what tasks do when partitions come and go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Protocol

from aiokafka.errors import KafkaError

from rtexp.engine.api import BatchAgent, Commit, ForwardAgent, TopicPartition
from rtexp.engine.failstop import die
from rtexp.engine.forwarding import ForwardRunner
from rtexp.engine.pace import Pace
from rtexp.engine.sensors import Standing
from rtexp.engine.task import PartitionTask, Phase
from rtexp.errors import DiskUnusable, StateError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping
    from pathlib import Path

    from rtexp.engine.config import EngineConfig
    from rtexp.engine.sensors import TaskStatus
    from rtexp.engine.transport import End, Offsets

log = logging.getLogger(__name__)

COMMIT_SECONDS = 5.0
OPENING_AT_ONCE = 4
"""Tasks of one worker that recover side by side."""


class Client(Protocol):
    """What the dispatcher asks of the Kafka client's thread."""

    async def offsets(self, tps: Iterable[TopicPartition]) -> Offsets:
        """Return the bounds of partitions, as the broker has them now."""

    async def committed(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, Commit | None]:
        """Return what the group has committed."""

    async def commit_with_metadata(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        """Commit; False if the group has moved on without this worker."""

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """Return how many partitions these topics have; waits until that is known."""


class Dispatcher:
    """All tasks of one worker. Every method belongs to the worker's event loop."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._pace = Pace(config.flush_interval)
        self._agents: dict[str, BatchAgent] = {}
        """By input topic."""
        self._tasks: dict[tuple[str, int], PartitionTask] = {}
        self._runners: dict[str, ForwardRunner] = {}
        """By input topic."""
        self._assigned: frozenset[TopicPartition] | None = None
        """None between a revocation and the next assignment."""
        self._was_assigned = False
        self._taking_over = asyncio.Lock()
        self._generation = 0
        """Counts revocations: what was begun for one assignment must not be finished in another."""
        self._stopping = False
        self._seeks: dict[TopicPartition, int] = {}
        """Where the client must go before it is asked for records again."""
        self._background: set[asyncio.Task[None]] = set()
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)
        self._thread: Client
        self.directory: Path = config.data_directory

    # -- declaring ----------------------------------------------------------------------------------------

    def add_batch_agent(self, agent: BatchAgent) -> None:
        """Add an agent; each topic has one reader."""
        for topic in agent.inputs:
            if self._agents.setdefault(topic, agent) is not agent:
                raise ValueError(f"{topic} has two agents")

    def add_forward_agent(self, agent: ForwardAgent) -> None:
        """Add an agent; each topic has one reader."""
        runner = ForwardRunner(agent, self._config, self._commit)
        for topic in agent.inputs:
            if self._runners.setdefault(topic, runner) is not runner:
                raise ValueError(f"{topic} has two agents")

    @property
    def topics(self) -> list[str]:
        """Return all topics that this worker subscribes to."""
        return [*self._agents, *self._runners]

    # -- records ------------------------------------------------------------------------------------------

    def wanted(self) -> set[TopicPartition]:
        """Return the partitions to fetch from now."""
        # What is still to be sought (it was resumed while another seek was under way) comes with the next fetch.
        return {tp for tp in self._assigned or () if tp not in self._seeks and self._wants(tp)}

    def _wants(self, tp: TopicPartition) -> bool:
        if (runner := self._runners.get(tp.topic)) is not None:
            return runner.wants(tp)
        task = self._task(tp)
        return task is not None and task.wants(tp.topic)

    def _task(self, tp: TopicPartition) -> PartitionTask | None:
        agent = self._agents.get(tp.topic)
        return None if agent is None else self._tasks.get((agent.name, tp.partition))

    @property
    def generation(self) -> int:
        """Changes whenever partitions were revoked: what was fetched before belongs to nobody."""
        return self._generation

    def take_seeks(self) -> dict[TopicPartition, int]:
        """Return, once, where the client must seek to before the next fetch."""
        seeks, self._seeks = self._seeks, {}
        return seeks

    def dispatch(self, records: dict[Any, list[Any]], ends: Mapping[TopicPartition, End]) -> None:
        """Hand over what was fetched in this generation; ``records`` is empty afterwards.

        For whoever brought it here (futures, between two threads) may keep it until the cycle collector runs.
        """
        back = self._seeks
        while records:
            kafka_tp, batch = records.popitem()
            tp = TopicPartition(kafka_tp.topic, kafka_tp.partition)
            if (runner := self._runners.get(tp.topic)) is not None:
                if runner.feed(tp, batch) and runner.wants(tp):
                    back[tp] = runner.next_offset(tp)
            elif (
                (task := self._task(tp)) is not None
                and task.feed(tp.topic, batch)
                and task.phase is not Phase.OPENING
            ):
                back[tp] = task.next_offset(tp.topic)
        for tp, end in ends.items():
            self._saw_end(tp, end)

    def _saw_end(self, tp: TopicPartition, end: End) -> None:
        if (runner := self._runners.get(tp.topic)) is not None:
            # The client had handed over everything up to `position` by then, and all of it has been fed above.
            runner.saw_end(tp, end.end, reached_ms=end.polled_ms if end.position >= end.end else None)
        elif (task := self._task(tp)) is not None and task.phase in (Phase.REWINDING, Phase.LIVE):
            # A position from before a seek that is still to come says nothing about what the task was fed.
            task.saw_end(tp.topic, end.end, position=0 if tp in self._seeks else end.position)

    # -- partitions come and go ---------------------------------------------------------------------------

    async def revoked(self) -> None:
        """Give up everything for the moment: Faust revokes all partitions at every rebalance."""
        self._generation += 1
        if self._stopping:
            return  # `stop` saves the tasks; should someone else be quicker, they are fenced
        self._assigned = None
        self._seeks.clear()
        await asyncio.gather(
            *(task.pause() for task in self._tasks.values()),
            *(runner.pause() for runner in set(self._runners.values())),
        )

    async def assigned(self, assigned: Iterable[TopicPartition], thread: Client) -> None:
        """Take over an assignment: keep the tasks that stay, close those that went, open those that came."""
        self._thread = thread
        self._assigned = taken = frozenset(assigned)
        self._was_assigned = True
        generation = self._generation
        async with self._taking_over:
            await self._take_over(taken, generation)

    async def _take_over(self, assigned: frozenset[TopicPartition], generation: int) -> None:
        if generation != self._generation:
            return
        wanted = {
            (agent.name, tp.partition): agent
            for tp in assigned
            if (agent := self._agents.get(tp.topic)) is not None
        }
        for key in [key for key in self._tasks if key not in wanted]:
            if self._tasks[key].phase is not Phase.OPENING:  # one that still opens is closed when it is done
                await self._tasks.pop(key).close()
        for key in sorted(wanted):
            if key not in self._tasks:
                task = self._tasks[key] = PartitionTask(
                    wanted[key], key[1], self._config, self.directory, self._pace
                )
                self._start(self._open(task), left_by_stop=True)
            elif self._tasks[key].phase is not Phase.OPENING:
                await self._resume(self._tasks[key], generation)
        for runner in set(self._runners.values()):
            await self._assign_runner(runner, assigned, generation)

    async def _open(self, task: PartitionTask) -> None:
        async with self._opening:
            # Opening fences whoever has the partition, so it must still be ours when its turn has come.
            if not self._is_lost(task):
                await task.open()
        if self._is_lost(task):
            del self._tasks[task.agent.name, task.partition]
            await task.close()
            return
        self._start(task.run())
        if self._assigned is not None:  # else the next assignment resumes or closes it
            await self._resume(task, self._generation)

    def _is_lost(self, task: PartitionTask) -> bool:
        return self._assigned is not None and not self._assigned.issuperset(task.input_partitions())

    async def _resume(self, task: PartitionTask, generation: int) -> None:
        """Seek the task's inputs and let it run; the next assignment does it if this one is over by then."""
        tps = task.input_partitions()
        bounds = await self._thread.offsets(tps)
        for tp in tps:
            position, mark = task.next_offset(tp.topic), task.mark(tp.topic)
            if not bounds.first[tp] <= position <= max(position, mark) <= bounds.end[tp]:
                raise StateError(
                    f"{task.agent.table}/{task.partition} goes on at {position} of {tp.topic}/{tp.partition}, whose "
                    f"log holds {bounds.first[tp]} to {bounds.end[tp]}: retention is too short, or the topic was "
                    f"made anew (it had been counted up to {mark}). Start with a new [kafka] prefix and replay, or "
                    "give back the topic"
                )
        if generation == self._generation:
            self._seeks.update({tp: task.next_offset(tp.topic) for tp in tps})
            task.resume()

    async def _assign_runner(
        self, runner: ForwardRunner, assigned: frozenset[TopicPartition], generation: int
    ) -> None:
        tps = [tp for tp in assigned if self._runners.get(tp.topic) is runner]
        if not tps:
            return
        bounds = await self._thread.offsets(tps)
        counts = await self._thread.partition_counts({tp.topic for tp in tps})
        for tp in tps:  # the client may know an older cut of the topic than whoever shared it out
            counts[tp.topic] = max(counts[tp.topic], tp.partition + 1)
        committed = await self._thread.committed(tps)
        if generation == self._generation:
            self._seeks.update(runner.assign(committed, bounds.first, bounds.end, counts))

    async def _commit(self, commits: Mapping[TopicPartition, Commit]) -> bool:
        committed = await self._thread.commit_with_metadata(commits)
        if not committed:
            log.info("offsets not committed: the group is rebalancing, or has without this worker")
        return committed

    # -- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start what doesn't wait for partitions."""
        self._start(self._keep_committing(), left_by_stop=True)
        for runner in set(self._runners.values()):
            await runner.start()
            self._start(runner.run())

    def _start(self, work: Coroutine[Any, Any, None], *, left_by_stop: bool = False) -> None:
        task = asyncio.create_task(self._or_die(work, left_by_stop=left_by_stop))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _or_die(self, work: Coroutine[Any, Any, None], *, left_by_stop: bool) -> None:
        try:
            await work
        except (asyncio.CancelledError, GeneratorExit):  # the latter: the loop is closed, and this was left
            raise
        except BaseException as exc:  # noqa: BLE001 - the outcome of whatever failed is unknown
            # A flush that fails must end the process even now: its outputs are lost to this state, and the last
            # flush of a clean stop would put its marker beyond them.
            if self._stopping and left_by_stop:
                log.info("ended while stopping: %r", exc)
                return
            die(str(exc) or type(exc).__name__, None if isinstance(exc, StateError | DiskUnusable) else exc)

    async def stop(self) -> None:
        """Stop cleanly: last flushes, checkpoints, commits.

        What is still opening is left to the end of the process: it has sent nothing.
        """
        self._stopping = True
        for task in list(self._tasks.values()):
            if task.phase not in (Phase.OPENING, Phase.CLOSED):
                await task.close(clean=True)
        for runner in set(self._runners.values()):
            await runner.close()

    # -- looking ------------------------------------------------------------------------------------------

    def tasks(self, agent: str) -> list[PartitionTask]:
        """Return the live tasks of one agent."""
        return [task for (name, _), task in self._tasks.items() if name == agent and task.phase is Phase.LIVE]

    def all_tasks(self) -> list[PartitionTask]:
        """Return all tasks, whatever phase they are in, by agent and partition."""
        return [self._tasks[key] for key in sorted(self._tasks)]

    def owns(self, topic: str, partition: int) -> bool:
        """Tell whether a partition is assigned to this worker now."""
        return TopicPartition(topic, partition) in (self._assigned or ())

    def standing(self) -> Standing:
        """Tell what this worker has of its job, and how much of it is live."""
        wanted = {
            (agent.name, tp.partition)
            for tp in self._assigned or ()
            if (agent := self._agents.get(tp.topic)) is not None
        }
        live = sum(key in wanted and task.phase is Phase.LIVE for key, task in self._tasks.items())
        return Standing(self._was_assigned, self._assigned is not None, len(wanted), live)

    async def _keep_committing(self) -> None:
        """Commit positions now and then; a broker that is away is no reason to end."""
        while not self._stopping:
            await asyncio.sleep(COMMIT_SECONDS)
            with contextlib.suppress(KafkaError):
                await self.commit_positions()

    async def commit_positions(self) -> None:
        """Commit how far tasks are, for tools that display lag; nothing reads it back."""
        marks = {
            TopicPartition(*_split(name)): Commit(source.position, "")
            for task in self._tasks.values()
            if task.phase is Phase.LIVE and not task.paused
            for name, source in task.status().inputs.items()
        }
        if marks:
            await self._thread.commit_with_metadata(marks)

    async def ends(self, tps: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Ask the broker for the ends of any partitions; only once partitions have been assigned. KafkaError."""
        return (await self._thread.offsets(tps)).end

    def status(self) -> list[TaskStatus]:
        """Say what every task of this worker is doing."""
        return [
            *(task.status() for task in self._tasks.values()),
            *(runner.status() for runner in set(self._runners.values())),
        ]


def _split(name: str) -> tuple[str, int]:
    topic, _, partition = name.rpartition("/")
    return topic, int(partition)
