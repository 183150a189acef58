"""Pages of experiments that are judged by each method, and of those about which little is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import pytest
from tests.browser.samples import NEW_FEED
from tests.browser.simulated import BUCKET_MS, HOUR_MS, simulate
from tests.unit.store.databases import open_database
from tests.unit.web.sites import START, experiment, look
from tests.unit.web.test_pages import page, words

from rtexp.records.snapshot import Allocation
from rtexp.settings import PipelineSettings
from rtexp.statistics.plans import Method
from rtexp.store.cells import upsert_cells
from rtexp.store.engine import writing, writing_alone
from rtexp.store.looks import upsert_looks
from rtexp.store.metadata import load
from rtexp.store.operations import PipelineRow, upsert_pipeline
from rtexp.store.plans import freeze_plans
from rtexp.web.state import now_ms

if TYPE_CHECKING:
    from tests.unit.web.sites import Site

NOW_MS = 1_800_000_000_000 // BUCKET_MS * BUCKET_MS


@pytest.mark.parametrize("method", get_args(Method))
def test_every_method_has_a_page_and_a_line(site: Site, method: Method) -> None:
    ruin = {"ruin_conversions": 2_000, "ruin_lead": 90} if method == "gamblers-ruin" else {}
    found = simulate(NEW_FEED, now_ms=NOW_MS, method=method, **ruin)
    with open_database(site.database) as engine:
        with writing_alone(engine) as connection:
            load(connection, [found.definition], pipeline=PipelineSettings(), now_ms=found.period_start_ms)
        with writing(engine) as connection:
            freeze_plans(connection, [(NEW_FEED.name, found.period_start_ms, found.plan)])
            upsert_cells(connection, found.cells)
            upsert_looks(connection, found.looks)
    assert {row.method for row in found.looks if row.role == "decision"} == {method}
    assert f"Method {method}" in words(page(site, "/experiments/new-feed"))
    text = words(page(site, "/"))
    assert "new-feed control, treatment" in text
    for row in {row[2:6]: row for row in found.looks}.values():
        page(site, f"/experiments/new-feed?event={row.event}&metric={row.metric}&role={row.role}")


def test_allocations_that_change_their_shares_have_no_planned_share(filled: Site) -> None:
    later = START + HOUR_MS
    changed = experiment()
    filled.define(replace(changed, allocations=(*changed.allocations, Allocation("treatment", 80, later))))
    text = words(page(filled, "/experiments/feed"))
    assert "treatment 80% 15 +15 \N{EN DASH} 50.00%" in text
    assert "Ramp: treatment 50% to 80%" in text


def test_a_period_to_come_says_when_it_begins(site: Site) -> None:
    begins = now_ms() // HOUR_MS * HOUR_MS + 48 * HOUR_MS
    one = experiment("later")
    site.define(replace(one, allocations=(Allocation("treatment", 5, begins),)))
    assert "Begins at 2" in words(page(site, "/experiments/later"))
    assert "No users from 2" in words(page(site, "/"))


def test_a_pipeline_that_is_behind_says_what_holds_it_back(filled: Site) -> None:
    at_ms = now_ms()
    with open_database(filled.database) as engine, writing(engine) as connection:
        upsert_pipeline(
            connection,
            [
                PipelineRow(
                    "aggregate", "rtexp.filtered-actions", partition, "w", 9, 0, mark, 41, 3, 8, at_ms
                )
                for partition, mark in ((0, at_ms), (1, at_ms - 600_000))
            ],
        )
    for path in ("/", "/experiments/feed"):
        text = words(page(filled, path))
        assert ", 10 min behind the clock" in text
        assert "Counting is behind: aggregate, partition 1 of rtexp.filtered-actions" in text
        assert "82 rows wait; none of them is lost." in text
    assert "It is recovering: 3 of 8 records." in words(page(filled, "/experiments/feed"))
    assert "24,100 Behind" in words(page(filled, "/"))


def test_without_anything_from_the_jobs_nothing_is_said_of_how_complete_numbers_are(filled: Site) -> None:
    for path in ("/", "/experiments/feed"):
        assert "complete to" not in words(page(filled, path))


def test_a_look_that_was_missed_has_a_line_of_its_own(filled: Site) -> None:
    filled.write(look(57, state="no_difference_yet", crossed=False))
    text = words(page(filled, "/experiments/feed"))
    assert "55\N{EN DASH}56" in text
    assert "Looks 55 to 56 missed" in text
