"""The API: what it says is what SQL says, and what can't be asked is refused."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.store.databases import cell_row
from tests.unit.web.sites import BUCKET, START, cell, experiment, look, open_site

from rtexp.store.looks import LookRow
from rtexp.web.series import SeriesRow

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.web.sites import Site

API = "/api/v1/experiments"
PROBLEM = "application/problem+json"


def got(site: Site, path: str) -> Any:
    answer = site.client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pages(site: Site, path: str, limit: int) -> list[dict[str, Any]]:
    """Follow the cursors to the end."""
    items: list[dict[str, Any]] = []
    joint = "&" if "?" in path else "?"
    page = got(site, f"{path}{joint}limit={limit}")
    while True:
        assert len(page["items"]) <= limit
        items += page["items"]
        assert len(items) < 100, "the pages don't end"
        if page["next"] is None:
            return items
        page = got(site, f"{path}{joint}limit={limit}&cursor={page['next']}")


def test_experiments_come_with_their_periods_and_users(filled: Site) -> None:
    (item,) = got(filled, API)["items"]
    assert item["name"] == "feed"
    assert item["groups"] == ["control", "treatment"]
    assert item["periods"] == [
        {"start_ms": START, "end_ms": START + 72 * 3_600_000, "users": {"control": 15, "treatment": 15}}
    ]


def test_experiments_come_in_pages(site: Site) -> None:
    site.define(*(experiment(f"e{i}") for i in range(5)))
    assert [item["name"] for item in pages(site, API, 2)] == ["e0", "e1", "e2", "e3", "e4"]


def test_an_experiment_comes_with_its_plan_and_newest_looks(filled: Site) -> None:
    found = got(filled, f"{API}/feed")
    (period,) = found["periods"]
    assert period["plan"]["decision"] == [{"event": "search", "metric": "propensity"}]
    assert [row["look"] for row in period["looks"]] == [54]
    assert period["looks"][0] == look(54)._asdict()


def test_cells_are_the_increments_in_sql(filled: Site) -> None:
    rows = got(filled, f"{API}/feed/cells?event=search&group=control")["items"]
    assert [(row["bucket_start_ms"], row["volume"]) for row in rows] == [
        (START, 1),
        (START + BUCKET, 2),
        (START + 5 * BUCKET, 6),
    ]
    assert tuple(rows[0]) == SeriesRow._fields


def test_cumulative_cells_are_sums_since_the_start_of_the_period_even_of_a_range(filled: Site) -> None:
    rows = got(
        filled, f"{API}/feed/cells?event=search&group=control&view=cumulative&from_ms={START + BUCKET}"
    )
    assert [(row["volume"], row["actors"]) for row in rows["items"]] == [(3, 2), (9, 3)]


def test_exposures_stand_in_rows_without_an_event(filled: Site) -> None:
    rows = got(filled, f"{API}/feed/cells?event=&view=cumulative&group=treatment")["items"]
    assert [row["exposures"] for row in rows] == [10, 15]


@pytest.mark.parametrize("view", ["bucket", "cumulative"])
@pytest.mark.parametrize("limit", [1, 2, 3, 9])
def test_pages_of_cells_are_the_whole_cut_anywhere(filled: Site, view: str, limit: int) -> None:
    whole = got(filled, f"{API}/feed/cells?view={view}")
    assert whole["next"] is None
    assert len(whole["items"]) == 10
    assert pages(filled, f"{API}/feed/cells?view={view}", limit) == whole["items"]


def test_a_range_is_half_open(filled: Site) -> None:
    path = f"{API}/feed/cells?event=search&group=control&from_ms={START}&to_ms={START + BUCKET}"
    assert [row["bucket_start_ms"] for row in got(filled, path)["items"]] == [START]


def test_without_a_period_cells_are_of_the_newest_one(filled: Site) -> None:
    later = START + 100 * 3_600_000
    filled.write(cell_row(period_start_ms=later, bucket_start_ms=later))
    assert {row["period_start_ms"] for row in got(filled, f"{API}/feed/cells")["items"]} == {later}
    assert len(got(filled, f"{API}/feed/cells?period={START}")["items"]) == 10


def test_uniques_are_a_union_and_not_a_sum(filled: Site) -> None:
    (row,) = got(filled, f"{API}/feed/uniques?event=search&group=control")["items"]
    assert round(row["estimate"]) == 4  # u3 is in both buckets
    assert row["buckets"] == 2
    assert row["standard_error"] == pytest.approx(row["estimate"] * 1.04 / 64)


def test_uniques_of_a_range_leave_out_other_buckets(filled: Site) -> None:
    (row,) = got(filled, f"{API}/feed/uniques?event=search&group=control&from_ms={START + BUCKET}")["items"]
    assert round(row["estimate"]) == 2


def test_a_damaged_sketch_is_a_fault_that_says_so(filled: Site) -> None:
    filled.write(cell_row(period_start_ms=START, bucket_start_ms=START + 7 * BUCKET, event="search"))
    answer = filled.client.get(f"{API}/feed/uniques")
    assert answer.status_code == 500
    assert answer.json()["code"] == "state"


def test_looks_come_in_order_with_all_columns(filled: Site) -> None:
    rows = got(filled, f"{API}/feed/looks")["items"]
    assert [row["look"] for row in rows] == [53, 54]
    assert tuple(rows[0]) == LookRow._fields
    assert pages(filled, f"{API}/feed/looks", 1) == rows


@pytest.mark.parametrize("key", ["group=x", "event=x", "metric=volume", "role=guardrail", "period=5"])
def test_looks_of_another_key_are_left_out(filled: Site, key: str) -> None:
    assert got(filled, f"{API}/feed/looks?{key}")["items"] == []


def test_csv_has_the_same_rows_as_json(filled: Site) -> None:
    for table in ("cells", "looks", "uniques"):
        items = got(filled, f"{API}/feed/{table}")["items"]
        answer = filled.client.get(f"{API}/feed/{table}?format=csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [list(row) for row in rows] == [list(item) for item in items]
        assert [row["event"] for row in rows] == [item["event"] for item in items]


def test_a_page_in_csv_links_to_the_next_one(filled: Site) -> None:
    answer = filled.client.get(f"{API}/feed/cells?format=csv&limit=9")
    following = answer.links["next"]["url"]
    rest = filled.client.get(f"{API}/feed/cells{following}")
    assert len(answer.text.splitlines()) == 10
    assert len(rest.text.splitlines()) == 2
    assert "next" not in rest.links


def test_verdicts_are_the_newest_looks_and_whether_they_are_good(filled: Site) -> None:
    filled.write(
        look(54, event="click", state="significant_drop"), look(54, event="view", state="collecting")
    )
    rows = got(filled, f"{API}/feed/verdicts")["items"]
    assert [(row["event"], row["look"], row["state"], row["verdict"]) for row in rows] == [
        ("click", 54, "significant_drop", None),  # nobody has said which direction is good
        ("search", 54, "significant_gain", "good"),
        ("view", 54, "collecting", None),
    ]
    assert rows[1]["lift"] == look(54).lift
    assert pages(filled, f"{API}/feed/verdicts", 2) == rows
    assert got(filled, f"{API}/feed/verdicts?period=5")["items"] == []


def test_verdicts_of_all_experiments_say_which_needs_a_person(filled: Site) -> None:
    filled.define(experiment("harmed"), experiment("new"))
    filled.freeze("harmed", search="up")
    filled.write(look(3, experiment="harmed", state="significant_drop"))
    rows = got(filled, "/api/v1/verdicts")["items"]
    assert [(row["experiment"], row["part"], row["verdict"], row["state"]) for row in rows] == [
        ("feed", "decided", "good", "significant_gain"),
        ("harmed", "urgent", "bad", "significant_drop"),
        ("new", "measuring", None, None),
    ]
    assert (rows[0]["users"], rows[1]["alarms"]) == (30, "search propensity is harmed under treatment")
    assert pages(filled, "/api/v1/verdicts", 1) == rows
    text = filled.client.get("/api/v1/verdicts?format=csv").text
    assert [row["experiment"] for row in csv.DictReader(io.StringIO(text))] == ["feed", "harmed", "new"]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_uniques_come_in_pages(filled: Site, limit: int) -> None:
    whole = got(filled, f"{API}/feed/uniques")["items"]
    assert [(row["group_name"], row["event"]) for row in whole] == [
        (group, event) for group in ("control", "treatment") for event in ("", "search")
    ]
    assert pages(filled, f"{API}/feed/uniques", limit) == whole


def test_a_sketch_in_registers_and_one_in_entries_unite(filled: Site) -> None:
    users = tuple(f"user-{number}" for number in range(3_000))
    filled.write(cell(7, users=users), cell(8, users=("user-0", "someone")))
    (row,) = got(filled, f"{API}/feed/uniques?group=treatment&event=search")["items"]
    assert row["estimate"] == pytest.approx(3_005, abs=2 * row["standard_error"])


def test_plans_are_those_that_were_frozen(filled: Site) -> None:
    (item,) = got(filled, f"{API}/feed/plans")["items"]
    assert item["period_start_ms"] == START
    assert item["plan"]["good"] == {"search": "up"}
    assert item["plan_hash"] in filled.client.get(f"{API}/feed/plans?format=csv").text


@pytest.mark.parametrize("path", ["", "/feed", "/feed/cells", "/feed/looks", "/feed/plans?format=csv"])
def test_who_has_an_answer_already_is_told_so(filled: Site, path: str) -> None:
    first = filled.client.get(API + path)
    again = filled.client.get(API + path, headers={"If-None-Match": f'"x", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    filled.define(experiment("another"))
    filled.write(cell(9), look(55))
    changed = filled.client.get(API + path, headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == (304 if "plans" in path else 200)


NAMES = ["a/b", "a b?c#d&e=f", "..", "%2F", "x' OR 1=1 --", "<script>", "ü☃", "cells", "a/cells"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_asked_for(site: Site, name: str) -> None:
    site.define(experiment(name), experiment("other"))
    site.write(cell(0, experiment=name))
    path = f"{API}/{quoted(name)}"
    assert got(site, path)["name"] == name
    assert {row["experiment"] for row in got(site, f"{path}/cells")["items"]} == {name}


def quoted(name: str) -> str:
    """Percent-encode all of a name: a client takes dots in a path as steps."""
    return "".join(f"%{byte:02X}" for byte in name.encode())


def test_sql_in_a_filter_is_only_a_name(filled: Site) -> None:
    for text in ("search' OR '1'='1", "search%", "'; DROP TABLE cells; --"):
        assert got(filled, f"{API}/feed/cells?event={quoted(text)}")["items"] == []
    assert len(got(filled, f"{API}/feed/cells")["items"]) == 10


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        pytest.param("/nobody", 404, "there is no experiment nobody", id="unknown experiment"),
        pytest.param("/feet", 404, "near are feed", id="nearly an experiment"),
        pytest.param("/nobody/cells", 404, "no experiment", id="cells of an unknown one"),
        pytest.param("/nobody/looks", 404, "no experiment", id="looks of an unknown one"),
        pytest.param("/nobody/plans", 404, "no experiment", id="plans of an unknown one"),
        pytest.param("/nobody/uniques", 404, "no experiment", id="uniques of an unknown one"),
        pytest.param("/%FF", 404, "no experiment", id="a name that isn't UTF-8"),
        pytest.param("/feed/nothing", 404, "nothing at this address", id="unknown route"),
        pytest.param(f"/{'x' * 10_000}", 422, "at most 128 bytes", id="a name of 10,000 characters"),
        pytest.param(f"/feed/cells?event={'x' * 10_000}", 422, "at most 128 bytes", id="a long event"),
        pytest.param("/feed/looks?group=%00", 422, "at most 128 bytes", id="a zero byte"),
        pytest.param("/feed/cells?from_ms=soon", 422, "from_ms: expected a whole number", id="no number"),
        pytest.param("/feed/cells?from_ms=-1", 422, "from_ms: expected at least 0", id="before 1970"),
        pytest.param("/feed/cells?to_ms=99999999999999999999", 422, "to_ms", id="beyond all integers"),
        pytest.param("/feed/cells?from_ms=5&to_ms=5", 422, "a time before to_ms", id="an empty range"),
        pytest.param("/feed/cells?from_ms=9&to_ms=5", 422, "a time before to_ms", id="a range turned around"),
        pytest.param("/feed/uniques?from_ms=0&to_ms=99999999999", 422, "at most 366 days", id="years"),
        pytest.param("/feed/cells?period=-1", 422, "period", id="a period before 1970"),
        pytest.param("/feed/cells?limit=0", 422, "at least 1", id="a page of nothing"),
        pytest.param("/feed/cells?limit=10001", 422, "at most 10000", id="a page too large"),
        pytest.param("/feed/cells?format=xml", 422, "format", id="unknown form"),
        pytest.param("/feed/cells?view=sideways", 422, "view", id="unknown view"),
        pytest.param("/feed/cells?cursor=zzz", 422, "`next` of the page before", id="a made-up cursor"),
        pytest.param("/feed/cells?cursor=WzEsMiwzXQ", 422, "`next` of the page", id="a cursor of numbers"),
        pytest.param("/feed/cells?cursor=%C3%BC", 422, "`next` of the page", id="a cursor beyond ASCII"),
        pytest.param(f"/feed/looks?cursor={'A' * 5000}", 422, "`next` of the page", id="a long cursor"),
        pytest.param("/feed/cells?cursor=WyJcdWQ4MDAiLCAiYSIsIDFd", 422, "`next`", id="half a character"),
        pytest.param("/feed/cells?cursor=WyJcdTAwMDAiLCAiYSIsIDFd", 422, "`next`", id="a zero byte within"),
        pytest.param("?cursor=Wy0xXQ", 422, "`next` of the page", id="a cursor before the first"),
        pytest.param("/feed/cells?groop=x", 422, "one of period, group", id="a misspelt parameter"),
        pytest.param("/feed/cells?group=a&group=b", 422, "one value", id="a parameter twice"),
        pytest.param("/feed?x=1", 422, "no parameters", id="a parameter where none is"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_that_says_why(
    filled: Site, path: str, status: int, told: str
) -> None:
    answer = filled.client.get(API + path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert told in answer.json()["detail"]
    assert answer.json()["status"] == status
    assert len(answer.content) < 1000


def test_a_method_that_changes_things_is_refused(filled: Site) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = filled.client.request(method, f"{API}/feed")
        assert (answer.status_code, answer.headers["content-type"]) == (405, PROBLEM)


@pytest.mark.parametrize("path", ["", "/feed", "/feed/cells?format=csv", "/nobody"])
def test_head_says_what_get_would_without_a_body(filled: Site, path: str) -> None:
    plain = {"Accept-Encoding": "identity"}  # how long it would be when packed, nobody knows before
    told, whole = (ask(API + path, headers=plain) for ask in (filled.client.head, filled.client.get))
    assert (told.status_code, told.content) == (whole.status_code, b"")
    assert {**told.headers, "vary": "Accept-Encoding"} == {**whole.headers, "vary": "Accept-Encoding"}


def test_a_stream_that_never_ends_has_no_head(filled: Site) -> None:
    assert filled.client.head("/api/v1/events").status_code in {404, 405}


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PROPFIND", "x" * 1_000])
def test_other_methods_are_refused_with_those_that_there_are(filled: Site, method: str) -> None:
    answer = filled.client.request(method, f"{API}/feed")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.json()["code"] == "method-not-allowed"


def test_a_database_that_goes_away_is_said_and_comes_back(filled: Site) -> None:
    path = filled.database.path
    away = path.with_name("away")
    path.rename(away)
    path.mkdir()  # can't be opened, nor made anew
    filled.client.app.state.engine.dispose()  # type: ignore[attr-defined] # connections to the old file
    answer = filled.client.get(f"{API}/feed")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["code"] == "store-unavailable"
    assert str(path) not in answer.text
    path.rmdir()
    away.rename(path)
    assert got(filled, f"{API}/feed")["name"] == "feed"


def test_health_says_what_is_missing_and_not_where(tmp_path: Path) -> None:
    with open_site(tmp_path, migrated=False) as site:
        assert site.client.get("/health/live").json() == {"live": True}
        answer = site.client.get("/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "reasons": ["state"]})


def test_health_is_ready_when_sql_is(site: Site) -> None:
    assert site.client.get("/health/ready").json() == {"ready": True, "reasons": []}


def test_the_openapi_document_names_every_route_of_the_api(site: Site) -> None:
    document = got(site, "/api/v1/openapi.json")
    one = "/api/v1/experiments/{name}"
    assert {
        *("/api/v1/experiments", "/api/v1/verdicts", one),
        *(f"{one}/{table}" for table in ("cells", "uniques", "looks", "verdicts", "plans", "curves")),
        *(f"/api/v1/{table}" for table in ("pipeline", "workers", "counters", "freshness")),
    } <= set(document["paths"])


def test_the_openapi_document_says_what_answers_hold_and_what_can_go_wrong(site: Site) -> None:
    document = got(site, "/api/v1/openapi.json")
    for path, operations in document["paths"].items():
        if not path.startswith("/api/"):
            continue
        responses = operations["get"]["responses"]
        assert {"200", "304", "422", "503"} <= set(responses), path
        assert responses["200"]["content"]["application/json"]["schema"]["$ref"], path
        assert operations["get"]["description"], path
    cell = document["components"]["schemas"]["Cell"]
    assert tuple(cell["properties"]) == tuple(cell["required"]) == SeriesRow._fields
    assert tuple(document["components"]["schemas"]["Look"]["required"]) == LookRow._fields


def test_an_experiment_may_be_called_like_a_stream(site: Site) -> None:
    site.define(experiment("events"))
    for path in (f"{API}/events", "/experiments/events"):
        assert (site.client.head(path).status_code, site.client.get(path).status_code) == (200, 200)
