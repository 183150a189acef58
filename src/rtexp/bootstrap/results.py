"""The results job, put together."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from rtexp.agents import merge
from rtexp.agents.evaluate import Evaluator, Topics
from rtexp.agents.freshness import Freshness
from rtexp.agents.metadata_reader import follow_snapshots
from rtexp.agents.plan_book import PlanBook
from rtexp.agents.publish import INTERVAL_SECONDS, Publisher
from rtexp.agents.publish_source import TaskSource
from rtexp.agents.sync_metadata import MetadataSync
from rtexp.agents.write_operations import WRITE_SECONDS, OperationsWriter, follow_and_write
from rtexp.bootstrap.common import engine_config, or_die, report_status
from rtexp.bootstrap.metrics import ResultSamples, show_metrics
from rtexp.bootstrap.sender import Sender
from rtexp.bootstrap.worker_web import cells_of, serve
from rtexp.engine.app import EngineApp
from rtexp.engine.pace import Pace
from rtexp.errors import FatalError, StoreUnavailable
from rtexp.settings import client_options
from rtexp.store.engine import make_engine
from rtexp.store.migrate import check_revision

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.engine.sensors import TaskStatus
    from rtexp.engine.task import PartitionTask
    from rtexp.settings import Settings

log = structlog.get_logger(__name__)

BECOMES_LEADER_SECONDS = 0.2
"""How soon a worker notices that it is to sync metadata."""


def create(settings: Settings) -> EngineApp:
    """Return the app of `merge`, `publish` and `sync_metadata`. StateError if the tables are of another revision."""
    app = EngineApp(engine_config("results", settings))
    topic = settings.kafka.topic
    topics = Topics(topic("results"), topic("alerts"))
    engine = make_engine(settings.store)
    check_revision(engine)

    @app.batch_agent(
        name="buckets",
        inputs=(topic("partials"),),
        table=topic("results-buckets-changelog"),
        outputs=topics,
        semantics=merge.semantics(settings),
    )
    def state(partition: int) -> merge.MergeState:
        return merge.merge_state(settings, partition)

    sources = _Sources(app)
    freshness = Freshness() if settings.pipeline.clock == "live" else None
    publisher = Publisher(engine, sources.current, pace=Pace(INTERVAL_SECONDS), freshness=freshness)
    book = PlanBook()
    evaluator = Evaluator(book, sources.current, topics)
    published = _Published(publisher, evaluator, sources)

    def details(task: TaskStatus) -> dict[str, Any]:
        delays = freshness.report(task.partition) if freshness else {}
        return {**published.details(task), **({"delays": delays} if delays else {})}

    sender = Sender(partial(client_options, settings.kafka))
    checks = {"broker": sender.is_well, StoreUnavailable.code: lambda: publisher.store.is_up}
    server = serve(app, "results", settings, checks=checks, measure=cells_of)
    report_status(app, "results", settings, details, sender=sender, server=server)
    metadata = MetadataSync(engine, settings, sender.send)
    writer = OperationsWriter(engine)
    stores = {"publish": publisher.store, "metadata": metadata.store, "operations": writer.store}
    samples = ResultSamples(
        publisher=publisher,
        evaluator=evaluator,
        sources=sources.current,
        book=book,
        freshness=freshness,
        stores=stores,
    )
    show_metrics(server, app, "results", sender, samples)

    async def publish() -> None:
        await or_die("publishing", publisher.run())

    async def read_metadata() -> None:
        reading = follow_snapshots(client_options(settings.kafka), topic("ramped-groups"), book.take)
        await or_die("reading metadata", reading)

    async def evaluate() -> None:
        await or_die("evaluating looks", evaluator.run())

    async def sync_metadata() -> None:
        await or_die("syncing metadata", _sync_metadata(app, metadata, settings))

    async def write_operations() -> None:
        writing = _write_operations(app, writer, settings)
        await or_die("writing what the jobs do", writing)

    app.task(publish)
    app.task(read_metadata)
    app.task(evaluate)
    app.task(sync_metadata)
    app.task(write_operations)
    return app


async def _sync_metadata(app: EngineApp, metadata: MetadataSync, settings: Settings) -> None:
    """Poll on the leader: the worker that owns the first partition of partials."""
    partials, poll_seconds = settings.kafka.topic("partials"), settings.metadata.poll_seconds
    while not app.should_stop:
        if not app.owns(partials, 0):
            await asyncio.sleep(min(BECOMES_LEADER_SECONDS, poll_seconds))
            continue
        try:
            await metadata.run_once(int(time.time() * 1000))
        except FatalError as exc:  # ingest waits meanwhile, so nothing is judged wrongly
            log.warning("snapshot_not_sent", error=str(exc))
        await asyncio.sleep(poll_seconds)


async def _write_operations(app: EngineApp, writer: OperationsWriter, settings: Settings) -> None:
    """Write on the leader, as `_sync_metadata` does; nothing counts on it, so it takes its time to begin."""
    topic = settings.kafka.topic

    def is_leader() -> bool:
        return not app.should_stop and app.owns(topic("partials"), 0)

    while not app.should_stop:
        if is_leader():
            await follow_and_write(writer, client_options(settings.kafka), topic("status"), is_leader)
        await asyncio.sleep(WRITE_SECONDS)


class _Sources:
    """One source for each live merge task, kept as long as the task: it remembers what it handed out."""

    def __init__(self, app: EngineApp) -> None:
        self._app = app
        self._sources: dict[PartitionTask, TaskSource] = {}

    def current(self) -> Iterable[TaskSource]:
        """Return the sources of the tasks that are live now."""
        self._sources = {
            task: self._sources.get(task) or TaskSource(task) for task in self._app.tasks("buckets")
        }
        return self._sources.values()


class _Published:
    """Up to where all that the partials say is in SQL: cells, and the looks that were due by then."""

    def __init__(self, publisher: Publisher, evaluator: Evaluator, sources: _Sources) -> None:
        self._publisher = publisher
        self._evaluator = evaluator
        self._sources = sources
        self._positions: dict[int, int] = {}

    def details(self, task: TaskStatus) -> dict[str, int]:
        """Return the position for the report of a task; it stands still while a look is on its way."""
        sources = {source.partition: source for source in self._sources.current()}
        self._positions = {p: position for p, position in self._positions.items() if p in sources}
        position = self._publisher.published.get(task.partition)
        source = sources.get(task.partition)
        if position is not None and source is not None and not self._looks_on_their_way(source):
            self._positions[task.partition] = position
        found = self._positions.get(task.partition)
        return {} if found is None else {"published": found}

    def _looks_on_their_way(self, source: TaskSource) -> bool:
        state = source.state
        return state is None or state.looks.unpublished > 0 or self._evaluator.waiting(state) > 0
