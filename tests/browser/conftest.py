"""One Chromium and one site full of samples for all browser tests of a session."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright
from tests.browser.chromium import launched
from tests.browser.samples import SAMPLES, fill, fill_operations
from tests.browser.servers import WebProcess, web_process
from tests.unit.store.databases import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return the machine's own Chromium."""
    with sync_playwright() as playwright, launched(playwright) as started:
        yield started


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """A site with one experiment of each state, which no test changes."""
    now_ms = int(time.time() * 1000)
    with web_process(tmp_path_factory.mktemp("site")) as process:
        with open_database(process.database) as engine:
            fill(engine, SAMPLES, now_ms=now_ms)
            fill_operations(engine, watermark_ms=now_ms - 31_000, now_ms=now_ms)
        process.start()
        yield process


@pytest.fixture
def site_of_now(site: WebProcess) -> WebProcess:
    """The same, counted up to now: it falls behind as the session goes on, at some moment in the middle of a test."""
    now_ms = int(time.time() * 1000)
    with open_database(site.database, migrated=False) as engine:
        fill_operations(engine, watermark_ms=now_ms - 1_000, now_ms=now_ms)
    return site
