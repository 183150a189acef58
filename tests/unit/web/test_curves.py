"""Curves: the same counts as the cells, in columns, with bands and the evidence of each look."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.web.sites import BUCKET, START, Site, cell, experiment, look

from rtexp.statistics.bands import band
from rtexp.statistics.confidence_sequence import rho_squared
from rtexp.statistics.counts import Counts
from rtexp.statistics.effects import Metric

if TYPE_CHECKING:
    from rtexp.store.cells import CellRow

MOST_GZIPPED_BYTES = 8_000


def got(site: Site, query: str, name: str = "feed") -> Any:
    answer = site.client.get(f"/api/v1/experiments/{name}/curves?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def day_of(group: str) -> list[CellRow]:
    """A whole period of one group whose counts differ from bucket to bucket."""
    return [
        row
        for bucket in range(288)
        for row in (
            cell(bucket, event="", group=group, exposures=100 + (bucket * 7919) % 97),
            cell(bucket, group=group)._replace(
                volume=60 + (bucket * 6007) % 59, actors=30 + (bucket * 4001) % 31, sum_squares=400
            ),
        )
    ]


def test_columns_are_the_increments_of_the_cells_and_end_with_the_newest_bucket(filled: Site) -> None:
    found = got(filled, "event=search")
    assert found["origin_ms"] == START
    assert [group["group_name"] for group in found["groups"]] == ["control", "treatment"]
    assert [group["control"] for group in found["groups"]] == [True, False]
    for group in found["groups"]:
        assert group["exposures"] == [10, 5, 0, 0, 0, 0]
        assert group["volume"] == [1, 2, 0, 0, 0, 6]
        assert group["actors"] == [1, 1, 0, 0, 0, 1]


def test_their_sums_are_those_of_the_cumulative_cells(filled: Site) -> None:
    cells = filled.client.get("/api/v1/experiments/feed/cells?view=cumulative&event=search&group=control")
    newest = cells.json()["items"][-1]
    (control,) = [g for g in got(filled, "event=search")["groups"] if g["control"]]
    assert (sum(control["volume"]), sum(control["actors"])) == (newest["volume"], newest["actors"])


@pytest.mark.parametrize("metric", Metric)
def test_the_band_is_the_confidence_sequence_of_the_sums(filled: Site, metric: Metric) -> None:
    (control, _) = got(filled, f"event=search&metric={metric}")["groups"]
    # The first buckets of the sample: 15 users, 3 actions by 2 actors, sum of squares 1 + 4.
    half = band(metric, Counts(15, 3, 5, 2), rho_squared(0.05, 10_000), 0.05)
    assert control["half_width"][1] == pytest.approx(half, rel=1e-3)


def test_before_a_plan_is_frozen_there_is_no_band(site: Site) -> None:
    site.define(experiment())
    site.write(cell(0, event="", exposures=50), cell(0))
    assert got(site, "event=search")["groups"][1]["half_width"] == [None]


def test_looks_stand_beside_the_buckets(filled: Site) -> None:
    (looks,) = got(filled, "event=search")["looks"]
    assert looks["look"] == [53, 54]
    assert looks["z"] == [1.5, pytest.approx(3.35, abs=0.01)]
    assert looks["first_crossed"] == 54
    assert len(looks["boundary"]) == len(looks["offset_ms"]) == 2


def test_a_look_without_evidence_leaves_a_gap(filled: Site) -> None:
    filled.write(look(52, z=None, boundary=None, crossed=False, reason="group_too_small"))
    (looks,) = got(filled, "event=search")["looks"]
    assert (looks["z"][0], looks["boundary"][0]) == (None, None)


def test_cells_outside_of_the_period_and_of_other_groups_are_left_out(filled: Site) -> None:
    filled.write(
        cell(0)._replace(bucket_start_ms=START - BUCKET, volume=99),
        cell(0)._replace(bucket_start_ms=START + 400 * BUCKET, volume=99),
        cell(0, group="stranger")._replace(volume=99),
    )
    for group in got(filled, "event=search")["groups"]:
        assert sum(group["volume"]) == 9


def test_an_experiment_without_cells_has_empty_columns(site: Site) -> None:
    site.define(experiment())
    found = got(site, "event=search")
    assert found["period_start_ms"] is None
    assert [group["volume"] for group in found["groups"]] == [[], []]
    assert found["looks"] == []


@pytest.mark.parametrize("metric", Metric)
def test_a_whole_period_is_a_few_kilobytes(filled: Site, metric: Metric) -> None:
    filled.write(*day_of("control"), *day_of("treatment"))
    filled.write(*(look(number, z=number / 17, boundary=150 / number) for number in range(1, 73)))
    answer = filled.client.get(f"/api/v1/experiments/feed/curves?event=search&metric={metric}")
    assert len(answer.json()["groups"][0]["volume"]) == 288
    assert len(gzip.compress(answer.content, 6)) <= MOST_GZIPPED_BYTES


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 422),
        ("event=search&metric=nothing", 422),
        ("event=search&period=-1", 422),
        ("event=search&other=1", 422),
        ("event=" + "x" * 200, 422),
    ],
)
def test_what_makes_no_sense_is_refused(filled: Site, query: str, status: int) -> None:
    assert filled.client.get(f"/api/v1/experiments/feed/curves?{query}").status_code == status


def test_an_unknown_experiment_has_no_curves(filled: Site) -> None:
    assert filled.client.get("/api/v1/experiments/nobody/curves?event=search").status_code == 404
