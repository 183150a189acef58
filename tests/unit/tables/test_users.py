from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.properties.users_streams import Step, apply_columns, counts_of_deltas

from rtexp.core.buckets import HOUR_MS
from rtexp.core.rules import Rules
from rtexp.core.users_columns import page_of
from rtexp.core.users_plain import Action, Activation
from rtexp.engine.api import Page
from rtexp.errors import StateError
from rtexp.tables import user_pages
from rtexp.tables.users import UsersTable, semantics

T0 = 472_222 * HOUR_MS
SLOT_MS = 300_000
END = T0 + 72 * HOUR_MS
RULES = Rules(
    tracked=("search", "click"),
    bucket_ms=900_000,
    dedup_ms=SLOT_MS,
    cap_per_hour=1000,
    join_delay_ms=10_000,
    grace_ms=HOUR_MS,
    period_ms=72 * HOUR_MS,
    lg_k=12,
)

Changelog = dict[bytes, bytes]


def activate(table: UsersTable, *users: str, experiment: str = "x") -> None:
    rows = [Activation(user, experiment, "a", T0, END, T0, T0) for user in users]
    apply_columns(table.users, Step(rows, 0, 0))


def act(table: UsersTable, *users: str, event: str = "search", at_ms: int = T0) -> None:
    apply_columns(table.users, Step([Action(user, event, at_ms, at_ms) for user in users], 0, 0))


def checkpoint(table: UsersTable, changelog: Changelog) -> dict[bytes, bytes | None]:
    """Write what changed to the changelog; return it."""
    changed = {page.key: page.value for page in table.changed_pages()}
    for key, value in changed.items():
        if value is None:
            del changelog[key]
        else:
            changelog[key] = value
    return changed


def loaded(changelog: Changelog, rules: Rules = RULES) -> UsersTable:
    table = UsersTable(rules)
    table.load(Page(key, value) for key, value in changelog.items())
    return table


def users_key(user: str, part: int = 0) -> bytes:
    return b"users/%04d/%d" % (page_of(user), part)


def test_a_new_table_has_nothing_but_its_counters() -> None:
    changelog = Changelog()
    checkpoint(UsersTable(RULES), changelog)
    assert changelog.keys() == {b"counters"}
    assert loaded(changelog).users.canonical() == UsersTable(RULES).users.canonical()


@pytest.mark.parametrize("cap", [0, 1000], ids=["without a cap", "with a cap"])
def test_only_pages_of_users_that_changed_are_written_again(cap: int) -> None:
    table = UsersTable(replace(RULES, cap_per_hour=cap))
    activate(table, "u", "v")
    checkpoint(table, {})
    act(table, "v")
    slot = T0 // SLOT_MS
    assert {page.key for page in table.changed_pages()} == {
        users_key("v"),
        b"repeats/%d/0" % slot,
        b"counters",
    }


def test_kept_actions_are_only_appended_and_go_with_their_slot() -> None:
    table, changelog, slot = UsersTable(RULES), Changelog(), T0 // SLOT_MS
    act(table, "u", "v")
    checkpoint(table, changelog)
    first = changelog[b"repeats/%d/0" % slot]
    act(table, "w")
    again = checkpoint(table, changelog)
    assert b"repeats/%d/0" % slot not in again
    assert {key for key in changelog if key.startswith(b"repeats")} == {
        b"repeats/%d/%d" % (slot, i) for i in (0, 1)
    }
    assert user_pages.REPEATS.decode(b"", first).users == ["u", "v"]

    table = loaded(changelog)
    act(table, "u", "v", "w")
    assert table.users.counters["repeat"] == 3
    table.users.advance(T0 + 2 * SLOT_MS, 0)
    gone = checkpoint(table, changelog)
    assert [gone[b"repeats/%d/%d" % (slot, i)] for i in (0, 1)] == [None, None]


