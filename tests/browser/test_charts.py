"""The charts of an experiment: what they say under the cursor is what the API says, by pointer or by keys."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect
from tests.browser.tabs import open_tab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page
    from tests.browser.servers import WebProcess
    from tests.browser.tabs import Tab

NAME = "new-feed"
HOUR_MS, BUCKET_MS = 3_600_000, 900_000
SOON_MS = 20_000


@pytest.fixture
def tab(browser: Browser, site: WebProcess) -> Iterator[Tab]:
    with open_tab(browser, site.address, viewport={"width": 1280, "height": 1600}) as opened:
        yield opened


def asked(site: WebProcess, path: str) -> Any:
    with urlopen(f"{site.address}api/v1/experiments/{NAME}{path}") as answer:
        return json.load(answer)


def drawn(tab: Tab, query: str = "?event=search&metric=propensity") -> Page:
    page = tab.open(f"/experiments/{NAME}{query}")
    expect(page.locator("#charts")).to_be_visible(timeout=SOON_MS)
    expect(page.locator("#charts canvas")).to_have_count(3, timeout=SOON_MS)
    return page


def readout(page: Page) -> dict[str, list[str]]:
    """The numbers under the cursor: by group its users, actors and mean."""
    rows = page.locator("[data-part=readout] tbody tr")
    return {row.locator("th").inner_text().strip(): row.locator("td").all_inner_texts() for row in rows.all()}


def number(text: str) -> int:
    return int(text.replace(",", ""))


def until(site: WebProcess, end_ms: int) -> dict[str, tuple[int, int]]:
    """By group users and actors of all buckets before ``end_ms``, added up here from the API's increments."""
    found = {}
    for group in ("control", "treatment"):
        exposed = asked(site, f"/cells?group={group}&event=&to_ms={end_ms}&limit=10000")["items"]
        acting = asked(site, f"/cells?group={group}&event=search&to_ms={end_ms}&limit=10000")["items"]
        users = sum(row["exposures"] for row in exposed if row["event"] == "")
        found[group] = users, sum(row["actors"] for row in acting)
    return found


def test_the_readout_follows_the_keys_and_says_what_the_api_says(site: WebProcess, tab: Tab) -> None:
    page = drawn(tab)
    cursor = page.locator("[data-part=cursor]")
    start_ms = asked(site, "")["periods"][0]["start_ms"]
    seen = []
    for key in ("End", "ArrowLeft", "PageDown", "Home"):
        cursor.press(key)
        bucket = int(cursor.input_value())
        seen.append(bucket)
        wanted = until(site, start_ms + (bucket + 1) * BUCKET_MS)
        found = {group: tuple(map(number, cells[:2])) for group, cells in readout(page).items()}
        assert found == wanted, f"after {key}"
    assert seen[0] == seen[1] + 1 > seen[2] > seen[3] == 0
    assert tab.faults == []


def test_metric_and_view_are_chosen_and_stand_in_the_address(tab: Tab) -> None:
    page = drawn(tab)
    title = page.locator("[data-part=metricTitle]")
    expect(title).to_contain_text("95% confidence sequence")
    page.locator("#charts").get_by_label("Volume per user", exact=True).check()
    expect(page).to_have_url(re.compile("metric=volume"))
    page.locator("#charts").get_by_label("Per bucket", exact=True).check()
    expect(page).to_have_url(re.compile("view=bucket"))
    expect(title).to_have_text("search actions, per bucket", timeout=SOON_MS)
    address = page.url
    again = drawn(tab, address[address.index("?") :])
    expect(again.locator("[data-part=metricTitle]")).to_have_text(
        "search actions, per bucket", timeout=SOON_MS
    )
    expect(again.locator("#charts [name=metric][value=volume]")).to_be_checked()
    # The stream about the comparison before is let go, which the browser calls a failed request.
    assert [fault for fault in tab.faults if "/api/v1/events?" not in fault] == []


def test_a_range_of_hours_tells_its_distinct_users_as_the_api_does(site: WebProcess, tab: Tab) -> None:
    page = drawn(tab)
    start_ms = asked(site, "")["periods"][0]["start_ms"]
    place = page.locator("[data-part=range]")
    place.locator("[name=from]").fill("3")
    place.locator("[name=to]").fill("12.5")
    place.locator("[name=to]").press("Enter")
    bounds = f"from_ms={start_ms + 3 * HOUR_MS}&to_ms={start_ms + round(12.5 * HOUR_MS)}"
    for row in asked(site, f"/uniques?event=search&{bounds}")["items"]:
        shown = f"{row['estimate']:,.0f} \N{PLUS-MINUS SIGN} {2 * row['standard_error']:,.0f}"
        row_of = place.locator("tr").filter(has=page.get_by_text(row["group_name"], exact=True))
        expect(row_of).to_contain_text(shown, timeout=SOON_MS)
    expect(page).to_have_url(re.compile("from=3&to=12.5"))
    assert tab.faults == []


def test_the_same_numbers_stand_in_a_table(tab: Tab) -> None:
    page = drawn(tab)
    page.get_by_text("The same numbers as a table").click()
    table = page.locator("[data-part=allTable]")
    expect(table.locator("tbody tr").first).to_be_visible(timeout=SOON_MS)
    cursor = page.locator("[data-part=cursor]")
    assert table.locator("tbody tr").count() == int(cursor.get_attribute("max") or "") + 1


def test_under_a_broken_split_no_lift_is_said(tab: Tab) -> None:
    page = tab.open("/experiments/checkout-copy")
    note = page.locator("[data-part=note]")
    expect(note).to_contain_text("The lift is withheld", timeout=SOON_MS)
    expect(note).not_to_contain_text("Lift of")
    assert tab.faults == []


def test_evidence_far_beyond_the_boundary_stays_in_the_chart(tab: Tab) -> None:
    page = drawn(tab)
    low, high = page.evaluate(
        """async () => {
          const files = performance.getEntriesByType("resource").map(({ name }) => name);
          const { boundaryPlot } = await import(files.find((name) => /plots/.test(name)));
          const looks = { hours: [1, 2], z: [-3, -12.5], boundary: [9, 3], look: [1, 2], first_crossed: 2 };
          const curves = { end: 72, groups: [], group: () => null, looksOf: () => looks };
          return boundaryPlot(curves, { chosen: "treatment", role: "decision" }, {})[0].scales.y.range();
        }"""
    )
    assert low < -12.5
    assert high > 12.5
