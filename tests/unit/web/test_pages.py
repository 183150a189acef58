"""Pages: complete without scripts, the same numbers as SQL, and names that stay names."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from tests.unit.web.sites import START, cell, experiment, look, open_site
from tests.unit.web.test_api import quoted

from rtexp.settings import WebSettings
from rtexp.statistics.plans import Guardrail
from rtexp.web.headers import POLICY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.web.sites import Site

HOSTILE = [
    "<script>alert(1)</script>",
    "\"onmouseover='x'",
    "'; DROP TABLE looks; --",
    "{{ 7 * 7 }}",
    "</title><b>",
    "&lt;b&gt;",
    "a/b ?#&",
]


class Document(HTMLParser):
    """The tags, attributes and text of a page, as a browser understands them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data


def page(site: Site, path: str) -> Document:
    answer = site.client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Document(answer.text)


def is_ours(script: dict[str, str | None]) -> bool:
    return re.fullmatch(r"/static/[\w.]+\.js", script.get("src") or "") is not None


def words(document: Document) -> str:
    return " ".join(document.text.split())


def test_without_experiments_the_overview_says_how_to_begin(site: Site) -> None:
    assert "rtexp experiments load FILE" in words(page(site, "/"))


def test_the_overview_begins_with_how_many_need_a_person(filled: Site) -> None:
    filled.define(experiment("harmed"), experiment("quiet"))
    filled.freeze("harmed", search="down")
    filled.write(look(experiment="harmed"))
    text = words(page(filled, "/"))
    assert "1 of 3 experiments needs a person" in text
    assert (
        "Of these, harmed does harm. One is decided and still measuring. The other one shows no harm" in text
    )
    parts = [text.index(part) for part in ("Needs a person harm", "Decided, still", "Measuring no crossing")]
    assert parts == sorted(parts)


def test_the_overview_has_lift_interval_p_and_users(filled: Site) -> None:
    text = words(page(filled, "/"))
    assert (
        "Significant gain (good) crossed at look 54 search · propensity +20.4% +6.0 to +34.9% 0.0045" in text
    )
    assert "24,100 OK 72 h, over" in text


def test_a_split_that_is_not_as_planned_withholds_the_figures(filled: Site) -> None:
    filled.write(look(55, state="blocked_srm", reason="srm_alarm", withheld=True))
    assert "Blocked: sample ratio" in words(page(filled, "/"))
    assert "No verdict: the groups are not split as planned" in words(page(filled, "/experiments/feed"))
    for path in ("/", "/experiments/feed"):
        assert "+20.4%" not in words(page(filled, path))


def test_a_guardrail_that_fired_needs_a_person(site: Site) -> None:
    site.define(experiment())
    site.freeze(guardrails=[Guardrail("hide", "propensity", "rise")])
    site.write(look(54, state="no_difference_yet", crossed=False), look(54, role="guardrail", event="hide"))
    assert "guardrail alarm: hide up 20.4%" in words(page(site, "/"))
    assert "Guardrail hide propensity fired under treatment." in words(page(site, "/experiments/feed"))


def test_an_experiment_that_is_over_needs_nobody(filled: Site) -> None:
    filled.write(look(72, state="final_no_difference", final=True, crossed=False))
    text = words(page(filled, "/"))
    assert "None of 1 experiment needs a person" in text
    assert "Final: no difference in search propensity shown" in words(page(filled, "/experiments/feed"))


def test_harm_that_is_over_is_shown_and_needs_nobody(site: Site) -> None:
    site.define(experiment())
    site.freeze(search="down")
    site.write(look(72, final=True))
    text = words(page(site, "/"))
    assert "None of 1 experiment needs a person" in text
    assert "Over the period is complete feed" in text
    assert "Search propensity is harmed under treatment." in words(page(site, "/experiments/feed"))


def test_an_experiment_says_its_verdict_and_why(filled: Site) -> None:
    text = words(page(filled, "/experiments/feed"))
    assert "A gain in search propensity: +20.4% under treatment" in text
    assert "Z crossed the boundary at look 54: 3.35 against 2.37." in text
    assert "5.62% under treatment, 4.67% in control" in text
    assert "control 15, treatment 15" in text
    assert "alpha-spending, obf, \N{GREEK SMALL LETTER ALPHA} 0.05" in text


def test_the_numbers_of_a_page_are_those_of_the_api(filled: Site) -> None:
    (row,) = filled.client.get("/api/v1/experiments/feed").json()["periods"][0]["looks"]
    text = words(page(filled, "/experiments/feed"))
    assert f"{100 * row['a_control'] / row['n_control']:.2f}%" in text
    assert f"{100 * row['lift']:+.1f}%" in text
    assert f"{row['z']:.2f} ±{row['boundary']:.2f}" in text


def test_the_chart_has_a_point_for_each_look_and_marks_the_crossing(filled: Site) -> None:
    document = page(filled, "/experiments/feed")
    paths = {a.get("class"): a.get("d") for tag, a in document.tags if tag == "path" and "class" in a}
    assert len(re.findall("[ML]", paths["evidence"] or "")) == 2
    assert [a["class"] for tag, a in document.tags if tag == "circle" and "class" in a].count("crossing") == 1


def test_an_address_chooses_the_comparison(filled: Site) -> None:
    filled.write(look(54, event="click", metric="volume", role="exploratory", state="exploratory"))
    text = words(page(filled, "/experiments/feed?event=click&metric=volume"))
    assert "Over time click volume, treatment" in text
    assert filled.client.get("/experiments/feed?event=nothing").status_code == 404


