"""The API's tables of what the jobs do."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest
from tests.unit.web.operations_samples import MINUTE_MS, counted, healthy, keep, now_ms
from tests.unit.web.test_api import PROBLEM, got, pages

from rtexp.store.operations import PipelineRow, WorkerRow

if TYPE_CHECKING:
    from tests.unit.web.sites import Site

API = "/api/v1"


@pytest.mark.parametrize("path", ["pipeline", "workers", "counters", "counters?view=minute", "freshness"])
def test_pages_of_rows_are_the_whole_cut_anywhere(site: Site, path: str) -> None:
    keep(site, *healthy())
    whole = got(site, f"{API}/{path}")
    assert whole["next"] is None
    assert len(whole["items"]) > 2
    for limit in (1, 2, 7):
        assert pages(site, f"{API}/{path}", limit) == whole["items"]


def test_the_pipeline_and_the_workers_are_the_rows_in_sql(site: Site) -> None:
    rows = healthy()
    keep(site, *rows)
    for path, kind in (("pipeline", PipelineRow), ("workers", WorkerRow)):
        wanted = sorted(row for row in rows if isinstance(row, kind))
        assert got(site, f"{API}/{path}")["items"] == [row._asdict() for row in wanted]


def test_counts_are_sums_over_partitions_of_the_last_day(site: Site) -> None:
    keep(site, *healthy(), counted("actions/missing-field", 1_000, ago_minutes=25 * 60))
    totals = {(row["job"], row["reason"]): row["count"] for row in got(site, f"{API}/counters")["items"]}
    assert totals["aggregate", "actions/missing-field"] == 15
    hour = now_ms() - 3_600_000
    (row,) = got(site, f"{API}/counters?reason=actions/missing-field&from_ms={hour}")["items"]
    assert row == {"job": "aggregate", "reason": "actions/missing-field", "minute_ms": None, "count": 10}
    by_minute = got(site, f"{API}/counters?job=aggregate&view=minute&reason=actions/missing-field")["items"]
    assert [row["count"] for row in by_minute] == [5, 10]
    assert {row["job"] for row in got(site, f"{API}/counters?job=ingest")["items"]} == {"ingest"}


def test_a_range_of_minutes_is_half_open(site: Site) -> None:
    keep(site, *healthy())
    newest = got(site, f"{API}/freshness")["items"][-1]["minute_ms"]
    path = f"{API}/freshness?from_ms={newest - 2 * MINUTE_MS}&to_ms={newest}"
    assert [row["minute_ms"] for row in got(site, path)["items"]] == [
        newest - 2 * MINUTE_MS,
        newest - MINUTE_MS,
    ]


def test_tables_come_as_csv_and_unchanged_ones_not_again(site: Site) -> None:
    keep(site, *healthy())
    answer = site.client.get(f"{API}/pipeline?format=csv")
    header, *lines = csv.reader(io.StringIO(answer.text))
    assert tuple(header) == PipelineRow._fields
    assert len(lines) == 10
    again = site.client.get(f"{API}/pipeline?format=csv", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.text) == (304, "")


@pytest.mark.parametrize(
    "path",
    [
        "pipeline?other=1",
        "workers?limit=0",
        "workers?cursor=x",
        "counters?view=hour",
        "counters?from_ms=5&to_ms=4",
        f"counters?reason={'x' * 10_000}",
        "counters?job=a%00b",
        "freshness?from_ms=-1",
        "freshness?from_ms=1e9",
        "freshness?format=xml",
    ],
)
def test_what_makes_no_sense_is_refused(site: Site, path: str) -> None:
    answer = site.client.get(f"{API}/{path}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == PROBLEM
    assert len(answer.text) < 600
