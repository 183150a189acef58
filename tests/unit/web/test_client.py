"""The client against a real server: what it gives is what stands in SQL, and refusals are one exception."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any, get_type_hints

import httpx2
import msgspec
import pytest
from tests.unit.web.servers import serving
from tests.unit.web.sites import BUCKET, START, TOKEN, Site, cell, experiment, look, open_site

from rtexp.client import (
    TOKEN_VARIABLE,
    URL_VARIABLE,
    ApiError,
    Cell,
    Client,
    Look,
    Standing,
    Uniques,
    Verdict,
)
from rtexp.store.looks import LookRow
from rtexp.web import series, verdicts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ["a/b", "..", ".", "a b?c#d&e=f", "%2F", "x' OR 1=1 --", "<script>", "ü☃", "cells", "=1+1"]
BUCKETS = 2_500
"""More than two pages."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over one experiment with looks, a plan and many buckets, and others of odd names."""
    directory = tmp_path_factory.mktemp("client")
    with open_site(directory) as site:
        fill(site)
    with serving(directory, WEB_TOKEN=TOKEN) as server:
        yield server.address


def fill(site: Site) -> None:
    site.define(experiment(), *(experiment(name) for name in NAMES))
    site.freeze(search="up")
    site.write(
        look(53, state="no_difference_yet", crossed=False),
        look(54),
        *(cell(bucket, group="control", users=("u1", f"u{bucket}")) for bucket in range(BUCKETS)),
        *(cell(0, event="", exposures=7, group=group) for group in ("control", "treatment")),
    )


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, token=TOKEN) as opened:
        yield opened


def test_experiments_come_with_periods_and_users(client: Client) -> None:
    found = list(client.experiments())
    assert [each.name for each in found] == ["feed", *NAMES]
    (period,) = found[0].periods
    assert (period.start_ms, period.users) == (START, {"control": 7, "treatment": 7})


def test_an_experiment_comes_with_its_plan_and_newest_looks(client: Client) -> None:
    found = client.experiment("feed")
    (period,) = found.periods
    assert [row.look for row in period.looks] == [54]
    assert period.plan is not None
    assert period.plan["good"] == {"search": "up"}
    assert {each.percent for each in found.allocations} == {50}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_asked_for(client: Client, name: str) -> None:
    assert client.experiment(name).name == name
    assert list(client.looks(name)) == []


def test_rows_of_all_pages_come_once_and_in_order(client: Client) -> None:
    rows = list(client.cells("feed", group="control", event="search"))
    assert [row.bucket_start_ms for row in rows] == [START + number * BUCKET for number in range(BUCKETS)]
    assert [row.volume for row in rows] == list(range(1, BUCKETS + 1))


def test_a_page_is_asked_for_when_its_rows_are_taken(client: Client) -> None:
    asked: list[httpx2.Request] = []
    client._http.event_hooks = {"request": [asked.append]}
    rows = client.cells("feed", view="cumulative")
    assert asked == []
    (first,) = islice(rows, 1)
    assert (first.event, first.exposures, len(asked)) == ("", 7, 1)
    assert len(list(rows)) == BUCKETS + 1
    assert len(asked) == 3


def test_cells_of_a_range_are_its_buckets(client: Client) -> None:
    asked = client.cells("feed", event="search", from_ms=START, to_ms=START + 2 * BUCKET, view="cumulative")
    assert [row.volume for row in asked] == [1, 3]


def test_uniques_are_estimates_with_their_error(client: Client) -> None:
    (row,) = client.uniques("feed", event="search", to_ms=START + 10 * BUCKET)
    assert (row.group_name, round(row.estimate), row.buckets) == ("control", 10, 10)
    assert row.standard_error == pytest.approx(row.estimate * 1.04 / 64)


def test_verdicts_say_what_is_good(client: Client) -> None:
    (row,) = client.verdicts("feed", period=START)
    assert (row.state, row.verdict, row.lift) == ("significant_gain", "good", look(54).lift)
    standings = {row.experiment: row for row in client.standings()}
    assert (standings["feed"].part, standings[".."].part) == ("decided", "measuring")


def test_looks_are_the_rows_in_sql(client: Client) -> None:
    assert [msgspec.structs.astuple(row) for row in client.looks("feed", metric="propensity")] == [
        tuple(look(53, state="no_difference_yet", crossed=False)),
        tuple(look(54)),
    ]
    (plan,) = client.plans("feed")
    assert plan.plan["good"] == {"search": "up"}


@pytest.mark.parametrize(
    ("row", "struct"),
    [
        (series.SeriesRow, Cell),
        (series.Uniques, Uniques),
        (LookRow, Look),
        (verdicts.VerdictRow, Verdict),
        (verdicts.Standing, Standing),
    ],
)
def test_rows_have_the_fields_and_types_of_the_server(row: Any, struct: Any) -> None:
    assert get_type_hints(struct) == get_type_hints(row)


def test_what_the_server_refuses_is_an_error_with_its_code(client: Client) -> None:
    with pytest.raises(
        ApiError, match="404 unknown-experiment: there is no experiment fed; near are feed"
    ) as e:
        client.experiment("fed")
    assert (e.value.status, e.value.code, e.value.retry_seconds) == (404, "unknown-experiment", None)
    with pytest.raises(ApiError) as e:
        next(client.cells("feed", from_ms=5, to_ms=5))
    assert e.value.code == "bad-parameter"


def test_a_wrong_token_is_refused(address: str) -> None:
    with Client(address, token="x" * 16) as client, pytest.raises(ApiError) as error:
        client.experiment("feed")
    assert error.value.code == "unauthorized"
    assert "xxx" not in str(error.value)


def test_address_and_token_come_from_the_environment(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, address.rstrip("/"))
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    with Client() as client:
        assert client.experiment("feed").name == "feed"


def test_a_database_that_is_away_is_an_error_that_says_when_to_ask_again(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        site.define(experiment())
    with serving(tmp_path) as server, Client(server.address) as client:
        (tmp_path / "x.db").rename(tmp_path / "away.db")
        (tmp_path / "x.db").mkdir()
        with pytest.raises(ApiError) as error:
            client.experiment("feed")
        assert (error.value.status, error.value.retry_seconds) == (503, 5)
        (tmp_path / "x.db").rmdir()
        (tmp_path / "away.db").rename(tmp_path / "x.db")
        assert client.experiment("feed").name == "feed"


def test_a_server_that_is_not_there_is_no_answer_of_a_server() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(httpx2.TransportError):
        client.experiment("feed")


def test_the_client_needs_nothing_of_the_server() -> None:
    loaded = "import sys, rtexp.client; print({'sqlalchemy', 'fastapi', 'faust', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
