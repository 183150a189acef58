"""`/metrics` of the web application: behind the same gate, by templates of routes, pipeline from SQL."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from tests.unit.metrics.scrapes import Scrape
from tests.unit.store.databases import open_database
from tests.unit.web.sites import HERE, TOKEN, experiment, open_site
from tests.unit.web.streams import live_site

from rtexp.metrics.definitions import BY_NAME
from rtexp.metrics.requests import NO_ROUTE, SLOW_SECONDS
from rtexp.store.engine import writing
from rtexp.store.operations import (
    FreshnessRow,
    PipelineRow,
    WorkerRow,
    upsert_freshness,
    upsert_pipeline,
    upsert_workers,
)
from rtexp.web.metrics import MOST_WORKERS, TARGET_MS, SqlSamples

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine
    from tests.unit.web.sites import Site
    from tests.unit.web.streams import LiveSite

MINUTE_MS = 60_000
NOW_MS = 10 * MINUTE_MS + 30_000


def scraped(site: Site) -> Scrape:
    answer = site.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return Scrape(answer.content)


def responses(site: Site) -> dict[tuple[str, ...], float]:
    return scraped(site).all("rtexp_web_responses_total")


def test_requests_are_counted_by_route_and_never_by_name(site: Site) -> None:
    site.define(experiment("secret-name"))
    for path in (
        "/",
        "/experiments/secret-name",
        "/api/v1/experiments/secret-name/cells",
        "/api/v1/experiments/nobody",
        "/no/such/secret-name",
    ):
        site.client.get(path)
    found = responses(site)
    assert found == {
        ("GET", "/", "200"): 1,
        ("GET", "/experiments/{name}", "200"): 1,
        ("GET", "/api/v1/experiments/{name}/cells", "200"): 1,
        ("GET", "/api/v1/experiments/{name}", "404"): 1,
        ("GET", NO_ROUTE, "404"): 1,
    }
    assert b"secret-name" not in site.client.get("/metrics").content


def test_a_scrape_counts_itself_in_the_next_one(site: Site) -> None:
    scraped(site)
    assert responses(site)["GET", "/metrics", "200"] == 1


def test_methods_that_somebody_makes_up_are_one(site: Site) -> None:
    for method in ("BREW", "SIMMER"):
        site.client.request(method, "/")
    assert {key[0] for key in responses(site)} == {"other"}


def test_durations_add_up_to_what_was_answered(site: Site) -> None:
    for _ in range(3):
        site.client.get("/")
    found = scraped(site)
    assert found.one("rtexp_web_request_seconds_count", {"route": "/"}) == 3
    assert found.one("rtexp_web_request_seconds_bucket", {"route": "/", "le": "+Inf"}) == 3
    assert 0 < found.one("rtexp_web_request_seconds_sum", {"route": "/"}) < 30
    assert found.one("rtexp_web_requests_in_progress") == 1  # the scrape itself


def test_without_the_token_nothing_is_shown_and_the_refusal_is_counted(tmp_path: Path) -> None:
    with open_site(tmp_path, token=TOKEN) as site:
        assert site.client.get("/metrics").status_code == 401
        answer = site.client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert Scrape(answer.content).all("rtexp_web_responses_total") == {("GET", NO_ROUTE, "401"): 1}


def test_other_names_of_this_machine_are_refused_here_too(site: Site) -> None:
    assert site.client.get("/metrics", headers={"Host": "evil.example"}).status_code == 421
    assert site.client.get("/metrics", headers={"Host": HERE.removeprefix("http://")}).status_code == 200


def write(engine: Engine) -> None:
    with writing(engine) as connection:
        upsert_pipeline(
            connection,
            [
                PipelineRow("aggregate", "rtexp.actions", 1, "host-1", 90, 7, 30_000, 0, 0, 0, 60_000),
                PipelineRow("results", "rtexp.partials", 0, "host-2", 10, None, 0, 0, 0, 0, 50_000),
            ],
        )
        upsert_workers(connection, [WorkerRow("host-1", "aggregate", "", 4, 50, 1, 2**20, 1.5, 60_000)])
        upsert_freshness(
            connection,
            [
                FreshnessRow(8 * MINUTE_MS, 9_000, 9_900),
                FreshnessRow(9 * MINUTE_MS, 12_000, 14_500),
                FreshnessRow(10 * MINUTE_MS, 1, 2),
            ],
        )


def test_the_pipeline_is_what_sql_says(engine: Engine) -> None:
    write(engine)
    found = {(s.name, s.labels): s.value for s in SqlSamples(engine, clock=lambda: NOW_MS / 1000)()}
    actions, partials = ("aggregate", "rtexp.actions", "1"), ("results", "rtexp.partials", "0")
    assert found == {
        ("rtexp_sql_up", ()): 1,
        ("rtexp_sql_input_lag_offsets", actions): 7,
        ("rtexp_sql_input_watermark_timestamp_seconds", actions): 30,
        ("rtexp_sql_input_reported_timestamp_seconds", actions): 60,
        ("rtexp_sql_input_reported_timestamp_seconds", partials): 50,
        ("rtexp_sql_worker_reported_timestamp_seconds", ("aggregate", "host-1")): 60,
        ("rtexp_freshness_seconds", ("0.5",)): 12,
        ("rtexp_freshness_seconds", ("0.99",)): 14.5,
        ("rtexp_freshness_minute_timestamp_seconds", ()): 9 * 60,
    }


def test_of_a_day_of_names_the_newest_workers_are_shown(engine: Engine) -> None:
    rows = [WorkerRow(f"host-{n}", "ingest", "", 1, 0, 0, 0, 0.0, n) for n in range(MOST_WORKERS + 50)]
    with writing(engine) as connection:
        upsert_workers(connection, rows)
    samples = [s for s in SqlSamples(engine)() if s.name == "rtexp_sql_worker_reported_timestamp_seconds"]
    assert len(samples) == MOST_WORKERS
    assert min(s.value for s in samples) == 50 / 1000


def test_a_database_that_is_away_is_said_and_the_rest_still_shown(tmp_path: Path) -> None:
    with open_site(tmp_path, migrated=False) as site:
        found = scraped(site)
        assert found.one("rtexp_sql_up") == 0
        assert found.one("process_resident_memory_bytes") > 0
        with open_database(site.database):
            pass  # it is there now
        assert scraped(site).one("rtexp_sql_up") == 1


def test_everything_shown_is_defined_for_the_web_application(site: Site) -> None:
    with open_database(site.database) as engine:
        write(engine)
    site.client.get("/")
    found = scraped(site)
    for name in found.names:
        assert "web" in BY_NAME[name].where, name


@pytest.mark.parametrize("accept", ["application/openmetrics-text", "text/plain", "*/*", "x" * 5000])
def test_any_accept_header_gets_an_answer(site: Site, accept: str) -> None:
    assert site.client.get("/metrics", headers={"Accept": accept}).status_code == 200


def test_prometheus_is_told_where_the_workers_are_that_live(site: Site) -> None:
    now_ms = int(time.time() * 1000)
    workers = [
        WorkerRow("host-1", "ingest", "http://host:6066", 1, 0, 0, 0, 0.0, now_ms),
        WorkerRow("host-2", "results", "http://[::1]:7000", 1, 0, 0, 0, 0.0, now_ms),
        WorkerRow("host-3", "results", "http://gone:1", 1, 0, 0, 0, 0.0, now_ms - TARGET_MS),
        WorkerRow("host-4", "results", "", 1, 0, 0, 0, 0.0, now_ms),
    ]
    with open_database(site.database) as engine, writing(engine) as connection:
        upsert_workers(connection, workers)
    answer = site.client.get("/metrics/targets")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == [{"targets": ["[::1]:7000", "host:6066"]}]


def test_what_is_no_address_of_a_worker_is_no_target(site: Site) -> None:
    now_ms = int(time.time() * 1000)
    urls = ["http://[", "file:///x", "https://host:1", "http://", "http://me:pw@host:1", "http://good:6066"]
    with open_database(site.database) as engine, writing(engine) as connection:
        rows = [WorkerRow(f"w{n}", "ingest", url, 1, 0, 0, 0, 0.0, now_ms) for n, url in enumerate(urls)]
        upsert_workers(connection, rows)
    assert site.client.get("/metrics/targets").json() == [{"targets": ["good:6066"]}]


def test_without_sql_no_target_is_forgotten_as_the_answer_is_an_error(tmp_path: Path) -> None:
    with open_site(tmp_path, migrated=False) as site:
        assert site.client.get("/metrics/targets").status_code >= 500


def test_a_request_has_one_line_at_debug_which_holds_no_name(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rtexp.metrics.requests")
    site.client.get("/experiments/secret-name?bad=secret-name")
    (line,) = [record for record in caplog.records if record.name == "rtexp.metrics.requests"]
    told = (line.levelname, line.getMessage(), line.__dict__["route"], line.__dict__["status"])
    assert told == ("DEBUG", "request", "/experiments/{name}", 404)
    assert "secret-name" not in str(line.__dict__)


def asked(site: LiveSite) -> Scrape:
    host, port = site.address
    with urlopen(f"http://{host}:{port}/metrics", timeout=30) as answer:
        return Scrape(answer.read())


def test_open_streams_are_counted_and_never_taken_for_slow_requests(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rtexp.metrics.requests")
    with live_site(tmp_path) as site:
        streams = [site.stream("/"), site.stream("/"), site.stream("/state")]
        for stream in streams:
            assert stream.next() is not None
        found = asked(site)
        assert (found.one("rtexp_web_streams"), found.one("rtexp_web_watched_pages")) == (3, 2)
        time.sleep(SLOW_SECONDS)  # until one that isn't known as a stream would count as slow
        for stream in streams:
            stream.close()
        ended, until = ("GET", "/api/v1/events", "200"), time.monotonic() + 20
        while (found := asked(site)).all("rtexp_web_responses_total").get(ended) != 3:
            assert time.monotonic() < until
        assert found.one("rtexp_web_streams") == found.one("rtexp_web_watched_pages") == 0
        assert ("GET", "/api/v1/events") not in found.all("rtexp_web_request_seconds_count")
    assert [record for record in caplog.records if record.__dict__.get("route") == "/api/v1/events"] == []
