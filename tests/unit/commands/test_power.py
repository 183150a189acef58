"""`rtexp power`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.commands.command_line import CommandLine
from tests.unit.statistics.plan_samples import plan
from tests.unit.store.databases import SqliteFile, look_row, open_database

from rtexp.settings import PipelineSettings
from rtexp.statistics.power import Aim, Baseline, least_lift, requirement
from rtexp.store.definitions import Experiment
from rtexp.store.engine import writing, writing_alone
from rtexp.store.looks import upsert_looks
from rtexp.store.metadata import load
from rtexp.store.plans import freeze_plans

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capfd)


def test_a_lift_needs_users_and_hours(rtexp: CommandLine) -> None:
    ended = rtexp("power", "--rate", "0.1", "--lift", "0.05", "--per-hour", "2000", "--looks", "12", "--json")
    found = {row["method"]: row for row in json.loads(ended.out)}
    users = requirement("obf", Aim(looks=12), Baseline(0.1), 0.05).users_per_group
    assert found["obf"]["users_per_group"] == users
    assert found["obf"]["hours"] == pytest.approx(2 * users / 2000)
    assert found["obf"]["fits_in_period"]
    assert not found["bonferroni"]["fits_in_period"]
    assert set(found) == {"obf", "pocock", "bonferroni", "confidence-sequence", "gamblers-ruin", "fixed"}


def test_treatments_and_metrics_share_the_error(rtexp: CommandLine) -> None:
    options = (
        "--mean",
        "3",
        "--variance",
        "20",
        "--lift",
        "0.1",
        "--method",
        "obf",
        "--looks",
        "6",
        "--json",
    )
    [shared] = json.loads(rtexp("power", *options, "--treatments", "2", "--metrics", "5").out)
    expected = requirement("obf", Aim(alpha=0.005, looks=6), Baseline(3, 20), 0.1).users_per_group
    assert (shared["users_per_group"], shared["users"]) == (expected, 3 * expected)


def test_without_a_lift_the_least_one_of_the_users_is_shown(rtexp: CommandLine) -> None:
    by_users = rtexp("power", "--rate", "0.1", "--users", "10800", "--method", "fixed")
    by_hour = rtexp("power", "--rate", "0.1", "--per-hour", "300", "--method", "fixed")
    assert by_users.out == by_hour.out
    header, row = by_users.out.splitlines()
    assert header.split() == ["method", "users", "per", "group", "power", "least", "lift"]
    assert row.split() == ["fixed", "10,800", "0.8", "0.1173"]


def test_a_lift_that_nobody_can_show_is_none(rtexp: CommandLine) -> None:
    assert rtexp("power", "--rate", "0.5", "--users", "3", "--method", "fixed").out.split()[-1] == "none"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("--lift", "0.1"), "say what the control's users do", id="no base"),
        pytest.param(("--mean", "3", "--lift", "0.1"), "both of --mean and --variance", id="half a base"),
        pytest.param(("--rate", "0.1"), "give --lift to learn", id="nothing asked"),
        pytest.param(
            ("--rate", "0.1", "--lift", "0.1", "--users", "9"), "--lift or --users", id="both asked"
        ),
        pytest.param(("--rate", "0.1", "--lift", "20"), "between 0 and 1", id="a rate above 1"),
        pytest.param(("--rate", "0.1", "--per-hour", "0.01"), "at least one", id="nobody comes"),
        pytest.param(
            ("--mean", "3", "--variance", "2", "--lift", "0.1", "--method", "gamblers-ruin"),
            "give a rate",
            id="ruin of a volume",
        ),
    ],
)
def test_what_contradicts_itself_is_one_line_and_exit_code_2(
    rtexp: CommandLine, arguments: tuple[str, ...], message: str
) -> None:
    ended = rtexp("power", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert message in ended.err


def test_help_ends_with_an_example(rtexp: CommandLine) -> None:
    assert "Example: rtexp power --rate 0.1 --lift 0.05 --per-hour 2000" in rtexp("power", "--help").out


def test_an_experiment_that_runs_says_what_its_period_can_still_show(rtexp: CommandLine) -> None:
    with open_database(SqliteFile(rtexp.database)) as engine:
        feed = Experiment("feed", "control", ("control", "treatment"), ())
        with writing_alone(engine) as connection:
            load(connection, [feed], pipeline=PipelineSettings(), now_ms=0)
        with writing(engine) as connection:
            volume = look_row(metric="volume", look=54, state="no_difference_yet")
            upsert_looks(connection, [look_row(look=53), look_row(look=54), volume])
            freeze_plans(connection, [("feed", volume.period_start_ms, plan(look_every_hours=18.0))])
    found = json.loads(rtexp("power", "--experiment", "feed", "--json").out)
    users = round(12_000 * 72 / 54)
    aim = Aim(0.05, 0.8, 4)
    variance = (12_000 * 2_500 - 900**2) / (12_000 * 11_999)
    assert [(row["metric"], row["users_per_group"], row["least_lift"]) for row in found] == [
        ("propensity", users, least_lift("obf", aim, Baseline(560 / 12_000), users)),
        ("volume", users, least_lift("obf", aim, Baseline(900 / 12_000, variance), users)),
    ]
    assert "least lift" in rtexp("power", "--experiment", "feed").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--experiment", "nobody"], "there is no experiment `nobody`", id="unknown"),
        pytest.param(
            ["--experiment", "quiet"], "`quiet` has no look at a metric that decides yet", id="no looks"
        ),
        pytest.param(
            ["--experiment", "quiet", "--rate", "0.1"], "its plan says --rate", id="plan and option"
        ),
    ],
)
def test_an_experiment_without_figures_is_refused(
    rtexp: CommandLine, arguments: list[str], message: str
) -> None:
    with open_database(SqliteFile(rtexp.database)) as engine, writing_alone(engine) as connection:
        quiet = Experiment("quiet", "control", ("control", "treatment"), ())
        load(connection, [quiet], pipeline=PipelineSettings(), now_ms=0)
    ended = rtexp("power", *arguments)
    assert ended.code == 2
    assert message in ended.err