def test_an_experiment_without_users_says_what_to_check(site: Site) -> None:
    site.define(experiment())
    assert "No activations yet" in words(page(site, "/experiments/feed"))
    site.write(cell(0, event="", exposures=3))
    assert "Collecting: too early for a first look" in words(page(site, "/experiments/feed"))


def test_an_earlier_period_can_be_seen(filled: Site) -> None:
    assert "A gain" in words(page(filled, f"/experiments/feed?period={START}"))
    assert filled.client.get("/experiments/feed?period=5").status_code == 404


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_a_name_everywhere(site: Site, name: str) -> None:
    site.define(experiment(name, control=f"{name}c", treatment=f"{name}t"))
    site.write(
        look(54, experiment=name, group_name=f"{name}t", event=name, note=name, reason=name[:32]),
        look(54, experiment=name, group_name=f"{name}t", event=name, role="guardrail"),
        cell(0, experiment=name, group=f"{name}t", event="", exposures=1),
    )
    for path in ("/", f"/experiments/{quoted(name)}"):
        document = page(site, path)
        assert name in document.text
        assert "style" not in {tag for tag, _ in document.tags}
        assert all(is_ours(a) for tag, a in document.tags if tag == "script")
        assert not [a for _, a in document.tags if any(key.startswith("on") or key == "style" for key in a)]
        assert "49" not in re.findall(r"\b49\b", document.text)
    (link,) = [
        a["href"]
        for tag, a in page(site, "/").tags
        if tag == "a" and "/experiments/" in (a.get("href") or "") and "/api/" not in (a.get("href") or "")
    ]
    assert name in page(site, link or "").text


def test_every_link_of_a_page_leads_somewhere(filled: Site) -> None:
    seen: set[str] = set()
    ahead = ["/"]
    while ahead:
        path = ahead.pop()
        if path in seen or path.startswith("#"):
            continue
        seen.add(path)
        answer = filled.client.get(path)
        assert answer.status_code == 200, path
        if answer.headers["content-type"].startswith("text/html"):
            tags = Document(answer.text).tags
            ahead += [a["href"] or "" for tag, a in tags if tag in {"a", "link"} and "href" in a]
    assert len(seen) >= 8


@pytest.mark.parametrize("path", ["/", "/experiments/feed", "/nothing", "/experiments/nobody"])
def test_nothing_is_run_and_nothing_comes_from_elsewhere(filled: Site, path: str) -> None:
    answer = filled.client.get(path)
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    for tag, attributes in Document(answer.text).tags:
        assert tag not in {"style", "iframe", "img"}
        assert tag != "script" or is_ours(attributes)
        assert "style" not in attributes
        assert not (attributes.get("href") or "").startswith(("http", "//"))


def test_the_style_is_kept_for_good_under_its_hash(filled: Site) -> None:
    (style,) = [a["href"] or "" for _, a in page(filled, "/").tags if a.get("rel") == "stylesheet"]
    answer = filled.client.get(style)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "prefers-color-scheme:dark" in answer.text
    for path in ("/static/style.css", "/static/..%2Fapp.py", "/static/%2e%2e%2fapp.py"):
        assert filled.client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/experiments/nobody", "/nothing", "/experiments/a/b", "/experiments/%00"])
def test_a_page_that_is_not_there_says_so_as_a_page(filled: Site, path: str) -> None:
    answer = filled.client.get(path)
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("sent", ["/rtexp", ""], ids=["proxy keeps the path", "proxy strips it"])
def test_behind_a_proxy_all_addresses_begin_with_the_base_path(tmp_path: Path, sent: str) -> None:
    with open_site(tmp_path, web=WebSettings(base_path="/rtexp")) as site:
        site.define(experiment("a/b"))
        document = page(site, f"{sent}/")
        hrefs = [a["href"] or "" for tag, a in document.tags if tag in {"a", "link"}]
        assert all(href.startswith(("/rtexp/", "#")) for href in hrefs)
        assert "/rtexp/experiments/a%2Fb" in hrefs
        assert page(site, f"{sent}/experiments/a%2Fb")


def test_the_last_hour_is_one_however_long_buckets_are_and_whatever_lies_between(site: Site) -> None:
    site.define(experiment())
    site.write(
        cell(0, event="", exposures=1_000, group="control"),
        cell(16, event="", exposures=200, group="control"),
        cell(17, event="", exposures=30, group="control"),
        cell(20, event="", exposures=4, group="control"),
    )
    page = site.client.get("/experiments/feed").text
    control = page[page.index('<tr data-group="control">') :].partition("</tr>")[0]
    assert '<td class="n" data-users="1234">' in control
    assert '<td class="n">+34</td>' in control, "an hour of 20 begins behind 16"


@pytest.mark.parametrize("path", ["/state/", "/experiments/feed/", "/api/v1/experiments/"])
def test_a_slash_too_many_leads_nowhere_rather_than_out_of_the_base_path(tmp_path: Path, path: str) -> None:
    with open_site(tmp_path, web=WebSettings(base_path="/rtexp")) as site:
        site.define(experiment())
        answer = site.client.get(f"/rtexp{path}", headers={"Host": "127.0.0.1:1"})
        assert (answer.status_code, answer.headers.get("location")) == (404, None)
