"""When a period begins its plan is written down, and it is told while its counts may change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event
from structlog.testing import capture_logs
from tests.unit.store.databases import open_database

from rtexp.agents.frozen_plans import FrozenPlans
from rtexp.errors import StoreUnavailable
from rtexp.records.snapshot import Allocation
from rtexp.settings import PipelineSettings, Settings, StatisticsSettings
from rtexp.statistics.plans import DecisionMetric, decoded, plan_hash
from rtexp.store.definitions import Experiment
from rtexp.store.engine import reading
from rtexp.store.own_plans import OwnPlan, encoded
from rtexp.store.plans import read_plans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine
    from tests.unit.store.databases import Database

    from rtexp.records.snapshot import FrozenPlan
    from rtexp.statistics.plans import Plan

HOUR = 3_600_000
START = 1_700_000_000_000
LIVE = Settings()
RECORDS = Settings(pipeline=PipelineSettings(clock="records"))
FEED = Experiment(
    "feed",
    "control",
    ("control", "treatment"),
    (
        Allocation("control", 5, START),
        Allocation("treatment", 5, START),
        Allocation("treatment", 15, START + 100 * HOUR),
    ),
)


def strict(experiment: Experiment) -> Experiment:
    return replace(experiment, plan=encoded(OwnPlan(statistics={"alpha": 0.01})))


def starts(plans: Sequence[FrozenPlan]) -> list[int]:
    return [(plan.period_start_ms - START) // HOUR for plan in plans]


def plan_of(frozen: FrozenPlan) -> Plan:
    return decoded(bytes(frozen.plan))


def test_a_period_gets_its_plan_when_it_begins_and_not_before(engine: Engine) -> None:
    plans = FrozenPlans(engine, LIVE)
    assert plans.current([FEED], START - 1) == []
    with reading(engine) as connection:
        assert read_plans(connection, experiment="feed") == []
    (frozen,) = plans.current([FEED], START)
    assert (frozen.experiment, frozen.period_start_ms) == ("feed", START)
    assert plan_of(frozen).weights == {"control": 0.5, "treatment": 0.5}
    assert frozen.plan_hash == plan_hash(plan_of(frozen))


def test_a_plan_that_changes_before_the_period_holds_and_later_holds_for_the_next(engine: Engine) -> None:
    plans = FrozenPlans(engine, LIVE)
    plans.current([FEED], START - 1)
    assert [plan_of(p).alpha for p in plans.current([strict(FEED)], START)] == [0.01]
    assert [plan_of(p).alpha for p in plans.current([FEED], START + 1)] == [0.01]
    later = START + 100 * HOUR
    assert [plan_of(p).alpha for p in plans.current([FEED], later)] == [0.05]
    assert [plan_of(p).weights["treatment"] for p in plans.current([FEED], later)] == [0.75]


@pytest.mark.parametrize("changed", [Settings(statistics=StatisticsSettings(alpha=0.2)), RECORDS])
def test_another_worker_with_other_settings_tells_the_plan_that_is_stored(
    engine: Engine, changed: Settings
) -> None:
    first = FrozenPlans(engine, LIVE).current([FEED], START)
    assert FrozenPlans(engine, changed).current([strict(FEED)], START)[:1] == first


def test_a_plan_is_told_until_a_day_after_its_last_count(engine: Engine) -> None:
    #  0 h              72 h   73 h                97 h   100 h
    #  [---- period ----)grace  told for a day more  )    [---- period
    plans = FrozenPlans(engine, LIVE)
    told = {hour: starts(plans.current([FEED], START + hour * HOUR)) for hour in (0, 72, 96, 97, 99, 100)}
    assert told == {0: [0], 72: [0], 96: [0], 97: [], 99: [], 100: [100]}


def test_in_a_replay_every_period_is_told_whatever_the_wall_clock_says(engine: Engine) -> None:
    plans = FrozenPlans(engine, RECORDS)
    for now_ms in (START - 1, START, START + 10_000 * HOUR):
        assert starts(plans.current([FEED], now_ms)) == [0, 100]


def test_plans_come_in_the_order_of_the_experiments(engine: Engine) -> None:
    others = [replace(FEED, name=name) for name in ("b", "a", "c")]
    assert [p.experiment for p in FrozenPlans(engine, LIVE).current(others, START)] == ["b", "a", "c"]


def test_sql_is_asked_for_new_periods_only(engine: Engine) -> None:
    plans = FrozenPlans(engine, LIVE)
    plans.current([FEED], START)
    asked: list[object] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    plans.current([FEED], START + 1)
    assert asked == []
    plans.current([FEED, replace(FEED, name="new")], START + 2)
    assert asked


def test_a_plan_that_cannot_be_stored_is_not_told_and_tried_again(store: Database) -> None:
    with open_database(store) as engine:
        plans = FrozenPlans(engine, LIVE)
        with store.refusing_writes(), pytest.raises(StoreUnavailable):
            plans.current([FEED], START)
        assert starts(plans.current([FEED], START)) == [0]


def test_a_plan_that_the_settings_contradict_is_told_with_its_problem_and_logged_once(engine: Engine) -> None:
    untracked = replace(FEED, plan=encoded(OwnPlan((DecisionMetric("buy", "volume"),))))
    plans = FrozenPlans(engine, LIVE)
    with capture_logs() as logs:
        (frozen,) = plans.current([untracked], START)
        plans.current([untracked], START + 1)
    assert plan_of(frozen).problem == "plan_missing"
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["event"] for entry in warnings] == ["plan_contradicts_settings"]
    assert "`buy` is not tracked" in warnings[0]["error"]
