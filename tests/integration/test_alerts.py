"""Alerts from the topics of a real broker to real receivers, by a process that is killed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import re
import signal
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from tests.alert_receivers import every, receiver
from tests.brokers import PrivateBroker
from tests.faults.cluster import make_settings
from tests.integration.pipelines import Pipeline, action, activation, experiment, now_ms
from tests.unit.alerts.told import alert
from tests.unit.metrics.scrapes import Scrape

from rtexp.alerts import watch, watching
from rtexp.alerts.running import deliver
from rtexp.local.topics import create_topics
from rtexp.settings import AlertSettings, StatisticsSettings, Target, WebSettings, as_toml
from rtexp.store import own_plans
from rtexp.store.engine import opened, reading, writing
from rtexp.store.looks import read_looks
from rtexp.store.migrate import upgrade
from rtexp.store.operations import WorkerRow, upsert_workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from tests.alert_receivers import Receiver

    from rtexp.local.raw_records import RawRecord
    from rtexp.settings import Settings

pytestmark = pytest.mark.integration

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
START_MS = 1_420_416_000_000


def webhook(directory: Path, name: str, taker: Receiver, kind: str = "webhook") -> Target:
    path = directory / f"{name}-url"
    path.write_text(taker.url)
    return Target(name=name, kind=kind, url_file=path)  # type: ignore[arg-type]


def alert_settings(directory: Path, broker: str, *targets: Target, **changes: Any) -> Settings:
    made = make_settings(directory, broker, f"l{uuid4().hex[:8]}", partitions=1)
    alerts = AlertSettings(targets=targets, stopped_minutes=0.0, port=0).model_copy(update=changes)
    web = WebSettings(public_url="https://ab.example.org")
    return made.model_copy(update={"alerts": alerts, "web": web})


async def prepared(settings: Settings) -> None:
    await create_topics(settings)
    with opened(settings.store) as engine:
        upgrade(engine)


async def tell(settings: Settings, ids: Iterable[str]) -> None:
    """Write alerts as the results job does: each in a transaction, which takes an offset of its own."""
    producer = AIOKafkaProducer(
        bootstrap_servers=list(settings.kafka.brokers), transactional_id=f"{settings.kafka.prefix}-test"
    )
    await producer.start()
    try:
        for one in ids:
            async with producer.transaction():
                value = json.dumps(as_fields(one)).encode()
                await producer.send_and_wait(settings.kafka.topic("alerts"), value, key=b"x", partition=0)
    finally:
        await producer.stop()


def as_fields(id_: str) -> dict[str, Any]:
    made = alert(id=id_)
    return {name: getattr(made, name) for name in made.__struct_fields__}


class AlertsProcess:
    """`rtexp alerts run`, killed and started at will."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self.config = directory / "alerts.toml"
        self.config.write_text(as_toml(settings))
        self.log = directory / "alerts.log"
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("RTEXP_")}
        self.environ["PYTHONUNBUFFERED"] = "1"
        self.process: asyncio.subprocess.Process | None = None

    async def command(self, *words: str) -> tuple[int, str]:
        process = await self._start(words, asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()

    async def start(self) -> None:
        """Return once it delivers."""
        before = self.said.count("delivering")
        with self.log.open("ab") as log:
            self.process = await self._start(("run",), log.fileno())
        async with asyncio.timeout(60):
            while self.said.count("delivering") == before:
                assert self.process.returncode is None, self.said
                await asyncio.sleep(0.05)

    async def _start(self, words: Iterable[str], out: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rtexp", "--config", str(self.config), "alerts", *words),
            env=self.environ,
            stdout=out,
            stderr=asyncio.subprocess.STDOUT,
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.process.wait()

    @property
    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    async def ask(self, path: str) -> tuple[int, str]:
        """Ask where it last said that it serves."""
        url = re.findall(r"health and metrics at (http://[0-9.:]+)", self.said)[-1]
        async with aiohttp.ClientSession() as session, session.get(url + path) as given:
            return given.status, await given.text()

    async def is_ready(self, *reasons: str) -> dict[str, Any]:
        """Return what it says of its health, once that is for these reasons; without any, that it is ready."""
        async with asyncio.timeout(60):
            while True:
                status, text = await self.ask("/health/ready")
                said: dict[str, Any] = json.loads(text)
                if said["reasons"] == list(reasons):
                    assert status == (503 if reasons else 200)
                    return said
                await asyncio.sleep(0.05)


@asynccontextmanager
async def alerts_process(directory: Path, settings: Settings) -> AsyncIterator[AlertsProcess]:
    made = AlertsProcess(directory, settings)
    try:
        await made.start()
        yield made
    finally:
        await made.end(signal.SIGKILL)


async def test_a_receiver_that_fails_five_times_gets_each_alert_in_order_and_holds_up_no_other(
    broker: str, tmp_path: Path
) -> None:
    async with receiver() as failing, receiver() as other:
        failing.script = [(503, {})] * 5
        targets = webhook(tmp_path, "failing", failing), webhook(tmp_path, "other", other, "slack")
        settings = alert_settings(tmp_path, broker, *targets)
        await prepared(settings)
        await tell(settings, ["long-ago"])
        async with alerts_process(tmp_path, settings) as process:
            ids = [f"a{n}" for n in range(6)]
            await tell(settings, ids)
            assert [request.key for request in await other.has(6)] == ids
            assert len(failing.requests) < 5, "the one that fails is waited for by nobody else"
            taken = await failing.has(6)
            assert [request.key for request in taken] == ids, (
                "what was told before the target was there is no news"
            )
            assert [request.key for request in failing.requests] == ["a0"] * 5 + ids
            assert await process.end() == 0
            for taker in (failing, other):
                assert taker.url.rpartition("/")[2] not in process.said, "an address is a secret"
        assert taken[0].body["link"].startswith("https://ab.example.org/experiments/heavier-page?")


async def test_a_target_that_fails_is_told_by_name_until_it_takes_an_alert(
    broker: str, tmp_path: Path
) -> None:
    async with receiver() as failing, receiver() as other:
        failing.script = [(503, {})] * 3
        targets = webhook(tmp_path, "failing", failing), webhook(tmp_path, "other", other)
        settings = alert_settings(tmp_path, broker, *targets)
        await prepared(settings)
        async with alerts_process(tmp_path, settings) as process:
            await process.is_ready()
            await tell(settings, ["a"])
            said = await process.is_ready("target:failing")
            assert list(said["failing"]) == ["failing"]
            await failing.has(1)
            await process.is_ready()
            _, text = await process.ask("/metrics")
            scrape = Scrape(text.encode())
            assert scrape.all("rtexp_alerts_delivered_total") == {("failing",): 1, ("other",): 1}
            assert scrape.all("rtexp_alerts_delayed_total") == {("failing",): 3, ("other",): 0}
            assert scrape.all("rtexp_alerts_pending") == {("failing",): 0, ("other",): 0}
            assert (scrape.one("rtexp_broker_up"), scrape.one("rtexp_store_up")) == (1, 1)


async def test_a_broker_that_is_away_is_told_and_so_is_that_it_is_back(tmp_path: Path) -> None:
    own = PrivateBroker(tmp_path / "kafka")
    await asyncio.to_thread(own.start)
    try:
        async with receiver() as taker:
            settings = alert_settings(tmp_path, own.address, webhook(tmp_path, "ops", taker))
            await prepared(settings)
            async with alerts_process(tmp_path, settings) as process:
                await process.is_ready()
                await asyncio.to_thread(own.kill)
                await process.is_ready("broker")
                assert (await process.ask("/health/live"))[0] == 200
                await asyncio.to_thread(own.start)
                await process.is_ready()
    finally:
        await asyncio.to_thread(own.stop)


async def test_whenever_the_process_is_killed_each_alert_comes_in_order_under_its_key(
    broker: str, tmp_path: Path
) -> None:
    chance = random.Random(4711)
    async with receiver() as taker:
        settings = alert_settings(tmp_path, broker, webhook(tmp_path, "ops", taker))
        await prepared(settings)
        ids = [f"a{n}" for n in range(30)]
        async with alerts_process(tmp_path, settings) as process:
            kills = 0

            def kill_sometimes() -> None:
                # The request has come, and its position can't have been kept.
                nonlocal kills
                if chance.random() < 0.25:
                    process.kill()
                    kills += 1

            taker.before_answer = kill_sometimes
            await tell(settings, ids)
            async with asyncio.timeout(120):
                while ids[-1] not in {request.key for request in taker.requests}:
                    assert process.process is not None
                    if process.process.returncode is not None:
                        await process.start()
                    await asyncio.sleep(0.02)
        keys = [request.key for request in taker.requests]
        assert kills >= 3
        assert every(keys) == ids, "each at least once, the first times in order"
        assert len(ids) < len(keys) <= len(ids) + kills, "what was cut off came again, and nothing else"
        assert all(request.body["idempotency_key"] == request.key for request in taker.requests)


async def test_what_is_held_and_what_went_ahead_outlive_a_kill(broker: str, tmp_path: Path) -> None:
    async with receiver() as taker:
        # It is always quiet but for one minute that isn't now.
        wall = time.gmtime(time.time() + 12 * 3600)
        quiet = f"{wall.tm_hour:02}:01-{wall.tm_hour:02}:00"
        settings = alert_settings(tmp_path, broker, webhook(tmp_path, "ops", taker), quiet=quiet)
        await prepared(settings)
        async with alerts_process(tmp_path, settings) as process:
            producer = AIOKafkaProducer(bootstrap_servers=list(settings.kafka.brokers))
            await producer.start()
            gain = as_fields("gain") | {"kind": "significant_gain", "means": "good"}
            await producer.send_and_wait(
                settings.kafka.topic("alerts"), json.dumps(gain).encode(), partition=0
            )
            await producer.stop()
            await tell(settings, ["drop"])
            assert [request.key for request in await taker.has(1)] == ["drop"]
            code, out = await process.command("list", "--json")
            (backlog,) = json.loads(out)
            assert (code, backlog["pending"], backlog["has_begun"]) == (0, 1, True)
            assert backlog["oldest_ms"] <= now_ms()
            process.kill()
            await process.end()
            await process.start()
            await tell(settings, ["drop-2"])
            assert [request.key for request in await taker.has(2)] == ["drop", "drop-2"]
            await process.end()
            process.config.write_text(as_toml(settings).replace(quiet, ""))
            await process.start()
            assert [request.key for request in await taker.has(3)] == ["drop", "drop-2", "gain"]


async def test_what_a_receiver_refuses_is_listed_and_the_next_one_comes(broker: str, tmp_path: Path) -> None:
    async with receiver() as taker:
        settings = alert_settings(tmp_path, broker, webhook(tmp_path, "ops", taker))
        await prepared(settings)
        async with alerts_process(tmp_path, settings) as process:
            taker.script = [(404, {})]
            await tell(settings, ["refused", "taken"])
            assert [request.key for request in await taker.has(1)] == ["taken"]
            code, out = await process.command("list", "--json")
            (backlog,) = json.loads(out)
            (lost,) = backlog["undelivered"]
            assert (code, backlog["pending"]) == (0, 0)
            assert (lost["id"], lost["reason"], lost["experiment"]) == ("refused", "HTTP 404", "heavier-page")
            code, out = await process.command("list")
            assert code == 0
            assert out.startswith("ops (webhook): 0 to come; 1 not taken\n")
            second = AlertsProcess(tmp_path, settings)
            code, out = await second.command("run")
            assert (code, "already running" in out) == (1, True), "two would send everything twice"


async def test_a_stopped_pipeline_is_told_once_over_restarts_and_so_is_its_end(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "WELL_MS", 300)
    monkeypatch.setattr(watching, "SECONDS", 0.1)
    async with receiver() as taker:
        target = webhook(tmp_path, "ops", taker)
        settings = alert_settings(tmp_path, broker, target, stopped_minutes=0.01)
        await prepared(settings)
        running = asyncio.create_task(deliver(settings))
        (request,) = await taker.has(1)
        assert (request.body["kind"], request.body["record"]["job"]) == ("stopped", "results")
        assert "No worker of results has reported" in request.body["title"]
        await cancelled(running)
        running = asyncio.create_task(deliver(settings))
        with opened(settings.store) as engine:
            for number in range(8):  # it must stay well for a while
                with writing(engine) as connection:
                    rows = [
                        WorkerRow(job, job, "", 1, 1, number, 1, 1.0, now_ms() + 60_000) for job in watch.JOBS
                    ]
                    upsert_workers(connection, rows)
                await asyncio.sleep(0.1)
        found = await taker.has(2)
        await cancelled(running)
        assert [request.body["kind"] for request in found] == ["stopped", "stopped_over"]


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_drop_in_the_data_reaches_the_receiver_within_ten_seconds_of_its_look(
    broker: str, tmp_path: Path
) -> None:
    async with receiver() as taker, receiver() as slack:
        targets = webhook(tmp_path, "ops", taker), webhook(tmp_path, "team", slack, "slack")
        settings = alert_settings(tmp_path, broker, *targets).model_copy(
            update={"statistics": StatisticsSettings(look_every_hours=0.25, spending="pocock")}
        )
        made = Pipeline(tmp_path / "workers", settings, {"ingest": 1, "aggregate": 1, "results": 1})
        plan = own_plans.encoded(own_plans.OwnPlan(good={"search": "up"}))
        harmful = dataclasses.replace(experiment("heavier-page", START_MS), plan=plan)
        try:
            await made.begin([harmful])
            async with alerts_process(tmp_path, settings):
                await made.send(users_and_actions(), marker_ms=START_MS + 2 * HOUR_MS)
                await slack.has(1)
                came_ms = now_ms()
                told = (await taker.has(1))[0].body
                await made.counted()  # an alert may be there before its look is in SQL
        finally:
            made.stop()
    record = told["record"]
    assert (record["kind"], record["means"], told["critical"]) == ("significant_drop", "bad", True)
    assert (record["experiment"], record["group"], record["event"]) == ("heavier-page", "treatment", "search")
    assert "This harms" in told["text"]
    took_ms = came_ms - record["evaluated_ms"]
    print(f"{took_ms} ms from the look to both receivers")  # noqa: T201 - a figure for people
    assert took_ms <= 10_000
    rows = {(row["look"], row["event"], row["metric"]): row for row in stored_looks(settings)}
    row = rows[record["look"], record["event"], record["metric"]]
    assert (row["lift"], row["n_treatment"]) == (record["lift"], record["users_treatment"])


def users_and_actions() -> list[RawRecord]:
    """2,000 users, of whom half of control's search and a fifth of treatment's, within the first quarter hours."""
    chance = random.Random(7)
    records = [
        activation(f"u{n}", "heavier-page", START_MS + n, ("control", "treatment")[n % 2])
        for n in range(2000)
    ]
    searching = [n for n in range(2000) if chance.random() < (0.5, 0.2)[n % 2]]
    times = sorted((START_MS + chance.randrange(MINUTE_MS, HOUR_MS), n) for n in searching)
    return records + [action(f"u{n}", at_ms) for at_ms, n in times]


def stored_looks(settings: Settings) -> list[dict[str, Any]]:
    with opened(settings.store) as engine, reading(engine) as connection:
        return [row._asdict() for row in read_looks(connection, experiment="heavier-page")]
