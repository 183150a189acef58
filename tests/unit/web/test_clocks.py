"""Pages of a replay: the records' own times say how far a period is and what has happened in it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from tests.unit.web.operations_samples import keep, position
from tests.unit.web.sites import START, Site, experiment, look, open_site
from tests.unit.web.test_pages import page, words

from rtexp.records.snapshot import Allocation
from rtexp.settings import PipelineSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rtexp.store.definitions import Experiment

HOUR_MS = 3_600_000
SECOND_MS = START + 80 * HOUR_MS
"""The start of a second period."""


def twice() -> Experiment:
    first = experiment("twice")
    again = tuple(Allocation(group, 60, SECOND_MS) for group in first.groups)
    return dataclasses.replace(first, allocations=(*first.allocations, *again))


def counted_up_to(site: Site, at_ms: int) -> None:
    keep(site, *(position(job, "in", 0, at_ms=at_ms, behind_ms=0) for job in ("aggregate", "results")))


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[Site]:
    """A replay of years ago: half of a period, and plans of all, as a replay freezes them at once."""
    with open_site(tmp_path, pipeline=PipelineSettings(clock="records")) as site:
        site.define(twice())
        for start_ms in (START, SECOND_MS):
            site.freeze("twice", start_ms=start_ms, search="up")
        site.write(
            *(
                look(
                    number,
                    experiment="twice",
                    scheduled_ms=START + number * HOUR_MS,
                    evaluated_ms=1_790_000_000_000,
                    state="significant_gain" if number == 30 else "no_difference_yet",
                    crossed=number == 30,
                )
                for number in (29, 30)
            )
        )
        counted_up_to(site, START + 36 * HOUR_MS)
        yield site


@pytest.mark.parametrize("path", ["/", "/experiments/twice"])
def test_a_period_is_as_far_as_its_records(replay: Site, path: str) -> None:
    assert "36.0 of 72 h" in replay.client.get(path).text
    counted_up_to(replay, START + 73 * HOUR_MS)
    assert "72 h, over" in replay.client.get(path).text


def test_a_period_that_no_record_has_reached_is_not_the_one_that_is_shown(replay: Site) -> None:
    assert "Significant gain" in words(page(replay, "/"))
    assert "A gain in search" in words(page(replay, "/experiments/twice"))
    assert replay.client.get("/api/v1/verdicts").json()["items"][0]["period_start_ms"] == START
    counted_up_to(replay, SECOND_MS + HOUR_MS)
    assert "no activations yet" in words(page(replay, "/"))
    assert "No activations yet The ramp is 60 min old" in words(page(replay, "/experiments/twice"))


def test_what_has_happened_stands_at_its_time_in_the_records(replay: Site) -> None:
    changes = words(page(replay, "/")).partition("Last changes")[2]
    assert "04:15 twice search propensity: Significant gain at look 30" in changes
    assert "treatment to 60%" not in changes
    text = words(page(replay, "/experiments/twice"))
    assert "Look Due Control" in text
    assert "04:15 search propensity: Significant gain" in text


def test_an_allocation_that_does_not_hold_yet_is_not_shown_as_the_one_that_does(replay: Site) -> None:
    later = experiment("twice")
    ramp = Allocation("treatment", 90, START + 40 * HOUR_MS)
    replay.define(dataclasses.replace(later, allocations=(*later.allocations, ramp)))
    groups = {}
    for hour in (36, 41):
        counted_up_to(replay, START + hour * HOUR_MS)
        groups[hour] = words(page(replay, "/experiments/twice")).partition("Observed")[2].partition("Bar:")[0]
    assert "treatment 50% " in groups[36]
    assert "treatment 90% " in groups[41]


def test_live_a_look_was_when_it_was_evaluated(filled: Site) -> None:
    assert "Look Evaluated Control" in words(page(filled, "/experiments/feed"))
