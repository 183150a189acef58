"""Users with very many triggers beside others with few: found, indexed, and counted at the price of their cells."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
import pytest
from tests.properties.users_streams import Step, apply_columns, apply_plain, counts_of, counts_of_deltas

from rtexp.core import deltas
from rtexp.core.buckets import HOUR_MS
from rtexp.core.rules import Rules
from rtexp.core.triggers import FEW_USERS, INDEXED_USERS, MANY, Triggers
from rtexp.core.users_columns import ColumnarUsers
from rtexp.core.users_plain import Action, Activation, PlainUsers
from rtexp.tables.user_pages import MAX_PAGE_BYTES
from rtexp.tables.users import UsersTable

if TYPE_CHECKING:
    from collections.abc import Callable

T0 = 472_222 * HOUR_MS
END_MS = T0 + 72 * HOUR_MS
STEP_MS = 20_000
RULES = Rules(
    tracked=("search", "click"),
    bucket_ms=900_000,
    dedup_ms=300_000,
    cap_per_hour=0,
    join_delay_ms=10_000,
    grace_ms=HOUR_MS,
    period_ms=72 * HOUR_MS,
    lg_k=12,
)


def users_with(users: int, triggers: int) -> Triggers:
    """So many users who are in so many groups each."""
    made = Triggers(events=2, join_delay_ms=0, grace_ms=0)
    made.grow(users)
    for group in range(triggers):
        add(made, np.arange(users), group)
    return made


def add(made: Triggers, users: np.ndarray, group: int, *, end_ms: int = END_MS) -> None:
    same = np.ones(len(users), np.int64)
    made.add(users, group * same, T0 * same, T0 * same, end_ms * same)


def walked(made: Triggers, users: int) -> list[int]:
    """Walk the users' triggers; return how many of them have an index then, and that triggers of each."""
    everyone = np.arange(users)
    list(made.walk(everyone, everyone, []))
    return [len(triggers) for _, triggers in made.apart(everyone)[1]]


def test_a_user_with_many_triggers_has_an_index_once_they_have_been_walked() -> None:
    made = users_with(3, MANY - 1)
    assert walked(made, 3) == []
    for group in range(MANY, MANY + 40):
        add(made, np.array([1]), group)
    assert walked(made, 3) == [MANY - 1 + 40]


def test_many_users_with_many_triggers_share_the_steps_of_a_walk_and_have_no_index() -> None:
    assert walked(users_with(FEW_USERS, MANY + 1), FEW_USERS) == [MANY + 1] * FEW_USERS
    assert walked(users_with(FEW_USERS + 1, MANY + 1), FEW_USERS + 1) == []


@pytest.mark.parametrize("users", [FEW_USERS, FEW_USERS + 1, 2 * FEW_USERS])
def test_who_gets_an_index_in_the_middle_of_a_walk_is_walked_no_further(users: int) -> None:
    made = users_with(users, 3 * MANY)
    actors = np.tile(np.arange(users), 5)
    rows, apart = made.apart(actors)
    seen = list(made.walk(actors, rows, apart))
    assert len(seen) == (MANY if users == FEW_USERS else 2 * MANY)
    seen += [(np.repeat(mine, len(triggers)), np.tile(triggers, len(mine))) for mine, triggers in apart]
    pairs = np.concatenate([np.stack(pair, axis=1) for pair in seen])
    assert len(pairs) == len(np.unique(pairs, axis=0)) == len(actors) * 3 * MANY
    assert (made.user[pairs[:, 1]] == actors[pairs[:, 0]]).all()


def test_what_a_walk_joins_comes_in_parts_that_keep_a_trigger_together() -> None:
    users = 3 * FEW_USERS  # too many for an index after 128 steps
    made = users_with(users, 2 * MANY + 1)
    actors = np.tile(np.arange(users), 5)
    times = np.full(len(actors), T0)
    parts = list(made.join(np.arange(len(actors)), actors, times, times, [], 1_000))
    assert max(len(rows) for rows, _ in parts) < 1_000 + len(actors)
    triggers = [set(joined.tolist()) for _, joined in parts]
    assert sum(map(len, triggers)) == len(set().union(*triggers)) == users * (2 * MANY + 1)


def test_no_more_than_so_many_users_have_an_index() -> None:
    made = users_with(INDEXED_USERS + 1, MANY + 1)
    for user in range(INDEXED_USERS + 1):
        list(made.walk(np.array([user]), np.array([0]), []))
    assert len(made.apart(np.arange(INDEXED_USERS + 1))[1]) == INDEXED_USERS


