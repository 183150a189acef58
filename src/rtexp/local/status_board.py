"""What all workers last said of themselves, from the `status` topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from rtexp.local.unreachable import no_topic, unreachable
from rtexp.records import status as records
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rtexp.errors import StoreUnavailable
    from rtexp.records.status import Status
    from rtexp.settings import KafkaSettings

LIVE_MS = 15_000
"""Who hasn't spoken for three reports may be dead: its positions hold, but nobody waits for it."""


class Report(NamedTuple):
    """One partition's position in one input topic, as its reader last said."""

    position: int
    at_ms: int
    held_rows: int
    ready: bool
    watermark_ms: int = 0


class StatusBoard:
    """The newest status of each partition of each worker."""

    def __init__(self) -> None:
        self._newest: dict[bytes, Status] = {}

    def take(self, status: Status) -> None:
        """Put up one status in place of that worker's last one."""
        self._newest[records.key_of(status)] = status

    def reports(self, job: str, topic: str) -> dict[int, Report]:
        """Return how far a job has got in an input, by partition of the topic.

        Positions never go back, so where several workers have owned a partition the furthest one is true.
        """
        furthest: dict[int, Report] = {}
        for status in self._of(job):
            for name, found in status.inputs.items():
                of_topic, _, partition = name.rpartition("/")
                report = Report(
                    found.position, status.at_ms, found.held_rows, status.ready, found.watermark_ms
                )
                if of_topic == topic and report > furthest.get(int(partition), _NOTHING):
                    furthest[int(partition)] = report
        return furthest

    def furthest_detail(self, job: str, name: str) -> dict[int, int]:
        """Return the highest number that a job has given under a name in its details, by its partitions."""
        highest: dict[int, int] = {}
        for status in self._of(job):
            found = status.details.get(name)
            if isinstance(found, int):
                highest[status.partition] = max(found, highest.get(status.partition, found))
        return highest

    def live_workers(self, job: str, now_ms: int) -> dict[str, Status]:
        """Return the newest status of each worker of a job that has spoken lately."""
        return {status.worker: status for status in self.live_partitions(job, now_ms)}

    def live_partitions(self, job: str, now_ms: int) -> list[Status]:
        """Return what was said lately of each partition of a job by each worker, the oldest first.

        A worker that has given up a partition says no more of it; so soon after, two may have spoken of one.
        """
        live = [status for status in self._of(job) if status.at_ms > now_ms - LIVE_MS]
        return sorted(live, key=lambda status: status.at_ms)

    def _of(self, job: str) -> Iterator[Status]:
        return (status for status in self._newest.values() if status.job == job)


_NOTHING = Report(-1, 0, 0, ready=False)


class StatusFollower:
    """Follows the `status` topic: an async context manager; `board` is as new as the last `read`."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.board = StatusBoard()
        self._kafka = kafka
        self._tp = TopicPartition(kafka.topic("status"), 0)
        self._consumer = AIOKafkaConsumer(enable_auto_commit=False, **client_options(kafka))

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            # Asked for the offsets of a topic that isn't there, the client waits for it.
            if self._tp.topic not in await self._consumer.topics():
                raise no_topic(self._tp.topic)  # noqa: TRY301 - the consumer is stopped below
            self._consumer.assign([self._tp])
            # Named offsets: a seek to "the beginning" can lose against the client's own choice of a start.
            starts = await self._consumer.beginning_offsets([self._tp])
            self._consumer.seek(self._tp, starts[self._tp])
        except BaseException as exc:
            await self._consumer.stop()
            if isinstance(exc, KafkaError | TimeoutError):
                raise await self._unreadable(exc) from exc
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def read(self, wait_seconds: float = 0.2) -> StatusBoard:
        """Take in what has been said, waiting up to so long for something new."""
        try:
            fetched = await self._consumer.getmany(timeout_ms=int(wait_seconds * 1000))
        except KafkaError as exc:
            raise await self._unreadable(exc) from exc
        for messages in fetched.values():
            for message in messages:
                if message.value is not None:
                    self.board.take(records.decode(message.value))
        return self.board

    async def _unreadable(self, error: Exception) -> StoreUnavailable:
        return await unreachable(self._kafka, error, doing=f"reading {self._tp.topic}")
