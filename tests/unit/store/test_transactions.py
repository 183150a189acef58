"""Transactions on whatever database it is, and what is said when it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import IntegrityError

from rtexp.errors import StoreUnavailable
from rtexp.store.engine import reading, writing, writing_alone

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine
    from tests.unit.store.databases import Database

    Transaction = Callable[[Engine], AbstractContextManager[Connection]]

INSERT = "INSERT INTO experiments (name, control_group, created_at_ms) VALUES ('feed', 'control', 0)"

both_kinds_of_writing = pytest.mark.parametrize("begin", [writing, writing_alone], ids=lambda f: f.__name__)


def insert(engine: Engine, begin: Transaction, *, times: int = 1) -> None:
    with begin(engine) as connection:
        for _ in range(times):
            connection.exec_driver_sql(INSERT)


def count(engine: Engine) -> int:
    with reading(engine) as connection:
        found: int = connection.exec_driver_sql("SELECT count(*) FROM experiments").scalar_one()
        return found


@both_kinds_of_writing
def test_what_was_written_is_there_at_the_end(engine: Engine, begin: Transaction) -> None:
    insert(engine, begin)
    assert count(engine) == 1


@both_kinds_of_writing
def test_a_database_that_refuses_writes_can_still_be_read(
    engine: Engine, store: Database, begin: Transaction
) -> None:
    with store.refusing_writes():
        with pytest.raises(StoreUnavailable, match=store.refusal):
            insert(engine, begin)
        assert count(engine) == 0
    insert(engine, begin)
    assert count(engine) == 1


@both_kinds_of_writing
def test_an_exception_rolls_everything_back(engine: Engine, begin: Transaction) -> None:
    with pytest.raises(IntegrityError):
        insert(engine, begin, times=2)
    assert count(engine) == 0


def test_a_reader_sees_one_moment(engine: Engine) -> None:
    with reading(engine) as connection:
        ask = "SELECT count(*) FROM experiments"
        assert connection.exec_driver_sql(ask).scalar() == 0
        insert(engine, writing)
        assert connection.exec_driver_sql(ask).scalar() == 0
    assert count(engine) == 1
