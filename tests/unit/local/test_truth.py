"""The truth by hand, edge by edge; that it holds for whole streams is in test_generator.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rtexp.local.story import EXPERIMENTS, Story
from rtexp.local.truth import (
    HOUR_MS,
    Action,
    Activation,
    CellKey,
    Counts,
    Meaning,
    Rules,
    Truth,
    differences,
)
from rtexp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

START = 1_420_416_000_000
STORY = Story(START, 72 * HOUR_MS)
NAME = EXPERIMENTS[0].name
PERIOD = STORY.first_period(EXPERIMENTS[0], 0)
NOON = START + 12 * HOUR_MS
SLOT = 5 * 60_000
RULES = Rules.of(Settings())


def enter(at_ms: int = NOON, group: str = "control") -> Activation:
    return Activation("u", NAME, group, at_ms)


def act(at_ms: int = NOON, event: str = "search") -> Action:
    return Action("u", event, at_ms)


def counted(*told: tuple[int, Meaning]) -> dict[str, Counts]:
    """The sums over buckets by group and event, after these records at these arrivals."""
    truth = Truth(RULES, STORY)
    for arrival_ms, meaning in told:
        truth.tell("actions" if isinstance(meaning, Action) else "activations", arrival_ms, meaning)
    truth.finish()
    sums: dict[str, Counts] = {}
    for key, counts in truth.cells().items():
        name = f"{key.group} {key.event}".strip()
        before = sums.get(name, Counts(0, 0, 0, 0, 0))
        sums[name] = Counts(*(a + b for a, b in zip(before, counts, strict=True)))
    return sums


def test_the_squares_grow_by_twice_the_count_before_and_one() -> None:
    assert counted((NOON, enter()), *((NOON + n, act(NOON + n)) for n in range(3))) == {
        "control": Counts(0, 0, 0, 1, 0),
        "control search": Counts(3, 1, 9, 0, 0),
    }


def test_a_user_in_two_groups_counts_in_both_and_as_multiple_in_the_later() -> None:
    assert counted((NOON, enter()), (NOON + 1, enter(group="treatment")), (NOON + 2, act(NOON + 2))) == {
        "control": Counts(0, 0, 0, 1, 0),
        "treatment": Counts(0, 0, 0, 1, 1),
        "control search": Counts(1, 1, 1, 0, 0),
        "treatment search": Counts(1, 1, 1, 0, 0),
    }


@pytest.mark.parametrize(
    ("arrivals", "volume"),
    [
        pytest.param([0, SLOT - 1], 1, id="same slot"),
        pytest.param([0, 2 * SLOT - 1], 1, id="next slot"),
        pytest.param([0, 2 * SLOT], 2, id="second next slot"),
        pytest.param([0, SLOT, 2 * SLOT], 2, id="a dropped repeat keeps nothing alive"),
    ],
)
def test_repeats_are_recognised_by_the_slots_of_their_arrivals(arrivals: Sequence[int], volume: int) -> None:
    told = ((NOON + arrival, act()) for arrival in arrivals)
    assert counted((NOON, enter()), *told)["control search"].volume == volume


@pytest.mark.parametrize(("late_ms", "volume"), [(10_000, 1), (10_001, None)])
def test_an_activation_may_arrive_the_join_delay_after_its_action(late_ms: int, volume: int | None) -> None:
    cells = counted((NOON, act()), (NOON + late_ms, enter()))
    assert (cells["control search"].volume if "control search" in cells else None) == volume


def test_an_action_before_its_trigger_counts_nowhere() -> None:
    assert counted((NOON, enter()), (NOON + 1, act(NOON - 1))) == {"control": Counts(0, 0, 0, 1, 0)}


def test_a_period_ends_before_its_end_and_waits_for_late_ones_until_its_grace() -> None:
    end_ms, closes_ms = PERIOD.end_ms, PERIOD.end_ms + RULES.grace_ms
    cells = counted(
        (NOON, enter()),
        (end_ms, act(end_ms)),
        (closes_ms - 1, act(end_ms - 1)),
        (closes_ms, act(end_ms - 2)),
    )
    assert cells["control search"].volume == 1


def test_above_the_cap_nothing_counts_until_the_next_hour_of_arrival() -> None:
    cap = RULES.cap_per_hour
    burst = [(NOON, act(NOON + n)) for n in range(cap + 5)]
    cells = counted((NOON, enter()), *burst, (NOON + HOUR_MS, act(NOON + HOUR_MS)))
    assert cells["control search"].volume == cap + 1


def test_differences_name_both_sides_and_take_an_empty_cell_for_none() -> None:
    key, other = CellKey("e", 0, "g", "", 0), CellKey("e", 0, "g", "", 1)
    zeros, one = Counts(0, 0, 0, 0, 0), Counts(0, 0, 0, 1, 0)
    assert differences({key: one}, {key: one, other: zeros}) == {}
    assert differences({key: one}, {other: one}) == {key: (one, zeros), other: (zeros, one)}
