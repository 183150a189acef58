"""What a worker shows at `/metrics`, and of it in its log: its tasks and its process, in results also SQL and looks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from rtexp.agents.own_process import restarts_of
from rtexp.bootstrap.common import worker_name
from rtexp.metrics.exposition import Exposition, Sample
from rtexp.metrics.minute import SECONDS as MINUTE_SECONDS
from rtexp.metrics.minute import Minutes
from rtexp.metrics.tasks import TaskSamples, build_info
from rtexp.worker_web.metrics import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rtexp.agents.evaluate import Evaluator
    from rtexp.agents.freshness import Freshness
    from rtexp.agents.plan_book import PlanBook
    from rtexp.agents.publish import Publisher
    from rtexp.agents.publish_source import TaskSource
    from rtexp.bootstrap.sender import Sender
    from rtexp.engine.app import EngineApp
    from rtexp.metrics.exposition import Samples
    from rtexp.store.availability import Availability
    from rtexp.worker_web.server import WorkerServer

log = structlog.get_logger(__name__)


def show_metrics(server: WorkerServer, app: EngineApp, job: str, sender: Sender, *more: Samples) -> None:
    """Add `/metrics` to what a worker of ``job`` serves, and a line a minute to its log.

    ``more`` is what only this job can say.
    """

    def process() -> Iterator[Sample]:
        worker = worker_name(app.directory)
        yield build_info(job, worker)
        restarts = restarts_of(app.directory)
        if restarts is not None:
            yield Sample("rtexp_worker_restarts_total", (worker,), restarts)
        yield Sample("rtexp_broker_up", (), sender.is_well())

    async def say_each_minute() -> None:
        minutes = Minutes(app.task_status)
        while not app.should_stop:
            await asyncio.sleep(MINUTE_SECONDS)
            for fields in minutes.next():
                log.info("minute", **fields)

    server.add("/metrics", metrics(Exposition([process, TaskSamples(app.task_status), *more])))
    app.task(say_each_minute)


class ResultSamples:
    """What publishing and evaluating count, and how far SQL is."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        evaluator: Evaluator,
        sources: Callable[[], Iterable[TaskSource]],
        book: PlanBook,
        freshness: Freshness | None,
        stores: Mapping[str, Availability],
    ) -> None:
        """``sources`` returns those of live partitions; ``stores`` says, by user of SQL, whether it answers."""
        self._publisher = publisher
        self._evaluator = evaluator
        self._sources = sources
        self._book = book
        self._freshness = freshness
        self._stores = stores

    def __call__(self) -> Iterator[Sample]:
        """Yield them as they are now."""
        published, evaluated = self._publisher.sensors, self._evaluator.sensors
        yield Sample("rtexp_publish_seconds", (), published.seconds, observed=published.rounds)
        yield Sample("rtexp_published_rows_total", ("cells",), published.cells)
        yield Sample("rtexp_published_rows_total", ("looks",), published.looks)
        yield Sample("rtexp_looks_evaluated_total", (), evaluated.looks)
        yield Sample("rtexp_alerts_raised_total", (), evaluated.alerts)
        yield Sample("rtexp_look_cpu_seconds_total", (), evaluated.cpu_seconds)
        if self._book.as_of_ms:
            yield Sample("rtexp_snapshot_timestamp_seconds", ("evaluate",), self._book.as_of_ms / 1000)
        for partition, position in self._publisher.published.items():
            yield Sample("rtexp_published_position", (str(partition),), position)
        for source in self._sources():
            if (state := source.state) is not None:
                waiting = self._evaluator.waiting(state)
                yield Sample("rtexp_looks_waiting", (str(source.partition),), waiting)
        if self._freshness is not None:
            for partition, watermark_ms in self._freshness.watermarks_ms.items():
                labels = (str(partition),)
                yield Sample("rtexp_published_watermark_timestamp_seconds", labels, watermark_ms / 1000)
        for user, store in self._stores.items():
            yield Sample("rtexp_store_up", (user,), store.is_up)
            yield Sample("rtexp_store_failures", (user,), store.failures)
