"""Laws of the user state machine: columns equal the definition, whatever the cuts; pages hold the whole state."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.properties.users_streams import (
    Counts,
    Step,
    add,
    apply_columns,
    apply_plain,
    counts_of,
    counts_of_deltas,
)

from rtexp.core import deltas, joining, triggers
from rtexp.core.buckets import HOUR_MS
from rtexp.core.rules import Rules
from rtexp.core.user_entries import UserEntry, find_user
from rtexp.core.users_columns import ColumnarUsers, page_of
from rtexp.core.users_plain import Action, Activation, PlainUsers
from rtexp.engine.api import Page
from rtexp.tables.users import UsersTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


T0 = 472_222 * HOUR_MS
RULES = Rules(
    tracked=("search", "click"),
    bucket_ms=900_000,
    dedup_ms=300_000,
    cap_per_hour=2,
    join_delay_ms=10_000,
    grace_ms=HOUR_MS,
    period_ms=2 * HOUR_MS,
    lg_k=12,
)
LAW = settings(max_examples=80, deadline=None)
FOREVER_MS = T0 + 100 * HOUR_MS

# Few users, groups and instants, so that repeats, edges and meetings are the rule and not the exception.
USERS = ("u1", "u1", "u2", "ü20")  # the first and the last share a page
EVENTS = ("search", "search", "click", "scroll")
EDGES_MS = sorted(
    {T0 + edge + d for edge in range(0, 5 * HOUR_MS, 900_000) for d in (-1, 0, 1)} | {T0 + 7, T0 + 300_000}
)
STEPS_MS = st.sampled_from(
    (
        0,
        0,
        0,
        1,
        500,
        9_999,
        10_001,
        150_000,
        299_999,
        300_000,
        300_000,
        600_001,
        899_999,
        HOUR_MS - 1,
        HOUR_MS,
    )
)


@dataclass(frozen=True)
class Row:
    """A row of either input, and its input's watermark once all rows up to it have been read."""

    record: Any
    watermark_ms: int


def paced(skew_ms: int, rows: Sequence[tuple[int, float, Callable[[int], Any]]]) -> list[Row]:
    """Give rows, each (step, share of the skew, record of an arrival), arrivals that go back by at most the skew."""
    newest_ms, made = T0, []
    for step_ms, share, record in rows:
        newest_ms += step_ms
        made.append(Row(record(newest_ms - round(share * skew_ms)), newest_ms - skew_ms))
    return made


def _activation(user: str, kind: tuple[str, str], at_ms: int) -> Callable[[int], Activation]:
    start_ms = T0 + (at_ms - T0) // RULES.period_ms * RULES.period_ms
    return lambda arrival_ms: Activation(user, *kind, start_ms, start_ms + RULES.period_ms, at_ms, arrival_ms)


def _action(user: str, event: str, at_ms: int, before_arrival: bool) -> Callable[[int], Action]:  # noqa: FBT001
    return lambda arrival_ms: Action(user, event, arrival_ms - 1 if before_arrival else at_ms, arrival_ms)


KINDS = st.sampled_from((("x", "a"), ("x", "b"), ("y", "a")))
SHARES = st.sampled_from((0.0, 0.0, 0.02, 0.04, 0.5, 1.0))
# Records of one raw partition go back by seconds; partitions that are hours apart meet in one filtered one.
SKEWS_MS = st.sampled_from((2_000, 300_000, 2 * HOUR_MS))
ACTIVATION = st.builds(_activation, st.sampled_from(USERS), KINDS, st.sampled_from(EDGES_MS))
ACTIVATIONS = st.builds(paced, SKEWS_MS, st.lists(st.tuples(STEPS_MS, SHARES, ACTIVATION), max_size=25))
# Most actions at one instant, so that they repeat; some so long ago that no column holds their time.
INSTANTS_MS = st.one_of(st.just(T0 + 7), st.sampled_from((*EDGES_MS, T0 - 10**11, T0 - 10**11)))
ACTION = st.builds(
    _action,
    st.sampled_from(USERS),
    st.sampled_from(EVENTS),
    INSTANTS_MS,
    st.sampled_from((False, False, False, True)),
)
ACTION_ROW = st.tuples(STEPS_MS, SHARES, ACTION)
# Few, so that a failure is small; or many, so that there is one.
ACTIONS = st.builds(
    paced,
    SKEWS_MS,
    st.one_of(st.lists(ACTION_ROW, max_size=8), st.lists(ACTION_ROW, min_size=25, max_size=60)),
)
SEEDS = st.integers(0, 2**32).map(Random)
"""Where to cut, and which input goes on: drawn by seed, as hypothesis would take long over so many choices."""


