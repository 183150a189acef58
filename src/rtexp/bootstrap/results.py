"""The results job, put together."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from rtexp.agents import merge
from rtexp.agents.publish import INTERVAL_SECONDS, Publisher
from rtexp.agents.publish_source import TaskSource
from rtexp.agents.sync_metadata import MetadataSync
from rtexp.bootstrap.common import engine_config, or_die, report_status
from rtexp.engine.app import EngineApp
from rtexp.engine.pace import Pace
from rtexp.errors import FatalError
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
    engine = make_engine(settings.store)
    check_revision(engine)

    @app.batch_agent(
        name="buckets",
        inputs=(topic("partials"),),
        table=topic("results-buckets-changelog"),
        outputs=(),
        semantics=merge.semantics(settings),
    )
    def state(partition: int) -> merge.MergeState:
        return merge.merge_state(settings, partition)

    sources = _Sources(app)
    publisher = Publisher(engine, sources.current, pace=Pace(INTERVAL_SECONDS))
    send = report_status(app, "results", settings, lambda task: _published(publisher, task))
    metadata = MetadataSync(engine, settings, send)

    async def publish() -> None:
        await or_die("publishing", publisher.run())

    async def sync_metadata() -> None:
        await or_die("syncing metadata", _sync_metadata(app, metadata, settings))

    app.task(publish)
    app.task(sync_metadata)
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


def _published(publisher: Publisher, task: TaskStatus) -> dict[str, int]:
    position = publisher.published.get(task.partition)
    return {} if position is None else {"published": position}
