"""The generated stream for something to look at, examples/live_stream.py: experiments that ramp when it starts."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import TYPE_CHECKING

import pytest
from examples.live_stream import load_experiments, records

from rtexp.local.truth import HOUR_MS, Rules
from rtexp.settings import Settings, StoreSettings
from rtexp.store.engine import opened, reading
from rtexp.store.metadata import read_experiments
from rtexp.store.migrate import upgrade

if TYPE_CHECKING:
    from pathlib import Path

NOW_MS = 1_790_000_000_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(store=StoreSettings(url=f"sqlite:///{tmp_path}/rtexp.db"))
    with opened(made.store) as engine:
        upgrade(engine)
    return made


def first_ramps(settings: Settings) -> dict[str, int]:
    with opened(settings.store) as engine, reading(engine) as connection:
        return {each.name: each.allocations[0].at_ms for each in read_experiments(connection)}


def test_every_experiment_has_just_ramped_when_it_starts(settings: Settings) -> None:
    load_experiments(settings, NOW_MS)
    ramps = first_ramps(settings)
    assert len(ramps) == 5
    assert all(NOW_MS - 2 * HOUR_MS < ramp_ms <= NOW_MS for ramp_ms in ramps.values())


def test_started_again_it_goes_on_with_the_same_experiments(settings: Settings) -> None:
    story, _ = load_experiments(settings, NOW_MS)
    ramps = first_ramps(settings)
    assert load_experiments(settings, NOW_MS + 3 * HOUR_MS) == (story, 0)
    assert first_ramps(settings) == ramps


def test_in_the_next_cycle_the_experiments_ramp_again(settings: Settings) -> None:
    story, _ = load_experiments(settings, NOW_MS)
    later_ms = NOW_MS + story.cycle_ms
    assert load_experiments(settings, later_ms) == (story, 1)
    with opened(settings.store) as engine, reading(engine) as connection:
        for each in read_experiments(connection):
            assert any(allocation.at_ms > later_ms - 2 * HOUR_MS for allocation in each.allocations)


def test_the_stream_goes_on_from_now_in_order(settings: Settings) -> None:
    story, cycle = load_experiments(settings, NOW_MS)
    stream = records(story, Rules.of(settings), 1.0, cycle=cycle, now_ms=NOW_MS)
    sent = list(islice(stream, 200))
    assert all(earlier.arrival_ms <= later.arrival_ms for earlier, later in pairwise(sent))
    assert NOW_MS <= sent[0].arrival_ms < NOW_MS + HOUR_MS
    assert {record.kind for record in sent} == {"actions", "activations"}
