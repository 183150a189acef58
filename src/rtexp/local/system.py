"""Everything on one machine: broker if none answers, topics, tables, workers; all of it stops at the end."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from rtexp.errors import StoreRefused, StoreUnavailable
from rtexp.kafka.probe import probe
from rtexp.local.broker import prepare, wait_until_it_answers
from rtexp.local.broker_files import BrokerFiles, find_java, find_libs, free_port, this_or_free_port
from rtexp.local.lock import directory_lock
from rtexp.local.supervisor import OWN_NAME, Child, Supervisor
from rtexp.local.topics import create_topics
from rtexp.settings import CONFIG_VARIABLE
from rtexp.store.engine import opened
from rtexp.store.migrate import upgrade
from rtexp.web.address import ALERTS_HOST, read_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from rtexp.settings import Settings

JOBS = ("ingest", "aggregate", "results")
ONE_OF_EACH: Mapping[str, int] = dict.fromkeys(JOBS, 1)

BROKER = "broker"
WEB = "web"
ALERTS = "alerts"
_WORKER_STAGE, _BROKER_STAGE = 0, 1
# A clean stop takes a checkpoint; what can't end in time is killed, and rewinds at the next start.
_WORKER_GRACE_SECONDS = 30.0
_BROKER_GRACE_SECONDS = 20.0


@asynccontextmanager
async def local_system(
    settings: Settings,
    config_path: Path | None,
    *,
    workers: Mapping[str, int] = ONE_OF_EACH,
    on_line: Callable[[str, str], None],
    environ: Mapping[str, str],
    pages: bool = True,
) -> AsyncIterator[Supervisor]:
    """Run broker, workers, the delivery of alerts where targets are set and, with ``pages``, the web application.

    The block begins when topics and tables exist and all of these were started.

    ``workers`` says how many of each job. They read ``config_path`` and ``environ`` again, so those must lead
    to ``settings``. ``on_line`` is the supervisor's. Whatever ends the block, or the start, stops all.

    ConfigError if pages or alerts need a token and have none; AlreadyRunning if another process holds the data
    directory; StoreUnavailable if Kafka or SQL can't be had;
    StateError if topics or tables are not as this version needs them.
    """
    if pages:
        read_token(settings.web, environ)  # better said now, once, than by a child that ends again and again
    if settings.alerts.targets:
        read_token(settings.web, environ, host=settings.alerts.host, key=ALERTS_HOST)
    with directory_lock(settings.data.directory):
        async with Supervisor(on_line) as supervisor:
            await _have_broker(settings, supervisor, on_line, environ)
            made = await create_topics(settings)
            on_line(OWN_NAME, f"topics: {len(made)}, of which {sum(made.values())} are new")
            for raw in sorted({settings.actions.topic, settings.activations.topic}):
                if made[raw] and settings.pipeline.clock == "live":  # else for a replay
                    text = f"your topic {raw} wasn't there: it is made, and empty; is that its name?"
                    on_line(OWN_NAME, text)
            revision = await asyncio.to_thread(_upgrade, settings)
            on_line(OWN_NAME, f"tables: at revision {revision}")
            for child in _workers(settings, config_path, workers, environ):
                supervisor.add(child)
            if pages:
                supervisor.add(_command_child(WEB, lambda: ["web"], config_path, environ))
            if settings.alerts.targets:
                words = partial(_words_of_alerts, settings)
                supervisor.add(_command_child(ALERTS, words, config_path, environ))
            yield supervisor


async def _have_broker(
    settings: Settings,
    supervisor: Supervisor,
    on_line: Callable[[str, str], None],
    environ: Mapping[str, str],
) -> None:
    kafka = settings.kafka
    place = ", ".join(kafka.brokers)
    fault = await probe(kafka)
    if fault is None:
        on_line(OWN_NAME, f"Kafka answers at {place}")
        return
    if not fault.away:
        raise StoreRefused(fault.text)
    local = kafka.local_address()
    if local is None:
        raise StoreUnavailable(
            f"{fault.text}; start it, or set [kafka] brokers to one address of this machine without TLS and login, "
            "such as 127.0.0.1:9092, for one to be started here"
        )
    host, port = local
    files = BrokerFiles(
        settings.data.directory / "kafka", find_libs(environ), find_java(environ), port=port, host=host
    )
    on_line(OWN_NAME, f"no Kafka answers at {place}: starting one, its data and log in {files.directory}")
    await prepare(files)
    supervisor.add(Child(BROKER, files.command, environ, stage=_BROKER_STAGE, grace_s=_BROKER_GRACE_SECONDS))
    await wait_until_it_answers(kafka, lambda: _last_words(supervisor))
    on_line(OWN_NAME, f"Kafka answers at {place}")


def _last_words(supervisor: Supervisor) -> Sequence[str] | None:
    # It would be started again, but what ends at its first start ends at the next as well.
    return supervisor.tail(BROKER) if any(end.name == BROKER for end in supervisor.exits) else None


def _upgrade(settings: Settings) -> str:
    with opened(settings.store, answer_seconds=None) as engine:
        return upgrade(engine).after


def _childs(environ: Mapping[str, str], config_path: Path | None) -> dict[str, str]:
    # Lines must come when they are written, not when a buffer is full.
    childs = {**environ, "PYTHONUNBUFFERED": "1"}
    if config_path is not None:
        childs[CONFIG_VARIABLE] = str(config_path.resolve())
    return childs


def _command_child(
    name: str, words: Callable[[], Sequence[str]], config_path: Path | None, environ: Mapping[str, str]
) -> Child:
    def command() -> Sequence[str]:
        return [sys.executable, "-m", "rtexp", *words()]

    return Child(
        name, command, _childs(environ, config_path), stage=_WORKER_STAGE, grace_s=_WORKER_GRACE_SECONDS
    )


def _words_of_alerts(settings: Settings) -> Sequence[str]:
    # Its own port while nobody else has that, so that what scrapes it needn't look for it.
    return ["alerts", "run", "--port", str(this_or_free_port(settings.alerts.port))]


def _workers(
    settings: Settings, config_path: Path | None, workers: Mapping[str, int], environ: Mapping[str, str]
) -> list[Child]:
    environ = _childs(environ, config_path)
    return [
        Child(
            f"{job}-{number}",
            _worker_command(job, settings.data.directory / "workers" / f"{job}-{number}"),
            environ,
            stage=_WORKER_STAGE,
            grace_s=_WORKER_GRACE_SECONDS,
        )
        for job in JOBS
        for number in range(1, workers.get(job, 1) + 1)
    ]


def _worker_command(job: str, directory: Path) -> Callable[[], Sequence[str]]:
    def command() -> Sequence[str]:
        directory.mkdir(parents=True, exist_ok=True)
        faust = [sys.executable, "-m", "faust", "-A", f"rtexp.apps.{job}", "--datadir", str(directory)]
        web = ["--web-bind", "127.0.0.1", "--web-host", "127.0.0.1", "--web-port", str(free_port())]
        return [*faust, "worker", "-l", "info", *web]

    return command
