"""Write docs/images/*.png: the pages over the samples, as the README shows them. `make screenshots`."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Browser, expect, sync_playwright
from tests.browser.chromium import launched
from tests.browser.samples import SAMPLES, fill, fill_operations
from tests.browser.servers import WebProcess, web_process
from tests.browser.tabs import open_tab
from tests.unit.store.databases import open_database

from rtexp.store.engine import writing
from rtexp.store.operations import (
    FreshnessRow,
    PipelineRow,
    WorkerRow,
    upsert_freshness,
    upsert_pipeline,
    upsert_workers,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 300_000
MINUTE_MS = 60_000
SHOTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "overview": ("/", {"viewport": {"width": 1280, "height": 900}}, 1240),
    "experiment": ("/experiments/new-feed", {"viewport": {"width": 1280, "height": 900}}, 1600),
    "experiment-dark": (
        "/experiments/new-feed",
        {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
        1600,
    ),
    "state": ("/state", {"viewport": {"width": 1280, "height": 900}}, 1180),
    "overview-phone": ("/", {"viewport": {"width": 390, "height": 844}}, 844),
    "experiment-phone": ("/experiments/new-feed", {"viewport": {"width": 390, "height": 844}}, 844),
}
"""By name: address, context, and height in pixels from the top."""


def report(engine: Engine, now_ms: int) -> None:
    """Write an hour of freshness, what ingest has read, and a worker of each job."""
    chance = random.Random(6)
    minute_ms = now_ms // MINUTE_MS * MINUTE_MS
    with writing(engine) as connection:
        upsert_freshness(
            connection,
            [
                FreshnessRow(
                    minute_ms - ago * MINUTE_MS,
                    12_900 + chance.randrange(300),
                    14_600 + chance.randrange(1_500),
                )
                for ago in range(60)
            ],
        )
        upsert_pipeline(
            connection,
            [
                PipelineRow(
                    "ingest", topic, partition, "ingest-1", 91_000, 12, now_ms - 2_000, 0, 0, 0, now_ms
                )
                for topic in ("actions", "activations")
                for partition in range(4)
            ],
        )
        upsert_workers(
            connection,
            [
                WorkerRow(f"{job}-1", job, "", 8, now_ms - 26 * 60 * MINUTE_MS, 0, rss, cpu_seconds, now_ms)
                for job, rss, cpu_seconds in (
                    ("ingest", 101_000_000, 8_400.0),
                    ("aggregate", 154_000_000, 12_100.0),
                    ("results", 178_000_000, 5_300.0),
                )
            ],
        )


def take(browser: Browser, site: WebProcess, name: str) -> None:
    """Write one picture, once the page is live and its charts are drawn."""
    path, context, height = SHOTS[name]
    with open_tab(browser, site.address, reduced_motion="reduce", **context) as tab:
        page = tab.open(path)
        expect(page.locator("[data-word]")).to_have_text("Live")
        if "experiments" in path:
            expect(page.locator("#charts")).to_be_visible()
            page.wait_for_timeout(500)  # for the fonts of the canvas
        expect(page.locator(".fresh")).to_have_count(0)
        width = context["viewport"]["width"]
        file = IMAGES / f"{name}.png"
        page.screenshot(path=file, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
        if name == "experiment":
            page.locator("#charts").screenshot(path=IMAGES / "charts.png")
        size = file.stat().st_size
        assert size <= MOST_BYTES, f"{file} has {size} bytes: show less of the page"


def main() -> None:
    """Fill a database, serve it, and take all pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, web_process(Path(directory)) as site:
        with open_database(site.database) as engine:
            now_ms = int(time.time() * 1000)
            fill(engine, SAMPLES, now_ms=now_ms)
            now_ms = int(time.time() * 1000)
            fill_operations(engine, watermark_ms=now_ms - 14_000, now_ms=now_ms)
            report(engine, now_ms)
        site.start()
        with sync_playwright() as playwright, launched(playwright) as browser:
            for name in SHOTS:
                take(browser, site, name)


if __name__ == "__main__":
    main()
