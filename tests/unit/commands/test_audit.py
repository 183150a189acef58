"""`rtexp audit`: what doesn't follow from plans and counts is found and named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, update
from tests.look_samples import START, WORKED, plan
from tests.unit.commands.command_line import CommandLine
from tests.unit.store.databases import SqliteFile, open_database

from rtexp.agents.publish_source import published_look
from rtexp.statistics.evaluation import PeriodEvaluator
from rtexp.statistics.plans import DecisionMetric
from rtexp.store.engine import writing
from rtexp.store.looks import upsert_look_inputs, upsert_looks
from rtexp.store.plans import freeze_plans
from rtexp.store.schema import look_inputs, looks, plans
from rtexp.tables.looks import EvaluatedLook

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from sqlalchemy import Connection, Engine, Update
    from sqlalchemy.sql.dml import Delete

    from rtexp.statistics.looks import LookInput
    from rtexp.statistics.plans import Plan

PLAN = plan(decision=[DecisionMetric("search", "propensity"), DecisionMetric("search", "volume")])


def write(
    connection: Connection, plan: Plan, inputs: Sequence[LookInput], *, period_start_ms: int = START
) -> None:
    """Evaluate and write looks as the workers do."""
    freeze_plans(connection, [("feed", period_start_ms, plan)])
    evaluator = PeriodEvaluator("feed", period_start_ms, plan)
    for given in inputs:
        outcome = evaluator.look(given, evaluated_ms=given.scheduled_ms + 61_000, version="0.1.0")
        rows = published_look(EvaluatedLook(given, outcome.records), sequence=7)
        upsert_look_inputs(connection, [rows.given])
        upsert_looks(connection, rows.rows)


@pytest.fixture
def database(tmp_path: Path) -> SqliteFile:
    return SqliteFile(tmp_path / "x.db")


@pytest.fixture
def rtexp(
    database: SqliteFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> CommandLine:
    with open_database(database) as engine, writing(engine) as connection:
        write(connection, PLAN, WORKED)
    return CommandLine(tmp_path, monkeypatch, capfd)


def change(database: SqliteFile, statement: Update | Delete) -> None:
    with open_database(database) as engine, writing(engine) as connection:
        assert connection.execute(statement).rowcount == 1


def of_look(number: int, metric: str = "propensity") -> Any:
    return (looks.c.look == number) & (looks.c.metric == metric)


def test_looks_that_follow_from_plans_and_counts_agree(rtexp: CommandLine) -> None:
    assert rtexp("audit", "feed") == (
        0,
        "period from 2023-11-14T22:00:00Z: 4 of 4 looks agree, 8 of 8 verdicts\n",
        "",
    )


def test_json_says_the_same(rtexp: CommandLine) -> None:
    ended = rtexp("audit", "feed", "--json")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == {
        "experiment": "feed",
        "agrees": True,
        "periods": [
            {
                "period_start_ms": START,
                "looks": 4,
                "looks_agreeing": 4,
                "verdicts": 8,
                "verdicts_agreeing": 8,
                "disagreements": [],
            }
        ],
    }


def test_a_look_that_was_missed_is_no_error(
    tmp_path: Path,
    database: SqliteFile,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with open_database(database) as engine, writing(engine) as connection:
        write(connection, PLAN, [WORKED[0], WORKED[3]])
    ended = CommandLine(tmp_path, monkeypatch, capfd)("audit", "feed")
    assert (ended.code, "2 of 2 looks agree, 4 of 4 verdicts" in ended.out) == (0, True)


def value_of(engine: Engine, column: str, number: int) -> Any:
    with engine.connect() as connection:
        return connection.execute(looks.select().where(of_look(number))).mappings().one()[column]


NUMBERS = [
    column.name
    for column in looks.columns
    if not column.primary_key and column.name not in ("evaluated_ms", "version", "sequence")
]


@pytest.mark.parametrize("column", NUMBERS)
def test_one_changed_value_of_one_row_is_found_and_named(
    rtexp: CommandLine, database: SqliteFile, column: str
) -> None:
    with open_database(database) as engine:
        was = value_of(engine, column, 3)
    changed: object = "other"
    if isinstance(was, bool):
        changed = not was
    elif isinstance(was, int):
        changed = was + 1
    elif isinstance(was, float):
        changed = was * (1 + 1e-8) + (was == 0) * 1e-30
    change(database, update(looks).where(of_look(3)).values({column: changed}))
    ended = rtexp("audit", "feed", "--json")
    assert ended.code == 1
    (period,) = json.loads(ended.out)["periods"]
    (found,) = period["disagreements"]
    assert (found["look"], found["metric"], found["column"]) == (3, "propensity", column)
    assert (found["stored"], found["recomputed"]) == (changed, was)
    assert (period["looks_agreeing"], period["verdicts_agreeing"]) == (3, 7)


def test_a_difference_is_a_line_with_both_values(rtexp: CommandLine, database: SqliteFile) -> None:
    change(database, update(looks).where(of_look(2)).values(state="significant_gain"))
    ended = rtexp("audit", "feed")
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "period from 2023-11-14T22:00:00Z: 3 of 4 looks agree, 7 of 8 verdicts",
        (
            "  look 2, T search propensity decision alpha-spending, state: "
            "stored significant_gain, recomputed no_difference_yet"
        ),
    ]
    assert ended.err == "rtexp: 1 stored values don't follow from plans and counts\n"


def test_rounding_of_the_last_digits_is_no_difference(rtexp: CommandLine, database: SqliteFile) -> None:
    change(database, update(looks).where(of_look(3)).values(z=looks.c.z * (1 + 1e-12)))
    assert rtexp("audit", "feed").code == 0


def test_when_and_by_which_version_a_look_was_evaluated_decides_nothing(
    rtexp: CommandLine, database: SqliteFile
) -> None:
    other = {"evaluated_ms": 1, "version": "9", "sequence": 99}
    change(database, update(looks).where(of_look(3)).values(other))
    assert rtexp("audit", "feed").code == 0


def test_a_look_without_its_input_is_reported_and_so_is_what_rests_on_it(
    rtexp: CommandLine, database: SqliteFile
) -> None:
    change(database, delete(look_inputs).where(look_inputs.c.look == 3))
    ended = rtexp("audit", "feed")
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "period from 2023-11-14T22:00:00Z: 2 of 4 looks agree, 4 of 8 verdicts",
        "  look 3, inputs: stored nothing, recomputed the counts that the look rested on",
        "  look 4, row: stored 2 rows, recomputed not recomputable",
    ]


def test_counts_that_were_changed_show_in_every_row_that_rests_on_them(
    rtexp: CommandLine, database: SqliteFile
) -> None:
    with open_database(database) as engine, engine.connect() as connection:
        text = (
            connection.execute(look_inputs.select().where(look_inputs.c.look == 2)).mappings().one()["inputs"]
        )
    change(
        database,
        update(look_inputs).where(look_inputs.c.look == 2).values(inputs=text.replace("380", "381")),
    )
    (period,) = json.loads(rtexp("audit", "feed", "--json").out)["periods"]
    found = {(one["look"], one["column"]) for one in period["disagreements"]}
    assert {(2, "s1_treatment"), (2, "s2_treatment"), (2, "a_treatment"), (3, "boundary")} <= found


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"look":2}'])
def test_an_input_that_cant_be_read_is_a_difference(
    rtexp: CommandLine, database: SqliteFile, text: str
) -> None:
    change(database, update(look_inputs).where(look_inputs.c.look == 2).values(inputs=text))
    ended = rtexp("audit", "feed")
    assert (ended.code, "look 2, inputs: stored can't be read" in ended.out) == (1, True)


def test_an_input_that_lacks_a_group_is_a_difference(rtexp: CommandLine, database: SqliteFile) -> None:
    empty = '{"look":2,"scheduled_ms":0,"groups":{},"stretches":[]}'
    change(database, update(look_inputs).where(look_inputs.c.look == 2).values(inputs=empty))
    ended = rtexp("audit", "feed")
    assert (ended.code, "look 2, inputs: stored lacks C" in ended.out) == (1, True)


def test_a_row_that_is_missing_or_that_no_plan_asks_for_is_a_difference(
    rtexp: CommandLine, database: SqliteFile
) -> None:
    change(database, delete(looks).where(of_look(1)))
    change(database, update(looks).where(of_look(2, "volume")).values(group_name="U"))
    (period,) = json.loads(rtexp("audit", "feed", "--json").out)["periods"]
    found = {
        (one["look"], one["group_name"], one["column"], one["stored"]) for one in period["disagreements"]
    }
    assert found == {
        (1, "T", "row", "missing"),
        (2, "T", "row", "missing"),
        (2, "U", "row", "a row"),
    }


def test_a_plan_that_was_changed_no_longer_fits_its_hash(rtexp: CommandLine, database: SqliteFile) -> None:
    with open_database(database) as engine, engine.connect() as connection:
        text = connection.execute(plans.select()).mappings().one()["plan"]
    change(database, update(plans).values(plan=text.replace('"alpha":0.05', '"alpha":0.06')))
    ended = rtexp("audit", "feed")
    assert ended.code == 1
    assert ", plan_hash: " in ended.out
    assert ", level: stored 0.025, recomputed 0.03\n" in ended.out


@pytest.mark.parametrize("text", ["", "{}"])
def test_a_plan_that_cant_be_read_leaves_nothing_to_recompute(
    rtexp: CommandLine, database: SqliteFile, text: str
) -> None:
    change(database, update(plans).values(plan=text))
    ended = rtexp("audit", "feed")
    assert (ended.code, "plan: stored can't be read" in ended.out) == (1, True)
    assert "0 of 4 looks agree, 0 of 8 verdicts" in ended.out


def test_a_period_without_a_plan_leaves_nothing_to_recompute(
    rtexp: CommandLine, database: SqliteFile
) -> None:
    change(database, delete(plans))
    ended = rtexp("audit", "feed")
    assert (ended.code, "  plan: stored nothing, recomputed a plan" in ended.out) == (1, True)


def test_periods_are_audited_one_by_one(rtexp: CommandLine, database: SqliteFile) -> None:
    with open_database(database) as engine, writing(engine) as connection:
        freeze_plans(connection, [("feed", START + 1, PLAN), ("Feed", START, PLAN)])
    assert len(rtexp("audit", "feed").out.splitlines()) == 1
    ended = rtexp("audit", "Feed")
    assert ended == (0, "", "no looks yet\n")


def test_an_unknown_experiment_is_wrong_usage(rtexp: CommandLine) -> None:
    ended = rtexp("audit", "fee")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("rtexp: there is no experiment `fee`: ")


def test_help_ends_with_an_example(rtexp: CommandLine) -> None:
    ended = rtexp("audit", "--help")
    assert (ended.code, "Example: rtexp audit new-feed" in ended.out) == (0, True)
