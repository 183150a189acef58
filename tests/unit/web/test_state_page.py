"""The page of pipeline and tables, over SQL and workers that really answer."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from tests.unit.web.operations_samples import counted, healthy, keep, position
from tests.unit.web.operations_samples import worker as worker_row
from tests.unit.web.sites import TOKEN, open_site
from tests.unit.worker_web.servers import serving
from tests.unit.worker_web.workers import (
    PARTITION,
    START,
    STRANGER,
    TABLES,
    USER,
    Task,
    buckets,
    said,
    users,
    worker,
)

from rtexp.settings import WebSettings
from rtexp.store.operations import FreshnessRow
from rtexp.web.freshness_chart import freshness_chart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.unit.web.sites import Site

REGIONS = {
    "state-sentence",
    "state-jobs",
    "state-freshness",
    "state-partitions",
    "state-dead-letters",
    "state-left-out",
    "state-workers",
}


@pytest.fixture
def open_to_users(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path, web=WebSettings(user_lookup=True)) as site:
        yield site


async def page(site: Site, query: str = "", status: int = 200, **options: Any) -> str:
    answer = await asyncio.to_thread(site.client.get, f"/state{query}", **options)
    assert answer.status_code == status, answer.text
    text: str = answer.text
    return text


def words(text: str) -> str:
    """The page as it is read."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text[text.index("<main") :]))


@asynccontextmanager
async def with_workers(site: Site) -> AsyncIterator[None]:
    """Two aggregate workers and one of results, known to SQL; users are with the second one."""
    owner = worker(Task("users", PARTITION, users()))
    other = worker(Task("users", PARTITION + 1, None), statuses=[said("aggregate-2", PARTITION)])
    cells = worker(Task("buckets", TABLES["buckets"].partition("exp"), buckets()))
    async with serving(owner), serving(other), serving(cells):
        keep(
            site,
            worker_row("aggregate-1", "aggregate", url=other.url),
            worker_row("aggregate-2", "aggregate", url=owner.url),
            worker_row("results-1", "results", url=cells.url),
            position("aggregate", "rtexp.filtered-actions", PARTITION, worker="aggregate-2"),
            position("results", "rtexp.partials", 0),
        )
        yield


async def test_an_empty_pipeline_says_how_to_begin(site: Site) -> None:
    text = words(await page(site))
    assert "Nothing is known of the jobs yet" in text
    assert "rtexp up" in text


async def test_the_page_says_what_sql_says(site: Site) -> None:
    keep(site, *healthy())
    whole = await page(site)
    text = words(whole)
    assert "Counts are complete to" in text
    assert "reads 100 actions a second" in text
    assert "600 rows wait for activations" in text
    assert "missing-field actions 10 15" in text
    assert "unknown-experiment activations no experiment of this name is defined 11 11" in text
    assert "rtexp.filtered-actions 1" in text
    assert set(re.findall(r'data-live="([^"]+)"', whole)) == REGIONS
    assert not re.search('<script(?! type="module" src="/static/)', whole)


async def test_what_is_known_by_no_rule_of_this_version_is_shown_all_the_same(site: Site) -> None:
    keep(site, *healthy(), counted("actions/newer", 4))
    assert "newer actions 4 4" in words(await page(site))


async def test_every_page_leads_to_the_state(filled: Site) -> None:
    for path in ("/", "/experiments/feed", "/state", "/nothing"):
        assert re.search('<a href="/state"( aria-current="page")?>State</a>', filled.client.get(path).text)


async def test_names_on_the_page_do_nothing(open_to_users: Site) -> None:
    nasty = "<script>alert(1)</script>\"'"
    keep(
        open_to_users,
        position("results", nasty, 0, worker=nasty),
        worker_row(nasty, "results", url=nasty),
        counted(f"actions/{nasty}", 3),
    )
    whole = await page(open_to_users, f"?table=users&key={quote(nasty)}", status=503)
    assert nasty not in whole
    assert not re.search('<script(?! type="module" src="/static/)', whole)
    assert "&lt;script&gt;" in whole


async def test_tables_are_those_of_the_workers_that_answer(site: Site) -> None:
    async with with_workers(site):
        keep(site, worker_row("gone", "aggregate", url="http://127.0.0.1:1"))
        text = words(await page(site))
        assert "users aggregate user 1 4.1 kB" in text
        assert "1 of 8" in text
        assert "Without those of gone" in text


async def test_a_user_is_looked_up_where_it_is(open_to_users: Site) -> None:
    async with with_workers(open_to_users):
        text = words(await page(open_to_users, f"?table=users&key={USER}"))
        assert (
            f"users / {USER} Partition {PARTITION}, worker here-1; up to 1,000 actions an hour count" in text
        )
        assert "search 3" in text


async def test_a_user_of_whom_nothing_is_kept_is_404(open_to_users: Site) -> None:
    server = worker(*(Task("users", partition, users()) for partition in range(8)))
    async with serving(server):
        keep(open_to_users, worker_row("aggregate-1", "aggregate", url=server.url))
        text = words(await page(open_to_users, f"?table=users&key={STRANGER}", status=404))
        assert "nothing is kept of this user" in text


async def test_single_users_are_off_by_default_and_the_page_says_so(site: Site) -> None:
    async with with_workers(site):
        text = await page(site, f"?table=users&key={USER}", status=403)
        assert "[web] user_lookup = true" in text
        assert "<option>users" not in text
        assert "search 3" not in text


async def test_cells_are_looked_up_by_experiment_and_period(site: Site) -> None:
    async with with_workers(site):
        text = await page(site, "?table=buckets&key=exp")
        assert f"/state?table=buckets&amp;key=exp&amp;period={START}" in text
        assert "search" in words(await page(site, f"?table=buckets&key=exp&period={START}"))
        cell = f"&period={START}&group=control&event=search&bucket={START}"
        assert "volume actors" in words(await page(site, f"?table=buckets&key=exp{cell}"))


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"?table=buckets&key={'x' * 10_000}", 422),
        ("?table=other&key=a", 422),
        ("?table=buckets&key=%ff%00", 503),
        ("?table=buckets&key=exp&period=x", 503),
    ],
)
async def test_a_look_up_that_makes_no_sense_leaves_the_page_standing(
    site: Site, query: str, status: int
) -> None:
    keep(site, *healthy())
    whole = await page(site, query, status)
    assert "Counts are complete to" in whole


async def test_the_token_of_the_pages_opens_the_workers(tmp_path: Path) -> None:
    with open_site(tmp_path, token=TOKEN, web=WebSettings(user_lookup=True)) as site:
        server = worker(Task("users", PARTITION, users()), token=TOKEN)
        async with serving(server):
            keep(site, worker_row("aggregate-1", "aggregate", url=server.url))
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            assert "search 3" in words(await page(site, f"?table=users&key={USER}", headers=bearer))
            assert TOKEN not in await page(site, headers=bearer)


def test_a_minute_without_freshness_is_a_gap_and_older_ones_are_left_out() -> None:
    now_ms = 1_700_000_040_000 // 60_000 * 60_000
    minutes = [now_ms - n * 60_000 for n in (80, 5, 4, 2, 1, 0)]
    chart = freshness_chart(
        [FreshnessRow(at_ms, 12_000, 14_000) for at_ms in minutes], now_ms=now_ms, on_purpose_ms=12_000
    )
    assert chart is not None
    assert (chart.half.count("M"), chart.half.count("L")) == (2, 3)
    assert freshness_chart([FreshnessRow(minutes[0], 1, 1)], now_ms=now_ms, on_purpose_ms=0) is None