def test_many_kept_actions_fill_several_pages_of_bounded_size() -> None:
    table, changelog = UsersTable(RULES), Changelog()
    act(table, *(f"{i:0250}" for i in range(12_000)))
    checkpoint(table, changelog)
    repeats = [value for key, value in changelog.items() if key.startswith(b"repeats")]
    assert len(repeats) > 2
    assert max(map(len, repeats)) <= user_pages.MAX_PAGE_BYTES
    assert loaded(changelog).users.canonical() == table.users.canonical()


def users_of_page(page: int, size: int) -> list[str]:
    found: list[str] = []
    i = 0
    while len(found) < size:
        user = f"{i:0240}"
        if page_of(user) == page:
            found.append(user)
        i += 1
    return found


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    limit = 2_000
    monkeypatch.setattr(user_pages, "MAX_PAGE_BYTES", limit)
    return limit


def test_a_page_too_large_is_cut_and_its_parts_go_when_it_shrinks(small_pages: int) -> None:
    table, changelog = UsersTable(RULES), Changelog()
    users = users_of_page(7, 20)
    activate(table, *users)
    checkpoint(table, changelog)
    parts = [value for key, value in changelog.items() if key.startswith(b"users/0007/")]
    assert len(parts) > 2
    assert max(map(len, parts)) <= small_pages
    assert [name for part in parts for name in user_pages.USERS.decode(b"", part).users] == users

    table = loaded(changelog)
    over_ms = END + RULES.grace_ms
    table.users.advance(over_ms, over_ms)
    apply_columns(
        table.users, Step([Activation(users[3], "y", "a", END, END + 1, END, END)], over_ms, over_ms)
    )
    checkpoint(table, changelog)
    assert {key for key in changelog if key.startswith(b"users/")} == {b"users/0007/0"}
    assert loaded(changelog).users.canonical() == table.users.canonical()


def test_one_user_with_too_many_triggers_for_a_record_is_cut_as_well(small_pages: int) -> None:
    """As under a name that stands for everybody who isn't logged in: it is triggered in every experiment."""
    table, changelog = UsersTable(RULES), Changelog()
    for number in range(40):
        activate(table, "anonymous", experiment=f"experiment-{number:02}")
    activate(table, *(name for name in users_of_page(page_of("anonymous"), 3) if name != "anonymous"))
    act(table, "anonymous", event="search")
    act(table, "anonymous", event="click")
    checkpoint(table, changelog)
    parts = [value for key, value in changelog.items() if key.startswith(b"users/")]
    assert len(parts) > 2
    assert max(map(len, parts)) <= small_pages
    again = loaded(changelog)
    assert again.users.canonical() == table.users.canonical()

    for state in (table, again):
        act(state, "anonymous", event="click", at_ms=T0 + SLOT_MS)
    assert again.users.canonical() == table.users.canonical()
    over_ms = END + RULES.grace_ms
    again.users.advance(over_ms, over_ms)
    checkpoint(again, changelog)
    assert not [key for key in changelog if key.startswith(b"users/")]


def test_a_page_is_written_again_when_a_trigger_in_it_ends() -> None:
    table, changelog = UsersTable(RULES), Changelog()
    later = Activation("u", "y", "a", END, END + RULES.period_ms, END, END)
    activate(table, "u")
    apply_columns(table.users, Step([later], 0, 0))
    checkpoint(table, changelog)
    table.users.advance(END + RULES.grace_ms, END + RULES.grace_ms)
    assert users_key("u") in checkpoint(table, changelog)
    assert user_pages.USERS.decode(b"", changelog[users_key("u")]).groups == [("y", END, "a")]


def test_users_of_a_page_keep_each_their_own_counts() -> None:
    table, changelog = UsersTable(RULES), Changelog()
    users = users_of_page(7, 3)
    activate(table, *users)
    activate(table, *users[1:], experiment="y")
    for size, user in enumerate(users):
        for i in range(size):
            act(table, user, event="search", at_ms=T0 + i)
    checkpoint(table, changelog)
    assert loaded(changelog).users.canonical() == table.users.canonical()


