"""Plans in SQL: the first one written for a period holds, and nothing changes it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.unit.statistics.plan_samples import PLAN, plan
from tests.unit.store.databases import open_database

from rtexp.statistics.plans import canonical, decoded, plan_hash
from rtexp.store.engine import make_engine, reading, writing
from rtexp.store.plans import StoredPlan, freeze_plans, read_plans, stored_plans
from rtexp.store.schema import plans
from rtexp.store.upserts import BATCH_ROWS

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from tests.unit.store.databases import Database

    from rtexp.statistics.plans import Plan

START = 1_700_000_000_000
OTHER = plan(alpha=0.01)


def stored(name: str, start_ms: int, value: Plan) -> StoredPlan:
    return StoredPlan(name, start_ms, plan_hash(value), canonical(value).decode())


def freeze(engine: Engine, *wanted: tuple[str, int, Plan]) -> list[StoredPlan]:
    with writing(engine) as connection:
        return freeze_plans(connection, wanted)


def test_a_row_has_the_columns_of_the_table_in_their_order() -> None:
    assert StoredPlan._fields == tuple(plans.c.keys())
    assert [column.name for column in plans.primary_key] == ["experiment", "period_start_ms"]


def test_a_plan_is_returned_as_it_was_frozen(engine: Engine) -> None:
    odd = plan(alpha=0.1 + 0.2 - 0.05, good={"é\U0001f600": "up"})
    assert freeze(engine, ("feed", START, odd)) == [stored("feed", START, odd)]
    with reading(engine) as connection:
        (read,) = read_plans(connection, experiment="feed")
    assert decoded(read.plan.encode()) == odd
    assert read.plan_hash == plan_hash(odd)


def test_the_first_plan_of_a_period_holds(engine: Engine) -> None:
    freeze(engine, ("feed", START, PLAN))
    again = freeze(engine, ("feed", START, OTHER), ("feed", START + 1, OTHER), ("Feed", START, OTHER))
    assert again == [
        stored("Feed", START, OTHER),
        stored("feed", START, PLAN),
        stored("feed", START + 1, OTHER),
    ]


def test_nothing_to_freeze_is_no_statement(engine: Engine) -> None:
    assert freeze(engine) == []


def test_more_plans_than_a_batch_are_all_frozen(engine: Engine) -> None:
    wanted = [("feed", START + i, PLAN) for i in range(BATCH_ROWS + 2)]
    assert freeze(engine, *wanted) == [stored(*item) for item in wanted]


def test_only_the_asked_for_plans_are_returned(engine: Engine) -> None:
    freeze(engine, ("feed", START, PLAN), ("feed", START + 1, PLAN), ("ranking", START, PLAN))
    with reading(engine) as connection:
        found = stored_plans(connection, [("feed", START + 1), ("ranking", START + 1), ("gone", 0)])
        assert [(row.experiment, row.period_start_ms) for row in found] == [("feed", START + 1)]
        assert stored_plans(connection, []) == []
        assert [row.period_start_ms for row in read_plans(connection, experiment="feed")] == [
            START,
            START + 1,
        ]


@pytest.mark.parametrize("first", [0, 1], ids=["in order", "in reverse"])
def test_of_two_leaders_at_once_the_first_ones_plan_holds_for_both(store: Database, first: int) -> None:
    starts = [START, START + 1][:: -1 if first else 1]
    with open_database(store) as engine:
        patient = make_engine(store.settings)  # the one that comes second waits, and isn't told to go away
        second: list[StoredPlan] = []

        def run_second() -> None:
            second.extend(freeze(patient, *(("feed", at, OTHER) for at in starts)))

        with writing(engine) as connection:
            won = freeze_plans(connection, [("feed", at, PLAN) for at in reversed(starts)])
            other = threading.Thread(target=run_second)
            other.start()
            other.join(0.3)
            assert other.is_alive(), "the second can't know yet whether the first will commit"
        other.join(10)
        patient.dispose()
    assert second == won == [stored("feed", START, PLAN), stored("feed", START + 1, PLAN)]
