"""Every page in light, dark and on phones: whole, at peace with the console, and for everybody."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.browser.tabs import AXE, open_tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from tests.browser.servers import WebProcess

PAGES = {
    "overview": "/",
    "gain": "/experiments/new-feed",
    "harm": "/experiments/pin-closeup-v3",
    "blocked": "/experiments/checkout-copy",
    "guardrail": "/experiments/quiet-hours",
    "collecting": "/experiments/empty-state-art",
    "final": "/experiments/share-sheet",
    "too little": "/experiments/gift-cards",
    "state": "/state",
    "unknown": "/experiments/nobody",
}
THOROUGHLY = ("overview", "gain", "state")
"""The others differ from these in words, and are opened in one way each."""
WAYS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1360, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1360, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


@pytest.mark.parametrize(
    ("page", "way"), [(page, way) for page in PAGES for way in WAYS if page in THOROUGHLY or way == "phone"]
)
def test_a_page_has_no_fault_and_excludes_nobody(
    browser: Browser, site: WebProcess, page: str, way: str
) -> None:
    with open_tab(browser, site.address, **WAYS[way]) as tab:
        tab.open(PAGES[page])
        assert tab.violations() == []
        # Chromium itself reports the 404 that was asked for.
        assert [fault for fault in tab.faults if page != "unknown" or "404" not in fault] == []


@pytest.mark.parametrize("page", [*THOROUGHLY, "blocked", "unknown"])
def test_a_page_never_scrolls_sideways(browser: Browser, site: WebProcess, page: str) -> None:
    with open_tab(browser, site.address, viewport={"width": 1360, "height": 800}) as tab:
        shown = tab.open(PAGES[page])
        for width in (320, 390, 721, 1080):
            shown.set_viewport_size({"width": width, "height": 800})
            assert shown.evaluate("document.documentElement.scrollWidth") <= width


def test_times_of_other_years_have_room_beside_what_happened_then(browser: Browser, site: WebProcess) -> None:
    with open_tab(browser, site.address) as tab:
        for path in (PAGES["overview"], PAGES["gain"]):
            times = tab.open(path).locator(".events time, .log time")
            assert times.count() > 0
            hidden = "time => { time.textContent = '2015-01-05 01:07'; return time.scrollWidth > time.clientWidth }"
            assert not any(time.evaluate(hidden) for time in times.all())


def test_rules_of_what_was_left_out_can_be_read_on_a_phone(browser: Browser, site: WebProcess) -> None:
    with open_tab(browser, site.address, viewport={"width": 390, "height": 844}) as tab:
        rule = tab.open("/state").locator("[data-live=state-left-out] tbody td:nth-child(3)").first
        assert rule.evaluate("cell => cell.clientWidth") > 120


def test_without_scripts_every_table_and_sentence_stays(browser: Browser, site_of_now: WebProcess) -> None:
    texts = []
    for able in (True, False):
        with open_tab(browser, site_of_now.address, java_script_enabled=able) as tab:
            for path in (PAGES["overview"], PAGES["gain"]):
                page = tab.open(path)
                tables = page.locator("table:visible:not(#charts table)")
                texts.append([page.locator("h1").inner_text(), *tables.all_inner_texts()])
    assert texts[:2] == texts[2:]
    assert all(len(found) > 1 for found in texts)


def test_the_overview_can_be_walked_with_the_keyboard_alone(browser: Browser, site: WebProcess) -> None:
    with open_tab(browser, site.address) as tab:
        page = tab.open("/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == "#main"
        for _ in range(20):
            page.keyboard.press("Tab")
            if "/experiments/" in (page.evaluate("document.activeElement.href || ''")):
                break
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "what has the focus is to be seen"
        name = page.evaluate("document.activeElement.textContent").strip()
        page.keyboard.press("Enter")
        page.wait_for_url("**/experiments/*")
        assert name in page.title()


def test_vendored_files_are_what_the_manifest_says() -> None:
    listed = json.loads(AXE.with_name("manifest.json").read_text(encoding="utf-8"))
    assert {each["file"] for each in listed} == {path.name for path in AXE.parent.glob("*.js")}
    for each in listed:
        assert hashlib.sha256(AXE.with_name(each["file"]).read_bytes()).hexdigest() == each["sha256"]