def test_counts_of_events_no_longer_tracked_are_kept_and_new_ones_begin_at_0() -> None:
    table, changelog = UsersTable(RULES), Changelog()
    activate(table, "u")
    act(table, "u", event="search")
    act(table, "u", event="click")
    checkpoint(table, changelog)

    other = replace(RULES, tracked=("buy", "click"))
    table = loaded(changelog, other)
    act(table, "u", event="search", at_ms=T0 + 1)
    act(table, "u", event="click", at_ms=T0 + 1)
    act(table, "u", event="buy", at_ms=T0 + 1)
    assert table.users.counters["untracked"] == 1
    cells = {key[3]: counts[:3] for key, (counts, _) in counts_of_deltas(table.users.take_deltas()).items()}
    assert cells == {"click": [1, 0, 3], "buy": [1, 1, 1]}
    checkpoint(table, changelog)

    table = loaded(changelog)
    act(table, "u", event="search", at_ms=T0 + 2)
    cells = {key[3]: counts[:3] for key, (counts, _) in counts_of_deltas(table.users.take_deltas()).items()}
    assert cells == {"search": [1, 0, 3]}


def test_equal_users_have_equal_pages_whoever_came_first() -> None:
    written = []
    for users in (["u", "v", "w"], ["w", "u", "v"]):
        table, changelog = UsersTable(RULES), Changelog()
        for experiment in ("x", "y") if users[0] == "u" else ("y", "x"):
            activate(table, *users, experiment=experiment)
        act(table, *users)
        checkpoint(table, changelog)
        written.append({key: value for key, value in changelog.items() if not key.startswith(b"repeats")})
    assert written[0] == written[1]


def some_changelog() -> Changelog:
    table, changelog = UsersTable(RULES), Changelog()
    activate(table, "u")
    act(table, "u")
    checkpoint(table, changelog)
    return changelog


@pytest.mark.parametrize("key", sorted(some_changelog()), ids=["counters", "repeats", "users"])
def test_a_page_of_another_layout_or_damaged_is_refused_by_name(key: bytes) -> None:
    changelog = some_changelog()
    value = changelog[key]
    with pytest.raises(StateError, match=f"{key.decode()} .* layout 9, this worker reads 1: run the version"):
        loaded(changelog | {key: b"\x09" + value[1:]})
    with pytest.raises(StateError, match=f"{key.decode()} .* damaged"):
        loaded(changelog | {key: value[:-1] + bytes([value[-1] ^ 1])})


def test_a_page_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(StateError, match="doesn't know"):
        loaded(some_changelog() | {b"guests/0": b""})


def test_pages_without_counters_are_refused() -> None:
    changelog = some_changelog()
    del changelog[b"counters"]
    with pytest.raises(StateError, match="none with its counters"):
        loaded(changelog)


def test_an_empty_changelog_is_a_new_table() -> None:
    assert loaded({}).users.canonical() == UsersTable(RULES).users.canonical()


@pytest.mark.parametrize("field", [field for field in Rules.__slots__ if field != "tracked"])
def test_the_semantics_differ_when_any_rule_does(field: str) -> None:
    assert semantics(replace(RULES, **{field: getattr(RULES, field) + 1})) != semantics(RULES)


def test_the_semantics_are_those_of_the_rules_alone() -> None:
    assert semantics(replace(RULES)) == semantics(RULES)
    assert semantics(replace(RULES, tracked=("search",))) != semantics(RULES)


def test_numbers_in_pages_are_little_endian() -> None:
    page = user_pages.USERS.decode(b"", some_changelog()[users_key("u")])
    assert int.from_bytes(page.triggered, "little") == T0
    assert np.frombuffer(page.counts, "<i4").tolist() == [1]
