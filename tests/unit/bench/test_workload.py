from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.oracle import cells as oracle

from rtexp.bench.workload import START_MS, THE_ONE, CellCounts, CellKey, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = Workload(users=300, actions=6_000, experiments=20)


def raw(records: Iterator[tuple[int, bytes, bytes]]) -> list[oracle.RawRecord]:
    return [
        oracle.RawRecord(0, offset, at_ms, key, value) for offset, (at_ms, key, value) in enumerate(records)
    ]


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param({}, id="even"),
        pytest.param({"hot_user": 0.3, "cap_per_hour": 100}, id="one user above the cap"),
        pytest.param({"hot_user": 0.3, "cap_per_hour": 0}, id="one user without a cap"),
        pytest.param({"hot_user": 0.3, "repeats": True}, id="one user who repeats"),
        pytest.param({"hot_experiment": 0.9}, id="one experiment"),
        pytest.param({"triggers": 100}, id="one user with many triggers"),
        pytest.param({"triggers": 100, "hot_user": 0.3, "hot_hours": 1}, id="who acts much for an hour"),
        pytest.param({"events": 256, "groups": 3}, id="many events and groups"),
    ],
)
def test_the_cells_are_what_an_independent_recomputation_of_the_records_gives(
    shape: dict[str, Any],
) -> None:
    shaped = replace(SMALL, **shape)
    experiments = [
        oracle.Experiment(name, groups, tuple(oracle.Allocation(group, 30.0, START_MS) for group in groups))
        for name, groups in shaped.definitions().items()
    ]
    found = oracle.recompute(
        raw(shaped.action_records()),
        raw(shaped.activation_records()),
        experiments,
        oracle.Rules(tracked=frozenset(shaped.event_names), cap_per_hour=shaped.cap_per_hour),
    )
    assert not found.dead
    expected = {
        CellKey(experiment, group, event, bucket): CellCounts(
            cell.volume, cell.actors, cell.sum_squares, cell.exposures
        )
        for (experiment, _, group, event, bucket), cell in found.cells.items()
    }
    assert shaped.cells() == expected


def test_a_share_of_actions_or_memberships_is_what_was_asked_for() -> None:
    users, _, times, arrivals = replace(SMALL, hot_user=0.3, repeats=True).action_columns()
    assert (users == THE_ONE).mean() == pytest.approx(0.3, abs=0.03)
    repeated = Counter(zip(users.tolist(), times.tolist(), strict=True))
    assert max(repeated.values()) > 3
    assert (times <= arrivals).all()
    _, groups, _ = replace(SMALL, hot_experiment=0.9).activations()
    assert (groups < 2).mean() == pytest.approx(0.9, abs=0.03)


def test_equal_arguments_give_equal_records_and_another_seed_gives_others() -> None:
    again = Workload(users=300, actions=6_000, experiments=20)
    other = Workload(users=300, actions=6_000, experiments=20, seed=8)
    assert list(again.action_records()) == list(SMALL.action_records())
    assert list(other.action_records()) != list(SMALL.action_records())
    assert list(other.activation_records()) != list(SMALL.activation_records())


def test_users_are_in_one_to_five_experiments_three_on_average_and_in_one_group_of_each() -> None:
    users, groups, _ = SMALL.activations()
    of_user = Counter(users.tolist())
    assert set(of_user.values()) == {1, 2, 3, 4, 5}
    assert len(users) / len(of_user) == pytest.approx(3, abs=0.3)
    assert len(
        {(user, group // 2) for user, group in zip(users.tolist(), groups.tolist(), strict=True)}
    ) == len(users)


def test_records_come_in_order_of_time_and_no_two_actions_are_alike() -> None:
    for records in (SMALL.action_records(), SMALL.activation_records()):
        times = [at_ms for at_ms, _, _ in records]
        assert times == sorted(times)
    users, events, times_ms, _ = SMALL.action_columns()
    assert len(set(zip(users.tolist(), events.tolist(), times_ms.tolist(), strict=True))) == SMALL.actions


def test_more_actions_than_milliseconds_are_refused() -> None:
    with pytest.raises(ValueError, match="milliseconds"):
        Workload(actions=6 * 3_600_000 + 1)
