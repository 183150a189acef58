"""Tests of the tests: without a safeguard, the same runs find cells or looks that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.faults.looks_run import AT_RANDOM, LooksRun
from tests.faults.scripted import actions_first, killed_after_counting, zombie_before_commit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.faults, pytest.mark.integration]

EXIT_FATAL = 70


async def test_what_a_killed_worker_has_counted_counts_once(tmp_path: Path, broker: str) -> None:
    assert (await killed_after_counting(tmp_path, broker, "")).differing == {}


async def test_without_the_marker_it_counts_twice(tmp_path: Path, broker: str) -> None:
    assert (await killed_after_counting(tmp_path, broker, "marker")).differing


async def test_if_rewound_outputs_are_sent_it_counts_twice(tmp_path: Path, broker: str) -> None:
    assert (await killed_after_counting(tmp_path, broker, "rewinding")).differing


async def test_a_zombie_is_fenced_and_ends(tmp_path: Path, broker: str) -> None:
    comparison, exits = await zombie_before_commit(tmp_path, broker, "")
    assert exits == [EXIT_FATAL]
    assert comparison.differing == {}


async def test_an_unfenced_zombie_counts_twice(tmp_path: Path, broker: str) -> None:
    comparison, _ = await zombie_before_commit(tmp_path, broker, "fencing")
    assert comparison.differing


async def test_actions_wait_for_activations(tmp_path: Path, broker: str) -> None:
    comparison, held_rows = await actions_first(tmp_path, broker, "")
    assert held_rows > 0
    assert comparison.differing == {}


async def test_without_the_hold_back_actions_are_lost(tmp_path: Path, broker: str) -> None:
    comparison, held_rows = await actions_first(tmp_path, broker, "hold-back")
    assert held_rows == 0
    assert comparison.differing


async def test_without_the_journal_looks_are_made_and_sent_twice(tmp_path: Path, broker: str) -> None:
    report = await LooksRun(tmp_path, broker, seed=1, kills=(AT_RANDOM,), sabotage="journal").run()
    assert report.comparison is not None
    assert any("was sent 2 times" in line for line in report.comparison.differing)
