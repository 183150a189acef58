"""Asking workers for sizes: once for all who look, and nobody waits for those that don't answer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.web.operations_samples import position, worker

from rtexp.settings import Settings
from rtexp.web.standing import Clock, judge
from rtexp.web.state_tables import KEPT_SECONDS, StateTables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtexp.web.standing import Standing

SECONDS = 20.0


class Workers:
    """Workers that answer when they are let."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = threading.Event()
        self.are_asked = threading.Event()
        self.may_answer.set()

    def tables(self, _: str) -> Mapping[str, Any]:
        self.asked += 1
        self.are_asked.set()
        assert self.may_answer.wait(SECONDS)
        return {
            "partitions": [{"table": "users", "entries": self.asked, "disk_bytes": None, "memory_bytes": 1}]
        }


@pytest.fixture
def standing() -> Standing:
    row = worker("aggregate-1", "aggregate", url="http://here")
    clock = Clock(row.updated_ms, is_live=True, on_purpose_ms=0)
    return judge([position("aggregate", "x", 0)], [row], clock)


def test_one_answer_serves_all_for_some_seconds(standing: Standing) -> None:
    workers, now = Workers(), [0.0]
    tables = StateTables(Settings(), workers, seconds=lambda: now[0])  # type: ignore[arg-type]
    assert [tables.sizes(standing.workers).tables[0].entries for _ in range(3)] == [1, 1, 1]
    now[0] = KEPT_SECONDS
    assert tables.sizes(standing.workers).tables[0].entries == 2


def test_who_looks_while_workers_are_asked_gets_what_was_known_before(standing: Standing) -> None:
    workers, now = Workers(), [0.0]
    tables = StateTables(Settings(), workers, seconds=lambda: now[0])  # type: ignore[arg-type]
    tables.sizes(standing.workers)
    now[0] = KEPT_SECONDS
    workers.may_answer.clear()
    workers.are_asked.clear()
    asking = threading.Thread(target=tables.sizes, args=(standing.workers,))
    asking.start()
    assert workers.are_asked.wait(SECONDS)
    assert tables.sizes(standing.workers).tables[0].entries == 1
    workers.may_answer.set()
    asking.join(SECONDS)
    assert tables.sizes(standing.workers).tables[0].entries == 2
    assert workers.asked == 2


@pytest.mark.parametrize(
    "partitions",
    [
        5,
        None,
        [5],
        {"users": 1},
        [{"table": "users", "entries": "many"}],
        [{"table": "users", "entries": 1e999}],
    ],
)
def test_what_a_worker_could_not_have_said_is_as_if_it_were_silent(
    standing: Standing, partitions: Any
) -> None:
    class Strange:
        def tables(self, _: str) -> Mapping[str, Any]:
            return {"partitions": partitions}

    sizes = StateTables(Settings(), Strange()).sizes(standing.workers)  # type: ignore[arg-type]
    assert (list(sizes.tables), sizes.missing) == ([], ["aggregate-1"])
