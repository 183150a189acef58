"""What counts, rule by rule: asked of the definition and of the columns alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import pytest
from tests.properties.users_streams import Step, apply_columns, apply_plain, counts_of, counts_of_deltas

from rtexp.core.buckets import HOUR_MS
from rtexp.core.rules import Rules
from rtexp.core.users_columns import ColumnarUsers
from rtexp.core.users_plain import Action, Activation, CellKey, PlainUsers

T0 = 472_222 * HOUR_MS
"""The start of a period and of a bucket, a slot and an hour of arrival."""
MINUTE_MS = 60_000
SLOT_MS = 5 * MINUTE_MS
BUCKET_MS = 15 * MINUTE_MS
END = T0 + 72 * HOUR_MS
RULES = Rules(
    tracked=("search", "click"),
    bucket_ms=BUCKET_MS,
    dedup_ms=SLOT_MS,
    cap_per_hour=0,
    join_delay_ms=10_000,
    grace_ms=HOUR_MS,
    period_ms=72 * HOUR_MS,
    lg_k=12,
)

Cells = dict[CellKey, list[int]]


class Machine(Protocol):
    """Either implementation: takes rows of one input at a time, in order."""

    def apply(self, *rows: Any, actions_watermark_ms: int = 0, activations_watermark_ms: int = 0) -> None: ...
    def cells(self) -> Cells: ...
    def counters(self) -> dict[str, int]: ...
    def canonical(self) -> dict[str, Any]: ...


class Plain:
    def __init__(self, rules: Rules) -> None:
        self.users = PlainUsers(rules)

    def apply(self, *rows: Any, actions_watermark_ms: int = 0, activations_watermark_ms: int = 0) -> None:
        apply_plain(self.users, Step(rows, actions_watermark_ms, activations_watermark_ms))

    def cells(self) -> Cells:
        taken = counts_of(self.users.take_cells(), self.users.rules.lg_k)
        return {key: counts for key, (counts, _) in taken.items()}

    def counters(self) -> dict[str, int]:
        return {reason: n for reason, n in self.users.counters.items() if n}

    def canonical(self) -> dict[str, Any]:
        return self.users.canonical()


class Columns:
    def __init__(self, rules: Rules) -> None:
        self.users = ColumnarUsers(rules)

    def apply(self, *rows: Any, actions_watermark_ms: int = 0, activations_watermark_ms: int = 0) -> None:
        apply_columns(self.users, Step(rows, actions_watermark_ms, activations_watermark_ms))

    def cells(self) -> Cells:
        return {key: counts for key, (counts, _) in counts_of_deltas(self.users.take_deltas()).items()}

    def counters(self) -> dict[str, int]:
        return {reason: n for reason, n in self.users.counters.items() if n}

    def canonical(self) -> dict[str, Any]:
        return self.users.canonical()


@pytest.fixture(params=[Plain, Columns], ids=["plain", "columns"])
def kind(request: pytest.FixtureRequest) -> type[Plain | Columns]:
    made: type[Plain | Columns] = request.param
    return made


@pytest.fixture
def machine(kind: type[Plain | Columns]) -> Machine:
    return kind(RULES)


def trigger(
    at_ms: int = T0,
    *,
    user: str = "u",
    experiment: str = "x",
    group: str = "a",
    start_ms: int = T0,
    arrival_ms: int | None = None,
) -> Activation:
    end_ms = start_ms + 72 * HOUR_MS
    return Activation(
        user, experiment, group, start_ms, end_ms, at_ms, at_ms if arrival_ms is None else arrival_ms
    )


def action(at_ms: int, *, arrival_ms: int | None = None, event: str = "search", user: str = "u") -> Action:
    return Action(user, event, at_ms, at_ms if arrival_ms is None else arrival_ms)


def cell(
    event: str = "search",
    bucket_ms: int = T0,
    *,
    experiment: str = "x",
    group: str = "a",
    start_ms: int = T0,
) -> CellKey:
    return (experiment, start_ms, group, event, bucket_ms)


EXPOSED_ONCE = [0, 0, 0, 1, 0]


def acted(*counts_before: int) -> list[int]:
    """Counts of a cell in which one user did this, each time with so many counted before."""
    return [len(counts_before), counts_before.count(0), sum(2 * k + 1 for k in counts_before), 0, 0]


# Triggers


def test_the_first_activation_exposes_the_user_in_the_bucket_of_its_time(machine: Machine) -> None:
    machine.apply(trigger(T0 + BUCKET_MS))
    assert machine.cells() == {cell("", T0 + BUCKET_MS): EXPOSED_ONCE}


def test_the_first_activation_in_order_decides_even_if_a_later_one_is_of_earlier(machine: Machine) -> None:
    machine.apply(trigger(T0 + BUCKET_MS), trigger(T0))
    machine.apply(action(T0 + 1))
    assert machine.cells() == {cell("", T0 + BUCKET_MS): EXPOSED_ONCE}


def test_activations_after_the_first_change_nothing(machine: Machine) -> None:
    machine.apply(trigger(T0), trigger(T0), trigger(T0 + BUCKET_MS))
    machine.apply(trigger(T0 + 5))
    assert machine.cells() == {cell(""): EXPOSED_ONCE}


def test_a_user_in_two_groups_counts_in_both_and_is_multiple_in_the_later(machine: Machine) -> None:
    machine.apply(trigger(group="a"), trigger(T0 + 1, group="b"))
    machine.apply(action(T0 + 2))
    assert machine.cells() == {
        cell("", group="a"): EXPOSED_ONCE,
        cell("", group="b"): [0, 0, 0, 1, 1],
        cell(group="a"): acted(0),
        cell(group="b"): acted(0),
    }


def test_two_groups_are_multiple_also_when_they_come_in_different_batches(machine: Machine) -> None:
    machine.apply(trigger(group="b"))
    machine.apply(trigger(group="a"))
    assert machine.cells()[cell("", group="a")] == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(trigger(experiment="y", group="b"), id="another experiment"),
        pytest.param(trigger(END, start_ms=END, group="b"), id="another period"),
        pytest.param(trigger(user="v", group="b"), id="another user"),
    ],
)
def test_a_group_of_something_else_is_not_multiple(machine: Machine, other: Activation) -> None:
    machine.apply(trigger(), other)
    assert sum(counts[4] for counts in machine.cells().values()) == 0


def test_a_ramp_after_the_period_begins_counts_from_zero(machine: Machine) -> None:
    machine.apply(trigger(T0), trigger(END, start_ms=END))
    machine.apply(action(END - 1), action(END))
    assert machine.cells() == {
        cell(""): EXPOSED_ONCE,
        cell("", END, start_ms=END): EXPOSED_ONCE,
        cell("search", END - BUCKET_MS): acted(0),
        cell("search", END, start_ms=END): acted(0),
    }


def test_an_activation_is_late_from_period_end_and_grace_on(machine: Machine) -> None:
    closed_ms = END + RULES.grace_ms
    machine.apply(
        trigger(user="in time", arrival_ms=closed_ms - 1), trigger(user="late", arrival_ms=closed_ms)
    )
    assert machine.cells() == {cell(""): EXPOSED_ONCE}
    assert machine.counters() == {"late-activation": 1}


# Joins


def test_an_action_counts_from_its_trigger_on_until_before_the_end_of_the_period(machine: Machine) -> None:
    machine.apply(trigger(T0 + 100))
    machine.apply(action(T0 + 99), action(T0 + 100), action(END - 1), action(END))
    assert machine.cells() == {
        cell(""): EXPOSED_ONCE,
        cell(): acted(0),
        cell("search", END - BUCKET_MS): acted(1),
    }


def test_volume_actors_and_squares_follow_each_users_own_count(machine: Machine) -> None:
    machine.apply(trigger(), trigger(user="v"))
    machine.apply(*(action(T0 + i) for i in range(3)), action(T0, user="v"))
    volume, actors, sum_squares, _, _ = machine.cells()[cell()]
    assert (volume, actors, sum_squares) == (4, 2, 3**2 + 1**2)


def test_events_are_counted_apart(machine: Machine) -> None:
    machine.apply(trigger())
    machine.apply(action(T0 + 1), action(T0 + 2, event="click"), action(T0 + 3))
    cells = machine.cells()
    assert (cells[cell()], cells[cell("click")]) == (acted(0, 1), acted(0))


def test_counts_follow_order_not_time(machine: Machine) -> None:
    machine.apply(trigger())
    machine.apply(action(T0 + BUCKET_MS), action(T0 + 1, arrival_ms=T0 + BUCKET_MS))
    cells = machine.cells()
    assert (cells[cell("search", T0 + BUCKET_MS)], cells[cell()]) == (acted(0), acted(1))


def test_counts_go_on_over_buckets_and_batches(machine: Machine) -> None:
    machine.apply(trigger())
    machine.apply(action(T0 + 1))
    machine.apply(action(T0 + 2), action(T0 + BUCKET_MS))
    machine.apply(action(T0 + BUCKET_MS + 1))
    cells = machine.cells()
    assert (cells[cell()], cells[cell("search", T0 + BUCKET_MS)]) == (acted(0, 1), acted(2, 3))


def test_an_action_belongs_to_the_bucket_that_its_time_opens(machine: Machine) -> None:
    machine.apply(trigger())
    machine.apply(action(T0 + BUCKET_MS - 1), action(T0 + BUCKET_MS))
    assert machine.cells().keys() == {cell(""), cell(), cell("search", T0 + BUCKET_MS)}


def test_an_activation_may_arrive_join_delay_later_than_the_action_and_no_more(machine: Machine) -> None:
    machine.apply(trigger(T0, arrival_ms=T0 + 10_100))
    machine.apply(action(T0 + 99), action(T0 + 100))
    assert machine.cells()[cell()] == acted(0)


def test_an_action_that_arrives_at_the_end_of_the_grace_is_too_late(machine: Machine) -> None:
    closed_ms = END + RULES.grace_ms
    machine.apply(trigger())
    machine.apply(action(END - 1, arrival_ms=closed_ms - 1), action(END - 2, arrival_ms=closed_ms))
    assert machine.cells()[cell("search", END - BUCKET_MS)] == acted(0)


def test_late_is_what_came_when_no_period_could_be_open_with_or_without_a_trigger(machine: Machine) -> None:
    late_ms = RULES.period_ms + RULES.grace_ms
    machine.apply(action(T0, arrival_ms=T0 + late_ms - 1), action(T0 + 1, arrival_ms=T0 + 1 + late_ms))
    assert machine.counters() == {"late-action": 1}


def test_an_action_without_a_trigger_counts_nowhere(machine: Machine) -> None:
    machine.apply(action(T0))
    machine.apply(trigger(T0 + 1))
    assert machine.cells() == {cell(""): EXPOSED_ONCE}


def test_untracked_events_are_told_and_count_nowhere(machine: Machine) -> None:
    machine.apply(trigger())
    machine.apply(action(T0 + 1, event="scroll"), action(T0 + 2))
    assert machine.cells() == {cell(""): EXPOSED_ONCE, cell(): acted(0)}
    assert machine.counters() == {"untracked": 1}


# Repeats


@pytest.mark.parametrize(
    ("arrivals_ms", "kept"),
    [
        pytest.param([0, SLOT_MS - 1], 1, id="same slot"),
        pytest.param([0, 2 * SLOT_MS - 1], 1, id="next slot"),
        pytest.param([0, 2 * SLOT_MS], 2, id="second next slot"),
        pytest.param([SLOT_MS, 0], 1, id="slot before, as arrivals may go back"),
        pytest.param([2 * SLOT_MS, 0], 2, id="second slot before"),
        pytest.param(
            [0, SLOT_MS, 2 * SLOT_MS], 2, id="a repeat isn't kept, so what repeats it alone is none"
        ),
        pytest.param([0, 2 * SLOT_MS, SLOT_MS], 2, id="between two kept ones"),
    ],
)
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
def test_a_repeat_is_recognised_within_neighbouring_slots_of_arrival(
    machine: Machine,
    arrivals_ms: list[int],
    kept: int,
    together: bool,  # noqa: FBT001
) -> None:
    same = [action(T0 + 7, arrival_ms=T0 + HOUR_MS + arrival_ms) for arrival_ms in arrivals_ms]
    machine.apply(trigger())
    for rows in [same] if together else [[row] for row in same]:
        machine.apply(*rows)
    assert machine.cells()[cell()] == acted(*range(kept))
    assert machine.counters().get("repeat", 0) == len(same) - kept


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(action(T0 + 7, event="click"), id="event"),
        pytest.param(action(T0 + 8), id="time"),
        pytest.param(action(T0 + 7, user="v"), id="user"),
    ],
)
def test_an_action_that_differs_in_anything_is_no_repeat(machine: Machine, other: Action) -> None:
    machine.apply(trigger(), trigger(user="v"))
    machine.apply(action(T0 + 7), other)
    assert machine.counters() == {}


# The cap


def capped(kind: type[Plain | Columns], cap: int) -> Machine:
    machine = kind(replace(RULES, cap_per_hour=cap))
    machine.apply(trigger())
    machine.cells()
    return machine


def test_the_first_x_kept_actions_of_an_hour_of_arrival_count(kind: type[Plain | Columns]) -> None:
    machine = capped(kind, 2)
    machine.apply(*(action(T0 + i) for i in range(4)))
    machine.apply(action(T0 + 4))
    assert machine.cells() == {cell(): acted(0, 1)}
    assert machine.counters() == {"capped": 3}


def test_all_tracked_events_share_the_cap_whether_they_join_or_not(kind: type[Plain | Columns]) -> None:
    machine = capped(kind, 2)
    machine.apply(action(T0 - 1, arrival_ms=T0), action(T0, event="click"), action(T0 + 1))
    assert machine.cells() == {cell("click"): acted(0)}


def test_repeats_and_untracked_events_are_not_numbered(kind: type[Plain | Columns]) -> None:
    machine = capped(kind, 2)
    machine.apply(action(T0), action(T0), action(T0, event="scroll"), action(T0 + 1), action(T0 + 2))
    assert machine.counters() == {"repeat": 1, "untracked": 1, "capped": 1}


def test_a_capped_action_still_has_repeats(kind: type[Plain | Columns]) -> None:
    machine = capped(kind, 1)
    machine.apply(action(T0), action(T0 + 1))
    # Were it not kept, this one would be numbered in the next hour, and count.
    machine.apply(action(T0 + 1, arrival_ms=T0 + 1 + SLOT_MS))
    assert machine.counters() == {"capped": 1, "repeat": 1}


def test_each_hour_of_arrival_is_capped_by_itself(kind: type[Plain | Columns]) -> None:
    machine = capped(kind, 1)
    last_ms = T0 + HOUR_MS - 1
    machine.apply(action(last_ms - 1), action(last_ms), action(last_ms + 1), action(last_ms + 2))
    assert machine.counters() == {"capped": 2}


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
@pytest.mark.parametrize(
    ("hours", "over"),
    [
        pytest.param([1, 2, 1, 2], 2, id="the two newest hours have counters"),
        pytest.param([1, 2, 3, 1, 1, 1], 0, id="an older one has none, and what arrives in it goes on"),
        pytest.param([1, 3, 2, 2, 3], 2, id="an hour between them takes the older one's place"),
        pytest.param([1, 3, 2, 1, 1], 0, id="which then is too old"),
        pytest.param([3, 1, 1, 2, 2, 1], 2, id="newest first"),
    ],
)
def test_hours_may_go_back(kind: type[Plain | Columns], hours: list[int], over: int, together: bool) -> None:  # noqa: FBT001
    machine = capped(kind, 1)
    rows = [action(T0 + i, arrival_ms=T0 + hour * HOUR_MS + i) for i, hour in enumerate(hours)]
    for batch in [rows] if together else [[row] for row in rows]:
        machine.apply(*batch)
    assert machine.counters().get("capped", 0) == over
    assert machine.cells() == {cell(): acted(*range(len(hours) - over))}


def test_users_are_capped_apart(kind: type[Plain | Columns]) -> None:
    machine = capped(kind, 1)
    machine.apply(action(T0), action(T0, user="v"), action(T0 + 1, user="v"), action(T0 + 1))
    assert machine.counters() == {"capped": 2}


# Names


def test_names_are_neither_trimmed_nor_folded(machine: Machine) -> None:
    machine.apply(*(trigger(user=user) for user in ("u", "U", " u", "u ", "ü", "u\u0308")))
    assert machine.cells() == {cell(""): [0, 0, 0, 6, 0]}


# What ends


def test_a_trigger_ends_when_both_inputs_have_passed_period_and_grace(machine: Machine) -> None:
    closed_ms = END + RULES.grace_ms
    machine.apply(trigger())
    for actions_ms, activations_ms in ((closed_ms, closed_ms - 1), (closed_ms - 1, closed_ms)):
        again = type(machine)(RULES)  # type: ignore[call-arg]
        again.apply(trigger(), actions_watermark_ms=actions_ms, activations_watermark_ms=activations_ms)
        assert again.canonical()["users"]
    machine.apply(actions_watermark_ms=closed_ms, activations_watermark_ms=closed_ms)
    assert machine.canonical()["users"] == {}


def test_a_trigger_ends_in_its_time_though_a_later_one_lasts_longer(machine: Machine) -> None:
    closed_ms = END + RULES.grace_ms
    machine.apply(trigger())
    machine.apply(trigger(END, start_ms=END))
    machine.apply(actions_watermark_ms=closed_ms, activations_watermark_ms=closed_ms)
    assert list(machine.canonical()["users"]["u"]["triggers"]) == [("x", END, "a")]
    both_ms = closed_ms + RULES.period_ms
    machine.apply(actions_watermark_ms=both_ms, activations_watermark_ms=both_ms)
    assert machine.canonical()["users"] == {}


def test_watermarks_never_go_back(machine: Machine) -> None:
    machine.apply(actions_watermark_ms=T0 + 5, activations_watermark_ms=T0 + 7)
    machine.apply(actions_watermark_ms=T0, activations_watermark_ms=T0)
    assert machine.canonical()["watermarks"] == (T0 + 5, T0 + 7)


def test_kept_actions_are_forgotten_when_the_watermark_has_passed_the_next_slot(machine: Machine) -> None:
    machine.apply(action(T0), actions_watermark_ms=T0 + 2 * SLOT_MS - 1)
    assert machine.canonical()["repeats"] == [("u", "search", T0, T0 // SLOT_MS)]
    machine.apply(actions_watermark_ms=T0 + 2 * SLOT_MS)
    assert machine.canonical()["repeats"] == []


def test_an_hour_is_forgotten_when_the_watermark_has_passed_it(kind: type[Plain | Columns]) -> None:
    machine = kind(replace(RULES, cap_per_hour=1))
    machine.apply(action(T0), actions_watermark_ms=T0 + HOUR_MS - 1)
    assert machine.canonical()["users"] == {"u": {"hours": {T0 // HOUR_MS: 1}, "triggers": {}}}
    machine.apply(actions_watermark_ms=T0 + HOUR_MS)
    assert machine.canonical()["users"] == {}
