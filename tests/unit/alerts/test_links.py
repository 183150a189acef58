"""Links of notices lead to pages that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.alerts.told import notice
from tests.unit.web.sites import HERE, START, cell, experiment, look, open_site

from rtexp.alerts.notices import of_condition
from rtexp.alerts.running import pages_of
from rtexp.records.conditions import condition
from rtexp.settings import Settings, WebSettings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["feed", "a/b ?&#<x>", "é%2F"])
def test_the_link_of_an_alert_shows_its_comparison(tmp_path: Path, name: str) -> None:
    with open_site(tmp_path) as site:
        site.define(experiment(name))
        site.freeze(name)
        other = look(event="click")
        site.write(cell(0, experiment=name), *(row._replace(experiment=name) for row in (look(), other)))
        told = notice(HERE, experiment=name, event="click", period_start_ms=START)
        answer = site.client.get(told.link)
        assert answer.status_code == 200
        assert "click propensity" in answer.text.replace("</code>", "").replace("<code>", "")
        assert site.client.get(told.link.replace("event=click", "event=other")).text != answer.text


def test_the_link_of_a_condition_shows_the_pipeline(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        made = condition("stopped", "ingest", START, START, is_over=False)
        assert site.client.get(of_condition(made, HERE).link).status_code == 200


@pytest.mark.parametrize(
    ("web", "pages"),
    [
        (WebSettings(public_url="https://ab.example.org/x"), "https://ab.example.org/x"),
        (WebSettings(port=81, base_path="/rtexp"), "http://127.0.0.1:81/rtexp"),
        (WebSettings(port=0), ""),
    ],
)
def test_pages_are_where_people_find_them_or_where_they_are_served(web: WebSettings, pages: str) -> None:
    assert pages_of(Settings(web=web)) == pages
