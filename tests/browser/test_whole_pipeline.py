"""A page beside a whole pipeline: what is sent to the broker changes what a browser shows, with nothing in between."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from tests.brokers import PrivateBroker
from tests.browser.servers import WebProcess, web_process
from tests.browser.tabs import open_tab
from tests.browser.test_every_page import WAYS
from tests.faults.cluster import make_settings
from tests.integration.pipelines import Pipeline, action, activation, experiment

from rtexp.settings import StatisticsSettings
from rtexp.statistics.plans import DecisionMetric
from rtexp.store import own_plans
from rtexp.store.engine import opened, reading
from rtexp.store.looks import read_newest_looks

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from rtexp.local.raw_records import RawRecord
    from rtexp.settings import Settings

NAME = "heavier-page"
START_MS = 1_420_416_000_000
HOUR_MS, MINUTE_MS = 3_600_000, 60_000
SOON_MS = 30_000
"""How long a busy machine may take from a record to a page."""


class Elsewhere:
    """Runs what needs an event loop of its own: the browser's has the main thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        self._thread.submit(asyncio.run, work).result()

    @contextmanager
    def broker(self, directory: Path) -> Iterator[str]:
        broker = PrivateBroker(directory)
        self._thread.submit(broker.start).result()
        try:
            yield broker.address
        finally:
            self._thread.submit(broker.stop).result()


def searching(first_user: int, hour: int, shares: tuple[float, float]) -> list[RawRecord]:
    """2,000 users who are let in as an hour begins, and of whom these shares of control and treatment search in it."""
    chance = random.Random(hour)
    start_ms = START_MS + hour * HOUR_MS
    users = range(first_user, first_user + 2000)
    groups = ("control", "treatment")
    let_in = [
        activation(f"u{n}", NAME, start_ms + at_ms, groups[n % 2]) for at_ms, n in enumerate(users, start=1)
    ]
    acting = [n for n in users if chance.random() < shares[n % 2]]
    times = sorted((start_ms + chance.randrange(MINUTE_MS, HOUR_MS), n) for n in acting)
    return let_in + [action(f"u{n}", at_ms) for at_ms, n in times]


def users_of_the_newest_look(settings: Settings) -> int:
    with opened(settings.store) as engine, reading(engine) as connection:
        row = next(row for row in read_newest_looks(connection, experiment=NAME) if row.event == "search")
    return row.n_control + row.n_treatment


@dataclasses.dataclass
class Running:
    """A pipeline in which the period has just begun, and a site that shows it."""

    elsewhere: Elsewhere
    pipeline: Pipeline
    site: WebProcess

    def send(self, records: list[RawRecord], *, hour: int) -> None:
        """Send, and say that nothing earlier than some minutes after the end of ``hour`` will follow."""
        marker_ms = START_MS + (hour + 1) * HOUR_MS + 3 * MINUTE_MS
        self.elsewhere.run(self.pipeline.send(records, marker_ms=marker_ms))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    elsewhere = Elsewhere()
    with elsewhere.broker(tmp_path / "kafka") as broker, web_process(tmp_path) as site:
        settings = make_settings(
            tmp_path, broker, "seen", partitions=1, store=site.database.settings
        ).model_copy(update={"statistics": StatisticsSettings(look_every_hours=0.5, spending="pocock")})
        plan = own_plans.encoded(
            own_plans.OwnPlan(decision=(DecisionMetric("search", "propensity"),), good={"search": "up"})
        )
        harmful = dataclasses.replace(experiment(NAME, START_MS), plan=plan)
        pipeline = Pipeline(tmp_path / "workers", settings, {"ingest": 1, "aggregate": 1, "results": 1})
        try:
            elsewhere.run(pipeline.begin([harmful]))
            site.start()
            yield Running(elsewhere, pipeline, site)
        finally:
            pipeline.stop()


def test_a_verdict_flips_on_the_page_when_it_flips_in_the_data(browser: Browser, running: Running) -> None:
    site = running.site
    with open_tab(browser, site.address) as tab, open_tab(browser, site.address) as other:
        overview = other.open("/")
        row = overview.locator(f"tr[data-live='row:{NAME}']")
        expect(row).to_contain_text("Collecting")
        page = tab.open(f"/experiments/{NAME}")
        page.evaluate("window.untouched = true")
        headline, users = page.locator("h1"), page.locator("[data-fact=users]")

        running.send(searching(0, 0, (0.3, 0.3)), hour=0)
        expect(headline).to_have_text("No difference in search propensity shown yet", timeout=SOON_MS)
        expect(row).to_contain_text("No difference shown yet", timeout=SOON_MS)
        expect(users).to_have_text("2,000", timeout=SOON_MS)

        running.send(searching(2000, 1, (0.5, 0.1)), hour=1)
        drop = re.compile("^A drop in search propensity: \N{MINUS SIGN}[0-9.]+% under treatment$")
        expect(headline).to_have_text(drop, timeout=SOON_MS)
        expect(row).to_contain_text("Significant drop", timeout=SOON_MS)
        expect(users).to_have_text("4,000", timeout=SOON_MS)
        expect(page).to_have_title(re.compile("^\N{BLACK DOWN-POINTING TRIANGLE} "))
        assert users_of_the_newest_look(running.pipeline.settings) == 4000
        assert page.evaluate("window.untouched"), "it was loaded once"
        assert (tab.faults, other.faults) == ([], [])

        site.kill()
        expect(page.locator("[data-word]")).to_have_text("Reconnecting", timeout=SOON_MS)
        running.send(searching(4000, 2, (0.5, 0.1)), hour=2)
        site.start()
        expect(users).to_have_text("6,000", timeout=SOON_MS)
        expect(page.locator("[data-word]")).to_have_text("Live", timeout=SOON_MS)
        assert page.evaluate("window.untouched"), "it came back by itself"

    for path, ways in product(("/", f"/experiments/{NAME}", "/state"), WAYS.values()):
        with open_tab(browser, site.address, **ways) as tab:
            tab.open(path)
            assert (path, tab.violations(), tab.faults) == (path, [], [])
