"""A Faust app that runs batch agents and forward agents beside Faust's own."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import faust
from click.core import ParameterSource
from faust.app.base import BootStrategy

from rtexp.engine.api import BatchAgent, ForwardAgent, Forwarder, PartitionState, TopicPartition
from rtexp.engine.dispatch import Dispatcher
from rtexp.engine.failstop import die, end_after
from rtexp.engine.logs import limit_client_logs
from rtexp.engine.transport import BatchTransport
from rtexp.engine.worker import EngineWorker
from rtexp.errors import RtexpError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from typing import TextIO

    from rtexp.engine.config import EngineConfig
    from rtexp.engine.sensors import Standing, TaskStatus
    from rtexp.engine.task import PartitionTask

log = logging.getLogger(__name__)

_FAUST_WEB_PORT = 6066
"""Its setting must be a port, even where any will do."""
STOP_SECONDS = 60.0
COLLECT_SECONDS = 30.0
"""Between two runs of the cycle collector: up to 100 ms each, for what is live then."""

MakeState = TypeVar("MakeState", bound="Callable[[int], PartitionState]")


class _Boot(BootStrategy):  # type: ignore[misc]
    """Without what Faust would start beside us.

    Its pages show every table to whoever asks. Its producer has nothing to send, and wouldn't know how to connect to
    a secured broker.
    """

    enable_kafka_producer = False

    def web_server(self) -> Iterable[Any]:
        """Return the server that `EngineApp.serve` was given, if any, to be started before the consumer.

        Faust would start it after the first assignment, when there is no telling any more why that doesn't come.
        """
        service = self.app._web_server_service  # noqa: SLF001 - Faust's app keeps it for its strategy
        return [service] if service is not None and self.app.conf.web_enabled else []


class EngineApp(faust.App):  # type: ignore[misc]  # Faust ships no usable types
    """One job. Declare its agents before it starts.

    ::

    app = EngineApp(config)

    @app.batch_agent(inputs=("clicks",), table="counts-changelog", outputs=("counts",), semantics="1")
    class Count: ...  # a PartitionState; the engine makes one for each partition: Count(partition)
    """

    BootStrategy = _Boot

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.dispatcher = Dispatcher(config)
        self._directory_lock: TextIO | None = None
        self.set_up_logging: Callable[..., None] | None = None
        """Called with a stream and ``level`` when a worker process starts; None: Faust's own way of logging."""
        self.until_usable: Callable[[], Awaitable[None]] | None = None
        """Awaited before any client connects; the RtexpError that it raises ends the worker."""
        super().__init__(
            config.group,
            broker=[f"kafka://{broker}" for broker in config.brokers],
            datadir=str(config.data_directory),
            store="memory://",
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_bind=config.web_bind,
            web_port=config.web_port or _FAUST_WEB_PORT,
            broker_session_timeout=config.session_timeout,
            broker_request_timeout=max(config.request_timeout, config.session_timeout),
            # Faust's own committing and livelock detection have nothing to do here.
            broker_commit_interval=1e9,
            stream_wait_empty=False,
            consumer_auto_offset_reset="none",
            autodiscover=False,
            worker_redirect_stdouts=False,
            Worker=EngineWorker,
        )

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    def batch_agent(
        self,
        *,
        inputs: tuple[str, ...],
        table: str,
        outputs: tuple[str, ...],
        semantics: str,
        name: str | None = None,
    ) -> Callable[[MakeState], MakeState]:
        """Declare a batch agent; the decorated class or function makes the state of one partition.

        Args:
            inputs: topics with equal partition counts, in the order in which a flush applies them.
            table: the changelog topic: compacted, with as many partitions as the inputs.
            outputs: topics that the state sends to; in the declaration for the reader's sake.
            semantics: changes whenever the step, or a setting that it reads, changes what counts.
            name: of the agent; the decorated object's name in lower case otherwise.
        """

        def declare(make: MakeState) -> MakeState:
            agent_name = name or make.__name__.lower()
            self.dispatcher.add_batch_agent(BatchAgent(agent_name, inputs, table, outputs, semantics, make))
            return make

        return declare

    def forward_agent(
        self, forwarder: Forwarder, *, name: str, inputs: tuple[str, ...], outputs: Mapping[str, int]
    ) -> None:
        """Declare a forward agent: ``forwarder`` serves all partitions that this worker gets.

        ``outputs`` are topics, with the partitions that it takes each to have.
        """
        self.dispatcher.add_forward_agent(ForwardAgent(name, inputs, outputs, forwarder))

    async def on_start(self) -> None:
        """Faust's start, then our topics: they have no Faust agent, but are subscribed to all the same."""
        limit_client_logs()
        spare_the_collector()
        self.dispatcher.directory = _data_directory(self.config.data_directory)
        self._lock_directory()
        await self._until_usable()
        await super().on_start()
        self.add_future(collect_now_and_then())
        raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
        for topic in self.dispatcher.topics:
            self.topics.add(self.topic(topic, **raw).clone(is_iterator=True))
        try:
            await self.dispatcher.start()
        except Exception as exc:  # noqa: BLE001 - nothing has been read yet
            die(f"can't start: {exc}")

    async def _until_usable(self) -> None:
        """Once Faust's client is on its way, one that can't connect ends in its tracebacks."""
        if self.until_usable is not None:
            try:
                await self.until_usable()
            except RtexpError as exc:
                die(f"can't start: {exc}")

    def serve(self, service: Any) -> None:
        """Let ``service``, of mode, be the worker's web server in place of Faust's; off by ``--without-web``."""
        self.web_server(service)

    @property
    def web_port(self) -> int:
        """Return the port of `serve`'s service: what ``--web-port`` says, else that of the config; 0: any free one."""
        context = click.get_current_context(silent=True)
        given = (
            context is not None and context.get_parameter_source("web_port") is ParameterSource.COMMANDLINE
        )
        return int(self.conf.web_port) if given or self.config.web_port else 0

    async def on_started_init_web_server(self) -> None:
        """Start nothing more: see `_Boot.web_server`."""

    def _create_directories(self) -> None:
        """Leave Faust's own directory alone: it would be the default one, whatever `--datadir` says."""

    def _lock_directory(self) -> None:
        """Two workers with one data directory would wipe each other's stores."""
        directory = self.dispatcher.directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._directory_lock = (directory / "worker.lock").open("w")
        except OSError as exc:
            die(
                f"the data directory {directory} can't be used ({exc.strerror}): make room there, or give this worker "
                "another one by --datadir"
            )
        try:
            fcntl.flock(self._directory_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            die(
                f"another worker uses {directory}: give each on a machine its own, for example "
                f"`faust -A MODULE --datadir {directory}-2 worker --web-port 6067`"
            )

    async def on_stop(self) -> None:
        """Finish cleanly, within a time: a worker that hangs here would keep others from its partitions."""
        end_after(STOP_SECONDS, "stopping")
        try:
            await self.dispatcher.stop()
        except Exception as exc:  # noqa: BLE001 - what was not saved is read again
            die(f"stopping failed: {exc}", exc)
        await super().on_stop()

    # -- for agents and reporters -------------------------------------------------------------------------

    def tasks(self, agent: str) -> list[PartitionTask]:
        """Return the live tasks of one batch agent on this worker."""
        return self.dispatcher.tasks(agent)

    def all_tasks(self) -> list[PartitionTask]:
        """Return all tasks on this worker, whatever phase they are in, by agent and partition."""
        return self.dispatcher.all_tasks()

    def owns(self, topic: str, partition: int) -> bool:
        """Tell whether a partition is assigned to this worker now."""
        return self.dispatcher.owns(topic, partition)

    async def ends(self, tps: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Ask the broker for the ends of any partitions; only where there are live tasks. KafkaError."""
        return await self.dispatcher.ends(tps)

    @property
    def directory(self) -> Path:
        """Return this worker's data directory; final once the app has started."""
        return self.dispatcher.directory

    def standing(self) -> Standing:
        """Tell what this worker has of its job, and how much of it is live."""
        return self.dispatcher.standing()

    def task_status(self) -> list[TaskStatus]:
        """Say what every task of this worker is doing."""
        return self.dispatcher.status()


def spare_the_collector() -> None:
    """Let Python's cycle collector run when we say so, and not whenever some thousand objects have been made.

    A fetched batch is 10,000 live objects, and none of them in a cycle: looked at again and again while they were
    handed on, they took half of the CPU time of the client's thread.
    """
    gc.collect()
    gc.freeze()
    gc.disable()


async def collect_now_and_then() -> None:
    """Collect what cycles hold (connections that broke, fetched records of a partition that was lost)."""
    while True:
        await asyncio.sleep(COLLECT_SECONDS)
        gc.collect()


def _data_directory(default: Path) -> Path:
    """Return what `faust --datadir` says on the command line, or ``default``.

    Faust imports the app before it handles that option, so the app's own settings never see it.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return default
    root = context.find_root()
    given = root.get_parameter_source("datadir") is ParameterSource.COMMANDLINE
    return Path(root.params["datadir"]) if given else default