def test_an_index_follows_what_is_added_and_goes_when_triggers_end() -> None:
    made = users_with(2, MANY + 1)
    assert walked(made, 2) == [MANY + 1] * 2
    add(made, np.array([1, 0]), MANY + 1)
    add(made, np.array([1]), MANY + 2, end_ms=T0 + 1)
    assert [len(triggers) for _, triggers in made.apart(np.arange(2))[1]] == [MANY + 2, MANY + 3]
    assert made.has_group(np.array([0, 1]), np.array([MANY + 2, MANY + 2])).tolist() == [False, True]
    assert made.end(T0 + 1) is not None
    assert not made.has_group(np.array([1]), np.array([MANY + 2]))[0]
    owners, triggers = made.of(np.arange(2))
    assert sorted(zip(owners.tolist(), made.group[triggers].tolist(), strict=True)) == [
        (user, group) for user in range(2) for group in range(MANY + 2)
    ]


def activations(groups: int, at_ms: int = T0) -> list[Activation]:
    return [Activation("crawler", f"x{n}", "a", T0, END_MS, at_ms, at_ms) for n in range(groups)]


def test_all_actions_of_such_a_user_count_beside_triggers_that_only_some_count_for() -> None:
    """Half of the triggers come in the middle of a batch, and some of them end there; it lies in three buckets."""
    early, late = activations(100), activations(200, T0 + 50 * STEP_MS)[100:]
    ending = [
        replace(each, experiment="ending", group=f"g{n}", period_end_ms=T0 + 70 * STEP_MS)
        for n, each in enumerate(late)
    ]
    other = Activation("other", "x1", "b", T0, END_MS, T0, T0)
    acts = [
        Action("crawler", "click" if n % 3 else "search", T0 + n * STEP_MS, T0 + n * STEP_MS)
        for n in range(100)
    ]
    acts += [Action("other", "click", T0 + 100 * STEP_MS, T0 + 100 * STEP_MS)]
    steps = [
        Step([*early, other], T0, T0),
        Step([*late, *ending], T0, T0 + 50 * STEP_MS),
        Step(acts[:60], T0, T0 + HOUR_MS),
        Step(acts[60:], T0, T0 + HOUR_MS),
    ]
    plain, columns = PlainUsers(RULES), ColumnarUsers(RULES)
    for step in steps:
        apply_plain(plain, step)
        apply_columns(columns, step)
    assert len(columns.triggers.apart(columns.rows_of(["crawler", "other"]))[1]) == 1, (
        "else nothing was tested"
    )
    assert counts_of_deltas(columns.take_deltas()) == counts_of(plain.take_cells(), RULES.lg_k)
    assert columns.canonical() == plain.canonical()


def activated(triggers: int) -> ColumnarUsers:
    """Columns of a user with so many triggers, of whom nobody knows yet that there are many; so it is after a start."""
    columns = ColumnarUsers(RULES)
    times = np.full(triggers, T0)
    columns.activate(["crawler"] * triggers, np.arange(triggers), activations(triggers), times, times)
    columns.advance(T0, T0 + HOUR_MS)
    columns.take_deltas()
    return columns


def crawling(triggers: int) -> ColumnarUsers:
    """Columns of such a user, who is known to have many."""
    columns = activated(triggers)
    act(columns, 0, 1)
    columns.take_deltas()
    return columns


def act(columns: ColumnarUsers, first: int, end: int) -> None:
    times = T0 + np.arange(first, end)
    columns.act(["crawler"] * len(times), np.zeros_like(times), ["click"], times, times)


@pytest.mark.parametrize(
    ("make", "bytes_a_cell"),
    [
        pytest.param(activated, 10_000, id="the first ones, which are walked a little"),
        pytest.param(crawling, 1_000, id="those after them"),
    ],
)
def test_actions_of_such_a_user_take_memory_by_cells_and_not_by_joins(
    make: Callable[[int], ColumnarUsers], bytes_a_cell: int
) -> None:
    cells, actions = 5_000, 4_000
    columns = make(cells)
    tracemalloc.start()
    act(columns, 1, 1 + actions)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < bytes_a_cell * cells < cells * actions * 16
    assert columns.take_deltas().counts[:, 0].tolist() == [actions] * cells


def test_what_is_pending_takes_memory_by_cells_and_not_by_batches() -> None:
    columns = crawling(10_000)
    with patch.object(deltas, "PENDING_SIZE", 100_000):
        tracemalloc.start()
        for n in range(1, 101):
            act(columns, n, n + 1)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert held < 100_000 * 100
    assert columns.take_deltas().counts[:, 0].tolist() == [100] * 10_000


def test_a_user_with_ten_thousand_triggers_is_kept_in_pages_that_fit_and_goes_on_from_them() -> None:
    table = UsersTable(RULES)
    table.users = crawling(10_000)
    act(table.users, 1, 5)
    table.users.take_deltas()
    pages = list(table.changed_pages())
    assert max(len(page.value or b"") for page in pages) <= MAX_PAGE_BYTES
    again = UsersTable(RULES)
    again.load(pages)
    assert again.users.canonical() == table.users.canonical()
    for columns in (table.users, again.users):
        act(columns, 5, 6)
    assert counts_of_deltas(again.users.take_deltas()) == counts_of_deltas(table.users.take_deltas())
