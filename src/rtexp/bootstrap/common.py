"""What all jobs are made of: the engine's settings, and a report of status."""

from __future__ import annotations

import asyncio
import socket
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

from rtexp.agents.own_process import OwnProcess
from rtexp.agents.report_status import StatusReporter
from rtexp.engine.config import EngineConfig
from rtexp.engine.failstop import die
from rtexp.errors import RtexpError
from rtexp.settings import client_options, security_options

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from rtexp.bootstrap.sender import Sender
    from rtexp.engine.app import EngineApp
    from rtexp.engine.sensors import TaskStatus
    from rtexp.settings import Settings
    from rtexp.worker_web.server import WorkerServer

STATUS_SECONDS = 0.5


def engine_config(job: str, settings: Settings) -> EngineConfig:
    """Translate settings into what the engine wants to be told."""
    client_options(settings.kafka)  # a file that can't be read is better told of now than by a task
    pipeline = settings.pipeline
    return EngineConfig(
        group=f"{settings.kafka.prefix}-{job}",
        brokers=settings.kafka.brokers,
        data_directory=settings.data.directory / "workers" / job,
        web_bind=settings.web.worker_host,
        web_port=settings.web.worker_port,
        connection=partial(security_options, settings.kafka),
        flush_interval=pipeline.flush_interval_ms / 1000,
        flush_rows=pipeline.flush_rows,
        checkpoint_interval=pipeline.checkpoint_seconds,
        session_timeout=settings.kafka.session_timeout_seconds,
    )


def report_status(
    app: EngineApp,
    job: str,
    settings: Settings,
    details: Callable[[TaskStatus], Mapping[str, Any]],
    *,
    sender: Sender,
    server: WorkerServer,
) -> None:
    """Make the worker report through ``sender``, which is closed when the worker stops."""

    async def report() -> None:
        # Made here, as the data directory is final only once the app has started.
        process = OwnProcess(app.directory, lambda: server.url)
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


def worker_name(directory: Path) -> str:
    """Return what a worker with this data directory is called in its reports; the same after a restart."""
    return f"{socket.gethostname()}-{zlib.crc32(str(directory.resolve()).encode()):08x}"


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
