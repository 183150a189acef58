"""Logging in, and out again by the bar of the pages, on screens and phones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.browser.samples import SAMPLES, fill, fill_operations
from tests.browser.servers import WebProcess, web_process
from tests.browser.tabs import open_tab
from tests.unit.store.databases import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, FloatRect

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """A site with samples that asks for a token."""
    now_ms = int(time.time() * 1000)
    with web_process(tmp_path_factory.mktemp("guarded")) as process:
        with open_database(process.database) as engine:
            fill(engine, SAMPLES, now_ms=now_ms)
            fill_operations(engine, watermark_ms=now_ms - 31_000, now_ms=now_ms)
        process.environ["RTEXP_WEB_TOKEN"] = TOKEN
        process.start()
        yield process


@pytest.mark.parametrize("able", [True, False], ids=["scripts", "no scripts"])
@pytest.mark.parametrize("width", [320, 390, 800, 1360])
def test_who_has_logged_in_finds_the_way_out(
    browser: Browser, guarded: WebProcess, width: int, *, able: bool
) -> None:
    with open_tab(
        browser, guarded.address, viewport={"width": width, "height": 844}, java_script_enabled=able
    ) as tab:
        page = tab.open("/")
        way_out = page.get_by_role("button", name="Log out")
        assert way_out.count() == 0
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("heading", level=1).wait_for()
        for path in ("/", "/experiments/new-feed", "/state"):
            tab.open(path)
            box = way_out.bounding_box()
            assert box
            assert (box["x"] >= 0, box["x"] + box["width"] <= width) == (True, True)
            if able:
                page.locator(".live").wait_for()
                assert page.evaluate("document.documentElement.scrollWidth") <= width
            boxes = [
                other.bounding_box()
                for other in page.locator(
                    ".top nav a:visible, .top .until:visible span, .top .live:visible"
                ).all()
            ]
            assert len(boxes) >= 2
            assert not [other for other in boxes if other and overlap(other, box)]
        way_out.click()
        page.get_by_label("Token").wait_for()
        assert way_out.count() == 0


def overlap(one: FloatRect, other: FloatRect) -> bool:
    return (
        one["x"] < other["x"] + other["width"]
        and other["x"] < one["x"] + one["width"]
        and one["y"] < other["y"] + other["height"]
        and other["y"] < one["y"] + one["height"]
    )
