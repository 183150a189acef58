"""Whether anything was committed: never missed, and cheap to ask."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from tests.unit.store.databases import cell_row, look_row, open_database

from rtexp.store.cells import upsert_cells
from rtexp.store.changes import Changes
from rtexp.store.engine import reading, writing
from rtexp.store.looks import upsert_looks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine
    from tests.unit.store.databases import Database

QUIET_SECONDS = 10.0


@pytest.fixture
def changes(engine: Engine) -> Iterator[Changes]:
    found = Changes(engine)
    yield found
    found.close()


def settled(changes: Changes) -> None:
    """Wait until nothing is new; a server knows only the second of a change, and says so for longer."""
    until = time.monotonic() + QUIET_SECONDS
    while changes.are_new():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_at_first_all_is_new_and_then_nothing(changes: Changes) -> None:
    assert changes.are_new()
    settled(changes)
    assert not changes.are_new()


def test_a_commit_of_another_connection_is_new_at_once(changes: Changes, store: Database) -> None:
    settled(changes)
    with open_database(store, migrated=False) as other, writing(other) as connection:
        upsert_cells(connection, [cell_row()])
    assert changes.are_new()
    settled(changes)
    with open_database(store, migrated=False) as other, writing(other) as connection:
        upsert_looks(connection, [look_row()])
    assert changes.are_new()


def test_no_commit_is_missed_among_many_in_the_same_second(changes: Changes, engine: Engine) -> None:
    settled(changes)
    for number in range(20):
        with writing(engine) as connection:
            upsert_cells(connection, [cell_row(volume=number + 1, sequence=number + 1)])
        assert changes.are_new()


def test_reading_is_no_change(changes: Changes, engine: Engine) -> None:
    settled(changes)
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))
    assert not changes.are_new()


def test_after_an_end_all_is_new(changes: Changes) -> None:
    settled(changes)
    changes.close()
    assert changes.are_new()
