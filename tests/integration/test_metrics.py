"""What Prometheus scrapes of real workers and of the web application is what they report, and what is in SQL."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import pytest
from aiohttp import ClientSession
from starlette.testclient import TestClient
from tests.faults.cluster import make_settings
from tests.integration.pipelines import Pipeline, action, activation, experiment, now_ms
from tests.unit.metrics.scrapes import Scrape

from rtexp.local.broker_files import free_port
from rtexp.local.status_board import StatusFollower
from rtexp.metrics.definitions import ALERTS, BY_NAME, METRICS
from rtexp.store.engine import opened, reading
from rtexp.store.operations import read_pipeline
from rtexp.web.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from rtexp.records.status import Status
    from rtexp.settings import Settings

pytestmark = pytest.mark.integration

START_MS = 1_420_416_000_000
MINUTE_MS = 60_000
WAIT_SECONDS = 60.0
MOMENTARY = {"rtexp_freshness_seconds", "rtexp_freshness_minute_timestamp_seconds"}
"""Of a live pipeline after a minute; `tests/unit/web/test_metrics.py` has them."""


class Seen(NamedTuple):
    """One moment of a worker, as it tells it in two ways."""

    scrape: Scrape
    statuses: list[Status]


async def see(settings: Settings, job: str) -> Seen:
    """Wait for a moment at which nothing moves, so that what is scraped and what is reported can be compared."""
    give_up = time.monotonic() + WAIT_SECONDS
    async with StatusFollower(settings.kafka) as follower, ClientSession() as client:
        while True:
            assert time.monotonic() < give_up, f"the {job} worker is never at rest"
            before_ms = now_ms()
            found = (await follower.read()).live_partitions(job, before_ms)
            url = found[-1].process.url if found and found[-1].process else ""
            if not url:
                continue
            before = await scraped(client, url)
            while not all(status.at_ms > before_ms for status in found):
                found = (await follower.read()).live_partitions(job, now_ms())
                assert time.monotonic() < give_up, f"the {job} worker says nothing new"
            after = await scraped(client, url)
            if moved(before) == moved(after):
                return Seen(after, found)


async def scraped(client: ClientSession, url: str) -> Scrape:
    async with client.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return Scrape(await answer.read())


def moved(scrape: Scrape) -> list[dict[tuple[str, ...], float]]:
    names = (
        "rtexp_input_position",
        "rtexp_input_held_rows",
        "rtexp_counted_total",
        "rtexp_published_position",
    )
    return [scrape.all(name) for name in names]


def positions(statuses: list[Status]) -> dict[tuple[str, str], int]:
    return {name_of(name): source.position for status in statuses for name, source in status.inputs.items()}


def name_of(name: str) -> tuple[str, str]:
    topic, _, partition = name.rpartition("/")
    return partition, topic


def without_agent(found: Mapping[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    return {labels[1:]: value for labels, value in found.items()}


@pytest.fixture
async def pipeline(broker: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """One worker of each job that has counted some actions, dropped others, and is at rest."""
    settings = make_settings(tmp_path, broker, f"m{uuid4().hex[:8]}", partitions=2, checkpoint_seconds=1.0)
    made = Pipeline(tmp_path / "workers", settings, {"ingest": 1, "aggregate": 1, "results": 1})
    for worker in made.workers.values():
        worker.environ = {**worker.environ, "RTEXP_WEB__WORKER_PORT": str(free_port())}
    try:
        await made.begin([experiment("feed", START_MS)])
        users = [f"u{n}" for n in range(40)]
        sent = [activation(user, "feed", START_MS + n, "control") for n, user in enumerate(users)]
        sent += [action(user, START_MS + MINUTE_MS + n) for n, user in enumerate(users)]
        sent += [action(users[0], START_MS + MINUTE_MS), action(users[1], START_MS + MINUTE_MS + 2, "other")]
        await made.send(sorted(sent, key=lambda r: r.arrival_ms), marker_ms=START_MS + 60 * MINUTE_MS)
        await made.counted()
        yield made
    finally:
        made.stop()


async def test_scrapes_agree_with_what_workers_report_and_with_sql(pipeline: Pipeline) -> None:
    settings = pipeline.settings
    shown: set[str] = set()
    for job in ("ingest", "aggregate", "results"):
        scrape, statuses = await see(settings, job)
        shown |= scrape.names
        assert all(scrape.all("rtexp_task_ready").values())
        assert positions(statuses)
        assert without_agent(scrape.all("rtexp_input_position")) == positions(statuses)
        assert scrape.one("rtexp_broker_up") == 1
        assert scrape.one("rtexp_worker_restarts_total") == 0
        assert scrape.one("rtexp_build_info", {"rtexp_job": job, "worker": statuses[0].worker}) == 1
        counted = {
            (kind, str(status.partition), reason): count
            for status in statuses
            for name, count in status.counters.items()
            for kind, _, reason in [name.partition("/")]
        }
        assert without_agent(scrape.all("rtexp_counted_total")) == counted
        if job == "aggregate":
            assert sum(n for (_, _, reason), n in counted.items() if reason == "repeat") == 1
            assert sum(n for (_, _, reason), n in counted.items() if reason == "untracked") == 1
        if job == "results":
            published = {str(s.partition): s.details["published"] for s in statuses}
            assert {p: v for (p,), v in scrape.all("rtexp_published_position").items()} == published
            assert scrape.all("rtexp_store_up") == {("metadata",): 1, ("operations",): 1, ("publish",): 1}
            assert scrape.one("rtexp_published_rows_total", {"table": "cells"}) >= 2
            assert set(scrape.all("rtexp_unpublished_rows").values()) == {0}

    in_web = await of_the_web_application(settings)
    shown |= in_web.names

    # Nothing is defined that nobody shows, and nothing shown that isn't defined.
    live_only = {"rtexp_published_watermark_timestamp_seconds"}
    waiting_only = {"rtexp_oldest_held_timestamp_seconds"}
    # What only the process of alerts shows is looked at in tests/unit/alerts/test_standing.py.
    expected = {metric.name for metric in METRICS if metric.where != ALERTS}
    assert shown | MOMENTARY | live_only | waiting_only == expected
    assert all(BY_NAME[name].kind for name in shown)


async def test_workers_log_nothing_but_json_where_no_terminal_shows_it(pipeline: Pipeline) -> None:
    await pipeline.board(
        lambda board: any(
            s.details["users"]["checkpoints"] for s in board.live_partitions("aggregate", now_ms())
        )
    )
    for name, worker in pipeline.workers.items():
        lines = [json.loads(line) for line in worker.said.splitlines()]
        assert len(lines) > 10, name
        assert all({"timestamp", "level", "event", "logger", "pid"} <= line.keys() for line in lines)
        assert {line["level"] for line in lines} <= {"info", "warning", "error"}
    counted = [json.loads(line) for line in pipeline.workers["aggregate-1"].said.splitlines()]
    (first, *_) = [line for line in counted if line["event"] == "checkpoint"]
    assert first["agent"] == "users"
    assert first["pages"] > 0


async def of_the_web_application(settings: Settings) -> Scrape:
    """Scrape it once SQL has what was read last of every input."""
    with opened(settings.store) as engine:
        give_up = time.monotonic() + WAIT_SECONDS
        with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
            client.get("/")
            while True:
                with reading(engine) as connection:
                    rows = read_pipeline(connection)
                scrape = Scrape(client.get("/metrics").content)
                found = scrape.all("rtexp_sql_input_lag_offsets")
                expected = {
                    (str(row.partition), row.job, row.input): row.lag for row in rows if row.lag is not None
                }
                if {row.job for row in rows} == {"ingest", "aggregate", "results"} and found == expected:
                    assert scrape.one("rtexp_sql_up") == 1
                    assert len(scrape.all("rtexp_sql_worker_reported_timestamp_seconds")) == 3
                    return scrape
                assert time.monotonic() < give_up, (found, expected)
                await asyncio.sleep(0.2)
