"""What all jobs are made of: the engine's settings, a report of status, a producer for low-volume records."""

from __future__ import annotations

import asyncio
import socket
import zlib
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from rtexp.agents.own_process import OwnProcess
from rtexp.agents.report_status import StatusReporter
from rtexp.engine.config import EngineConfig
from rtexp.engine.failstop import die
from rtexp.errors import FatalError, RtexpError
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from rtexp.engine.api import Output
    from rtexp.engine.app import EngineApp
    from rtexp.engine.sensors import TaskStatus
    from rtexp.settings import Settings

STATUS_SECONDS = 0.5


def engine_config(job: str, settings: Settings) -> EngineConfig:
    """Translate settings into what the engine wants to be told."""
    connection = client_options(settings.kafka)
    brokers = tuple(connection.pop("bootstrap_servers"))
    pipeline = settings.pipeline
    return EngineConfig(
        group=f"{settings.kafka.prefix}-{job}",
        brokers=brokers,
        data_directory=settings.data.directory / "workers" / job,
        connection=connection,
        flush_interval=pipeline.flush_interval_ms / 1000,
        flush_rows=pipeline.flush_rows,
        checkpoint_interval=pipeline.checkpoint_seconds,
        session_timeout=settings.kafka.session_timeout_seconds,
    )


def report_status(
    app: EngineApp, job: str, settings: Settings, details: Callable[[TaskStatus], Mapping[str, Any]]
) -> Callable[[Output], Coroutine[Any, Any, None]]:
    """Make the worker report; return how to send a record outside of transactions."""
    sender = _Sender(client_options(settings.kafka))

    async def report() -> None:
        # Made here, as the data directory is final only once the app has started.
        process = OwnProcess(app.directory, _url(app))
        reporter = StatusReporter(
            job=job,
            worker=worker_name(app.directory),
            topic=settings.kafka.topic("status"),
            tasks=app.task_status,
            details=details,
            send=sender.send,
            process=process.measure,
        )
        while not app.should_stop:
            await reporter.run_once()
            await asyncio.sleep(STATUS_SECONDS)

    async def close(_app: Any, **_kwargs: Any) -> None:
        await sender.close()

    app.task(report)
    app.on_before_shutdown.connect(close, weak=False)
    return sender.send


def _url(app: EngineApp) -> str:
    """Return where the worker serves pages; empty while its app has no web server."""
    return str(app.conf.canonical_url) if app.boot_strategy.enable_web else ""


def worker_name(directory: Path) -> str:
    """Return what a worker with this data directory is called in its reports; the same after a restart."""
    return f"{socket.gethostname()}-{zlib.crc32(str(directory.resolve()).encode()):08x}"


class _Sender:
    """A plain producer for low-volume records; connects when first used. FatalError if a record can't be delivered."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def send(self, out: Output) -> None:
        try:
            producer = await self._connected()
            await producer.send_and_wait(out.topic, out.value, key=out.key, partition=out.partition)
        except (KafkaError, TimeoutError) as exc:
            raise FatalError(f"{out.topic} can't be written: {exc!r}") from exc

    async def _connected(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._options, compression_type="gzip", max_request_size=8 << 20, acks="all"
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()


async def or_die(what: str, work: Coroutine[Any, Any, None]) -> None:
    """Await a loop that is to run for good; the worker ends when it does by an error."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except RtexpError as exc:
        die(f"{what}: {exc}")
    except Exception as exc:  # noqa: BLE001 - a loop that has ended quietly would look like health
        die(f"{what} failed", exc)
