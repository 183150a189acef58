"""Every number on the page of an experiment is the API's, and SQL's."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from tests.browser.servers import PATIENCE_SECONDS
from tests.browser.tabs import open_tab
from tests.unit.store.databases import SqliteFile

from rtexp.web import figures

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser
    from tests.browser.servers import WebProcess

Row = dict[str, Any]
EXPERIMENTS = ("new-feed", "quiet-hours", "checkout-copy", "onboarding-5", "gift-cards", "ranker-2026-03")


def asked(site: WebProcess, path: str) -> Any:
    with urlopen(f"{site.address}api/v1/{path}", timeout=PATIENCE_SECONDS) as answer:
        return json.load(answer)


def selected(site: WebProcess, statement: str, *parameters: object) -> list[Row]:
    assert isinstance(site.database, SqliteFile)
    with closing(sqlite3.connect(site.database.path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement, parameters)]


def mean(row: Row, arm: str) -> str:
    acted = row[f"a_{arm}"] if row["metric"] == "propensity" else row[f"s1_{arm}"]
    return figures.mean(acted / row[f"n_{arm}"], row["metric"])


def shown(row: Row, text: str) -> str:
    """A figure that means nothing yet, below a gate or under a broken split is left out."""
    gates = ("empty_group", "group_too_small", "too_few_users", "too_few_actors", "srm_alarm")
    return (
        figures.NONE
        if row["reason"] in gates or row["state"] in {"collecting", "insufficient_data"}
        else text
    )


def metric_cells(row: Row) -> list[str]:
    p = figures.p(row["p_always_valid"])
    withheld = "withheld" if row["state"] == "blocked_srm" else shown(row, p)
    return [
        mean(row, "control"),
        mean(row, "treatment"),
        shown(row, figures.lift(row["lift"])),
        shown(row, figures.interval(row["lift_low"], row["lift_high"])),
        figures.NONE if row["role"] == "guardrail" else withheld,
    ]


def look_cells(row: Row) -> list[str]:
    sign = "±" if row["boundary"] is not None and row["role"] != "guardrail" else ""
    p = "withheld" if row["state"] == "blocked_srm" else shown(row, figures.p(row["p_always_valid"]))
    return [
        mean(row, "control"),
        mean(row, "treatment"),
        figures.z(row["z"]),
        sign + figures.z(row["boundary"]),
        figures.p(row["alpha_spent"]),
        p,
    ]


def key(row: Row) -> tuple[str, ...]:
    return row["group_name"], row["event"], row["metric"], row["role"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_number_of_a_page_is_that_of_the_api_and_of_sql(
    browser: Browser, site: WebProcess, name: str
) -> None:
    with open_tab(browser, site.address) as tab:
        page = tab.open(f"/experiments/{name}")
        read: Callable[[str], list[dict[str, Any]]] = lambda selector: page.eval_on_selector_all(  # noqa: E731
            selector,
            "rows => rows.map(row => ({on: row.className.includes('on'), data: {...row.dataset},"
            "cells: [...row.cells].map(cell => cell.innerText.trim())}))",
        )
        metrics, groups = read(".metrics tbody tr[data-event]"), read(".groups tbody tr")
        looks = read(".looks tbody tr[data-look]")
        facts = {
            fact: page.locator(f"[data-fact={fact}]").inner_text().strip()
            for fact in ("p", "lift", "interval", "users", "look")
        }
    period = asked(site, f"experiments/{name}")["periods"][-1]
    api = {key(row): row for row in period["looks"]}
    sql = {
        key(row): row
        for row in selected(site, "SELECT * FROM looks WHERE experiment = ? ORDER BY look", name)
    }
    on_page = {
        tuple(m["data"][part] for part in ("group", "event", "metric", "role")): m["cells"] for m in metrics
    }
    assert on_page.keys() == api.keys() == sql.keys()
    for each, cells in on_page.items():
        told = [cells[1], cells[2], cells[3], cells[5], cells[6]]
        assert told == metric_cells(api[each]) == metric_cells(sql[each]), each
        assert {field: sql[each][field] for field in api[each]} == api[each]
    (chosen,) = (m for m in metrics if m["on"])
    assert facts["p"] == chosen["cells"][6]
    assert facts["lift"] == chosen["cells"][3]
    assert facts["interval"].removesuffix(", valid at every look") == chosen["cells"][5]
    assert facts["look"].startswith(f"{max(row['look'] for row in sql.values())} of ")
    check_looks(site, name, looks, chosen["data"])
    check_users(site, name, groups, facts["users"])


def check_looks(site: WebProcess, name: str, looks: list[Row], of: dict[str, str]) -> None:
    """The table of looks, which is about the comparison that is marked among the metrics."""
    query = f"group={of['group']}&event={of['event']}&metric={of['metric']}&role={of['role']}&limit=1000"
    api = asked(site, f"experiments/{name}/looks?{query}")["items"]
    sql = selected(
        site,
        "SELECT * FROM looks WHERE experiment = ? AND group_name = ? AND event = ? AND metric = ? AND role = ? "
        "ORDER BY look",
        *(name, of["group"], of["event"], of["metric"], of["role"]),
    )
    on_page = {int(row["data"]["look"]): row["cells"][2:8] for row in looks}
    assert len(looks) == len(api) == len(sql)
    assert on_page == {row["look"]: look_cells(row) for row in api}
    assert on_page == {row["look"]: look_cells(row) for row in sql}


def check_users(site: WebProcess, name: str, groups: list[Row], users: str) -> None:
    in_sql = selected(
        site,
        "SELECT group_name, SUM(exposures) AS users FROM cells WHERE experiment = ? AND event = '' GROUP BY group_name",
        name,
    )
    told = asked(site, f"experiments/{name}/cells?event=&view=cumulative&limit=10000")["items"]
    in_api = {row["group_name"]: row["exposures"] for row in told}
    assert {row["group_name"]: row["users"] for row in in_sql} == in_api
    assert {row["data"]["group"]: row["cells"][2] for row in groups} == {
        group: figures.count(count) for group, count in in_api.items()
    }
    assert users == figures.count(sum(in_api.values()))
