"""`rtexp results`."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.commands.command_line import CommandLine
from tests.unit.statistics.plan_samples import plan
from tests.unit.store.databases import SqliteFile, look_row, open_database

from rtexp.records.snapshot import Allocation
from rtexp.settings import PipelineSettings
from rtexp.store.definitions import Experiment
from rtexp.store.engine import writing, writing_alone
from rtexp.store.looks import LookRow, upsert_looks
from rtexp.store.metadata import load
from rtexp.store.plans import freeze_plans

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3_600_000
START = 1_700_000_000_000
LATER = START + 100 * HOUR
GATED = (
    look_row(event="click", metric="volume", state="collecting", reason="too_few_users")
    ._replace(
        effect=None, std_error=None, interval_low=None, interval_high=None, lift=None, p_always_valid=None
    )
    ._replace(lift_reason="control_mean_zero")
)


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """Two experiments with looks, one of them with an older period, and one that hasn't any yet."""
    command_line = CommandLine(tmp_path, monkeypatch, capfd)
    rows = [
        look_row(look=53),
        look_row(),
        GATED,
        look_row(experiment="ranking", look=72, state="significant_drop"),
        look_row(experiment="ranking", period_start_ms=LATER, look=1, state="collecting"),
    ]
    experiments = [
        Experiment(name, "control", ("control", "treatment"), (Allocation("control", 5, START),))
        for name in ("feed", "ranking", "quiet")
    ]
    with open_database(SqliteFile(command_line.database)) as engine:
        with writing_alone(engine) as connection:
            load(connection, experiments, pipeline=PipelineSettings(), now_ms=START)
        with writing(engine) as connection:
            upsert_looks(connection, rows)
            freeze_plans(
                connection,
                [("feed", START, plan()), ("ranking", START, plan()), ("ranking", LATER, plan())],
            )
    return command_line


def test_a_table_has_a_line_for_the_newest_look_of_each_comparison(rtexp: CommandLine) -> None:
    ended = rtexp("results", "feed")
    assert (ended.code, ended.err) == (0, "")
    title, header, *lines = ended.out.splitlines()
    assert title == (
        "feed: period from 2023-11-14T22:13:20Z, look 54 as of 2023-11-17T04:13:20Z, alpha-spending, "
        "control control"
    )
    assert header.split() == [
        "group",
        "event",
        "metric",
        "role",
        "state",
        "effect",
        "interval",
        "lift",
        "p",
        "users",
        "why",
    ]
    assert [" ".join(line.split()) for line in lines] == [
        "treatment click volume decision collecting 12,000 / 12,100 too_few_users, control_mean_zero",
        (
            "treatment search propensity decision significant_gain (good) +0.009532 [0.002795, 0.01627] "
            "+20.43 % 0.004456 12,000 / 12,100"
        ),
    ]


def test_all_experiments_are_shown_with_their_newest_period(rtexp: CommandLine) -> None:
    titles = [line for line in rtexp("results").out.splitlines() if "period from" in line]
    assert [title[:44] for title in titles] == [
        "feed: period from 2023-11-14T22:13:20Z, look",
        "ranking: period from 2023-11-19T02:13:20Z, l",
    ]


def test_earlier_periods_may_be_asked_for(rtexp: CommandLine) -> None:
    out = rtexp("results", "ranking", "--every-period").out
    assert out.count("period from") == 2
    assert "significant_drop (bad)" in out


def test_one_event_may_be_asked_for(rtexp: CommandLine) -> None:
    rows = json.loads(rtexp("results", "feed", "--event", "search", "--json").out)
    assert [row["event"] for row in rows] == ["search"]


@pytest.mark.parametrize("options", [("--json",), ("--format", "json")])
def test_json_has_all_columns_as_they_are_stored(rtexp: CommandLine, options: tuple[str, ...]) -> None:
    gated, decided = json.loads(rtexp("results", "feed", *options).out)
    assert decided == look_row()._asdict() | {"verdict": "good"}
    assert gated == GATED._asdict() | {"verdict": None}


def test_csv_has_all_columns_and_nothing_where_nothing_was_computed(rtexp: CommandLine) -> None:
    rows = list(csv.DictReader(rtexp("results", "feed", "--format", "csv").out.splitlines()))
    assert list(rows[0]) == [*LookRow._fields, "verdict"]
    assert (rows[0]["effect"], rows[0]["reason"], rows[0]["crossed"]) == ("", "too_few_users", "true")
    assert float(rows[1]["effect"]) == look_row().effect


def test_an_experiment_without_looks_says_so(rtexp: CommandLine) -> None:
    assert rtexp("results", "quiet") == (
        0,
        "",
        (
            "no looks yet: `rtexp experiments show NAME` says when the first is due, `rtexp export cells` what is "
            "counted so far\n"
        ),
    )
    assert json.loads(rtexp("results", "quiet", "--json").out) == []


def test_an_unknown_experiment_is_wrong_usage_and_told_which_there_are(rtexp: CommandLine) -> None:
    ended = rtexp("results", "Feed")
    assert ended == (2, "", "rtexp: there is no experiment `Feed`: known are `feed`, `ranking`, `quiet`\n")


def test_a_name_cannot_move_the_cursor(rtexp: CommandLine) -> None:
    with open_database(SqliteFile(rtexp.database)) as engine, writing(engine) as connection:
        upsert_looks(connection, [look_row(experiment="a\x1b[2J\nb", group="t\tu")])
    out = rtexp("results").out
    assert "a\\x1b[2J\\nb: period" in out
    assert "t\\tu" in out


def test_a_database_without_tables_says_what_to_run(
    rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTEXP_STORE__URL", f"sqlite:///{rtexp.database}2")
    ended = rtexp("results")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "run `rtexp db upgrade`" in ended.err


def test_help_ends_with_an_example(rtexp: CommandLine) -> None:
    ended = rtexp("results", "--help")
    assert ended.code == 0
    assert "Example: rtexp results new-feed --event search" in ended.out
