"""Pages that stay open: what changes in SQL changes in them, whatever happens to the connection or the database."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from tests.browser.samples import SAMPLES, fill, fill_operations
from tests.browser.servers import WebProcess, web_process
from tests.browser.tabs import open_tab
from tests.sql_servers import PrivateMariaDb
from tests.unit.store.databases import open_database

from rtexp.store.cells import read_cells, upsert_cells
from rtexp.store.engine import reading, writing
from rtexp.store.looks import LookRow, read_newest_looks, upsert_looks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

QUIET = ("spelling-fix", "related-strip", "language-picker", "dark-header", "share-sheet")
"""Of each, one test: no difference was shown."""
NAMES = {*QUIET, "new-feed", "gift-cards"}
SOON_MS = 20_000
"""How long a busy machine may take for what comes within two seconds."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """A site in which each test changes an experiment of its own."""
    with web_process(tmp_path_factory.mktemp("live")) as process:
        fill_site(process)
        process.start()
        yield process


def fill_site(process: WebProcess) -> None:
    now_ms = int(time.time() * 1000)
    with open_database(process.database) as engine:
        fill(
            engine,
            [each for each in SAMPLES if each.name in NAMES],
            now_ms=now_ms,
        )
        fill_operations(engine, watermark_ms=now_ms, now_ms=now_ms)


def newest(site: WebProcess, name: str) -> LookRow:
    with open_database(site.database, migrated=False) as engine, reading(engine) as connection:
        return next(row for row in read_newest_looks(connection, experiment=name) if row.role == "decision")


def add_users(site: WebProcess, name: str, count: int) -> None:
    """Count more users in the newest bucket, as a later publication does."""
    with open_database(site.database, migrated=False) as engine, writing(engine) as connection:
        rows = [row for row in read_cells(connection, experiment=name) if row.event == ""]
        row = rows[-1]
        changed = row._replace(exposures=row.exposures + count, sequence=row.sequence + 1)
        upsert_cells(connection, [changed])


def decide(site: WebProcess, name: str) -> None:
    """Publish a next look that crosses the boundary."""
    row = newest(site, name)
    hour_ms = 3_600_000
    crossed = row._replace(
        look=row.look + 1,
        scheduled_ms=row.scheduled_ms + hour_ms,
        evaluated_ms=row.evaluated_ms + hour_ms,
        z=4.2,
        lift=0.084,
        lift_low=0.031,
        lift_high=0.137,
        p_always_valid=0.0021,
        crossed=True,
        state="significant_gain",
    )
    with open_database(site.database, migrated=False) as engine, writing(engine) as connection:
        upsert_looks(connection, [crossed])


def users(page: Page) -> int:
    return int(page.locator("[data-fact=users]").inner_text().replace(",", ""))


def expect_users(page: Page, count: int) -> None:
    expect(page.locator("[data-fact=users]")).to_have_text(f"{count:,}", timeout=SOON_MS)


def expect_live(page: Page) -> None:
    expect(page.locator("[data-word]")).to_have_text("Live", timeout=SOON_MS)


def test_an_update_arrives_without_a_reload(browser: Browser, site: WebProcess) -> None:
    name = QUIET[0]
    with open_tab(browser, site.address) as tab:
        page = tab.open(f"/experiments/{name}")
        page.evaluate("window.untouched = true")
        expect_live(page)
        before = users(page)
        add_users(site, name, 1234)
        expect_users(page, before + 1234)
        assert page.evaluate("window.untouched")
        assert tab.faults == []


def test_a_verdict_flips_on_the_page_when_it_flips_in_sql(browser: Browser, site: WebProcess) -> None:
    name = QUIET[1]
    with open_tab(browser, site.address) as tab, open_tab(browser, site.address) as other:
        page, overview = tab.open(f"/experiments/{name}"), other.open("/")
        row = overview.locator(f"tr[data-live='row:{name}']")
        for each in (page, overview):
            expect_live(each)
        expect(page.locator("h1")).to_have_text("No difference in click propensity shown yet")
        expect(row).to_contain_text("No difference shown yet")
        decide(site, name)
        expect(page.locator("h1")).to_have_text("A gain in click propensity: +8.4% under on", timeout=SOON_MS)
        expect(page.locator("[role=status].vh")).to_have_text("A gain in click propensity: +8.4% under on")
        assert page.title().startswith("\N{BLACK UP-POINTING TRIANGLE} ")
        expect(page.locator(".looks tbody tr").first).to_contain_text("crossed")
        expect(row).to_contain_text("Significant gain", timeout=SOON_MS)
        expect(overview.get_by_role("button", name="Order changed, refresh")).to_be_visible()


def test_a_connection_that_drops_is_said_and_resumes_without_loss(browser: Browser, site: WebProcess) -> None:
    name = QUIET[2]
    with open_tab(browser, site.address) as tab:
        page = tab.open(f"/experiments/{name}")
        expect_live(page)
        before = users(page)
        site.kill()
        expect(page.locator("[data-word]")).to_have_text("Reconnecting", timeout=SOON_MS)
        expect(page.locator(".banner.float")).to_contain_text("Reconnecting since", timeout=SOON_MS)
        assert users(page) == before, "what was known stays"
        add_users(site, name, 17)
        decide(site, name)
        site.start()
        expect_users(page, before + 17)
        expect(page.locator("h1")).to_contain_text("A gain in follow propensity", timeout=SOON_MS)
        expect_live(page)
        expect(page.locator(".banner.float")).to_be_hidden()


def test_a_paused_page_stands_still_and_catches_up(browser: Browser, site: WebProcess) -> None:
    name = QUIET[3]
    with open_tab(browser, site.address) as tab:
        page = tab.open(f"/experiments/{name}")
        expect_live(page)
        before = users(page)
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("[data-word]")).to_have_text("Paused")
        add_users(site, name, 5)
        page.wait_for_timeout(3_000)  # by then it would be there
        assert users(page) == before
        page.get_by_role("button", name="Resume").click()
        expect_users(page, before + 5)


def test_a_database_that_goes_away_is_said_and_the_page_recovers_by_itself(
    browser: Browser, tmp_path: Path
) -> None:
    name = QUIET[4]
    with PrivateMariaDb(tmp_path / "mariadb") as server, web_process(tmp_path) as site:
        site.database = server.database()
        fill_site(site)
        site.start()
        with open_tab(browser, site.address) as tab:
            page = tab.open(f"/experiments/{name}")
            expect_live(page)
            before = users(page)
            server.kill()
            said = page.locator(".banner.float")
            expect(said).to_contain_text("The database hasn't answered since", timeout=SOON_MS)
            assert users(page) == before
            server.start()
            add_users(site, name, 9)
            expect_users(page, before + 9)
            expect(said).to_be_hidden()


def test_find_shows_what_matches_and_the_keyboard_reaches_it(browser: Browser, site: WebProcess) -> None:
    with open_tab(browser, site.address) as tab:
        page = tab.open("/")
        expect_live(page)
        rows = page.locator("tr[data-live]:visible")
        expect(rows).to_have_count(len(NAMES))
        page.keyboard.press("/")
        page.keyboard.type("gift")
        expect(rows).to_have_count(1)
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.textContent") == "gift-cards"
        page.keyboard.press("/")
        page.keyboard.type("nothing like it")
        expect(page.get_by_text("Nothing matches.")).to_be_visible()
        page.get_by_role("button", name=f"Show all {len(NAMES)}").click()
        expect(rows).to_have_count(len(NAMES))