def interleave(actions: Sequence[Row], activations: Sequence[Row], dice: Random) -> Iterator[Step]:
    """Cut both inputs anywhere and apply them in any order that the hold-back allows."""
    left = {0: list(actions), 1: list(activations)}
    watermarks_ms = [0, 0]
    while left[0] or left[1]:
        limit_ms = watermarks_ms[1] - RULES.join_delay_ms if left[1] else FOREVER_MS
        due = 0
        while due < len(left[0]) and left[0][due].record.arrival_ms < limit_ms:
            due += 1
        which = 0 if due and (not left[1] or dice.random() < 0.7) else 1
        size = min(due if which == 0 else len(left[1]), dice.choice((1, 2, 5, 60)))
        taken, left[which] = left[which][:size], left[which][size:]
        if dice.random() < 0.7:
            watermarks_ms[which] = taken[-1].watermark_ms
        yield Step([row.record for row in taken], *watermarks_ms)
    # However they came here, all end at the same watermarks; activations end by a marker, past every action.
    yield Step([], max((row.watermark_ms for row in actions), default=T0), FOREVER_MS)


CAPS = st.sampled_from((0, 1, 2)).map(lambda cap: replace(RULES, cap_per_hour=cap))


@LAW
@given(ACTIONS, ACTIVATIONS, CAPS, SEEDS)
def test_columns_equal_the_definition_in_cells_and_state_after_every_step(
    actions: list[Row], activations: list[Row], rules: Rules, dice: Random
) -> None:
    plain, columns = PlainUsers(rules), ColumnarUsers(rules)
    for step in interleave(actions, activations, dice):
        apply_plain(plain, step)
        apply_columns(columns, step)
        assert counts_of_deltas(columns.take_deltas()) == counts_of(plain.take_cells(), rules.lg_k)
        assert columns.canonical() == plain.canonical()


@contextmanager
def everyone_has_many() -> Iterator[None]:
    """Do with two triggers and three joins what is else done for thousands."""
    with (
        patch.object(triggers, "MANY", 1),
        patch.object(joining, "PAIRS_AT_ONCE", 3),
        patch.object(deltas, "PENDING_SIZE", 4),
    ):
        yield


@LAW
@given(ACTIONS, ACTIVATIONS, CAPS, SEEDS)
def test_users_with_many_triggers_equal_the_definition_in_cells_and_state(
    actions: list[Row], activations: list[Row], rules: Rules, dice: Random
) -> None:
    plain, table, total, changelog = PlainUsers(rules), UsersTable(rules), Counts(), dict[bytes, bytes]()
    with everyone_has_many():
        for step in interleave(actions, activations, dice):
            apply_plain(plain, step)
            apply_columns(table.users, step)
            assert table.users.canonical() == plain.canonical()
            if dice.random() < 0.3:
                add(total, counts_of_deltas(table.users.take_deltas()))
            if dice.random() < 0.2:
                add(total, counts_of_deltas(table.users.take_deltas()))
                checkpoint(table, changelog)
                table = loaded(rules, changelog, dice)
    add(total, counts_of_deltas(table.users.take_deltas()))
    assert total == counts_of(plain.take_cells(), rules.lg_k)


@LAW
@given(ACTIONS, ACTIVATIONS, CAPS, SEEDS)
def test_any_cut_and_interleaving_gives_the_same_cells_and_state(
    actions: list[Row], activations: list[Row], rules: Rules, dice: Random
) -> None:
    results = []
    for _ in range(2):
        columns, total = ColumnarUsers(rules), Counts()
        for step in interleave(actions, activations, dice):
            apply_columns(columns, step)
            if dice.random() < 0.5:
                add(total, counts_of_deltas(columns.take_deltas()))
        add(total, counts_of_deltas(columns.take_deltas()))
        results.append((total, columns.canonical()))
    assert results[0] == results[1]


