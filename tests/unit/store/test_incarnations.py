"""A database belongs to one history of the results changelog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rtexp.errors import StateError
from rtexp.store.engine import writing
from rtexp.store.incarnations import check_incarnation

if TYPE_CHECKING:
    from sqlalchemy import Engine


def check(engine: Engine, changelog: str, partition: int, incarnation: str) -> None:
    with writing(engine) as connection:
        check_incarnation(connection, changelog, partition, incarnation)


def test_the_first_history_takes_the_database_and_may_come_back(engine: Engine) -> None:
    check(engine, "rtexp.results-buckets-changelog", 0, "a")
    check(engine, "rtexp.results-buckets-changelog", 0, "a")


def test_another_history_is_refused_with_both_and_what_to_do(engine: Engine) -> None:
    check(engine, "rtexp.results-buckets-changelog", 3, "a")
    with pytest.raises(StateError, match=r"results-buckets-changelog, partition 3 \(a, not b\)") as caught:
        check(engine, "rtexp.results-buckets-changelog", 3, "b")
    assert "set store.url to a new database" in str(caught.value)
    check(engine, "rtexp.results-buckets-changelog", 3, "a")


def test_partitions_and_changelogs_have_histories_of_their_own(engine: Engine) -> None:
    check(engine, "one", 0, "a")
    check(engine, "one", 1, "b")
    check(engine, "two", 0, "c")