@LAW
@given(ACTIONS, ACTIVATIONS, CAPS, SEEDS)
def test_a_state_loaded_from_its_pages_is_the_state_and_goes_on_like_it(
    actions: list[Row], activations: list[Row], rules: Rules, dice: Random
) -> None:
    """Checkpoints come anywhere, each on top of those before it; now and then the table is lost and loaded."""
    unharmed, table, changelog = ColumnarUsers(rules), UsersTable(rules), dict[bytes, bytes]()
    for step in interleave(actions, activations, dice):
        apply_columns(unharmed, step)
        apply_columns(table.users, step)
        assert counts_of_deltas(table.users.take_deltas()) == counts_of_deltas(unharmed.take_deltas())
        if dice.random() < 0.5:
            checkpoint(table, changelog)
            if dice.random() < 0.7:
                table = loaded(rules, changelog, dice)
        assert table.users.canonical() == unharmed.canonical()


@LAW
@given(ACTIONS, ACTIVATIONS, CAPS, SEEDS)
def test_pages_of_users_are_a_function_of_the_state_not_of_its_rows(
    actions: list[Row], activations: list[Row], rules: Rules, dice: Random
) -> None:
    table, changelog = UsersTable(rules), dict[bytes, bytes]()
    for step in interleave(actions, activations, dice):
        apply_columns(table.users, step)
    checkpoint(table, changelog)
    again = loaded(rules, changelog, dice)
    again.users.dirty_pages[:] = True
    rewritten = {page.key: page.value for page in again.changed_pages()}
    assert {key: value for key, value in rewritten.items() if value is not None} == {
        key: value for key, value in changelog.items() if not key.startswith(b"repeats/")
    }


@LAW
@given(ACTIONS, ACTIVATIONS, CAPS, SEEDS)
def test_when_nothing_can_matter_any_longer_nothing_is_kept(
    actions: list[Row], activations: list[Row], rules: Rules, dice: Random
) -> None:
    table, changelog = UsersTable(rules), dict[bytes, bytes]()
    for step in interleave(actions, activations, dice):
        apply_columns(table.users, step)
        if dice.random() < 0.3:
            checkpoint(table, changelog)
    table.users.advance(FOREVER_MS, FOREVER_MS)
    table.users.take_deltas()
    checkpoint(table, changelog)
    assert changelog.keys() == {b"counters"}
    assert len(table.users.names) == 0
    assert table.users.groups.ranks().max(initial=-1) == -1


@LAW
@given(ACTIONS, ACTIVATIONS, CAPS, SEEDS)
def test_looking_up_each_user_gives_the_whole_state_and_changes_nothing(
    actions: list[Row], activations: list[Row], rules: Rules, dice: Random
) -> None:
    columns = ColumnarUsers(rules)
    for step in interleave(actions, activations, dice):
        apply_columns(columns, step)
        state = columns.canonical()
        looked_up = {name: find_user(columns, name) for name in {*USERS, "nobody"}}
        assert {name: as_canonical(found) for name, found in looked_up.items() if found} == {
            name: state["users"].get(name, {"hours": {}, "triggers": {}})
            for name in {*state["users"], *(repeat[0] for repeat in state["repeats"])}
        }
        assert sorted(
            (name, action.event, action.at_ms)
            for name, found in looked_up.items()
            for action in (found.actions if found else ())
        ) == sorted(repeat[:3] for repeat in state["repeats"])
        assert columns.canonical() == state


def as_canonical(found: UserEntry) -> dict[str, Any]:
    return {
        "hours": {hour.hour_start_ms // HOUR_MS: hour.kept for hour in found.hours},
        "triggers": {
            (each.experiment, each.period_start_ms, each.group): (
                each.at_ms,
                each.arrival_ms,
                each.period_end_ms,
                dict(each.counts),
            )
            for each in found.triggers
        },
    }


def test_two_users_of_these_laws_share_a_page() -> None:
    assert page_of("u1") == page_of("ü20") != page_of("u2")


def checkpoint(table: UsersTable, changelog: dict[bytes, bytes]) -> None:
    for page in table.changed_pages():
        if page.value is None:
            # A tombstone for what isn't there would only cost; each must take something away.
            del changelog[page.key]
        else:
            changelog[page.key] = page.value


def loaded(rules: Rules, changelog: dict[bytes, bytes], dice: Random) -> UsersTable:
    pages = [Page(key, value) for key, value in changelog.items()]
    dice.shuffle(pages)
    table = UsersTable(rules)
    table.load(pages)
    return table
