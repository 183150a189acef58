"""`rtexp simulate`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.commands.command_line import CommandLine

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ("--looks", "12", "--users", "1000", "--rate", "0.3", "--runs", "120")


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capfd)


def test_the_plan_errs_seldom_and_finds_effects_and_peeking_errs_often(rtexp: CommandLine) -> None:
    ended = rtexp("simulate", *SMALL, "--lift", "0.3", "--json")
    found = json.loads(ended.out)
    assert found["A/A"]["obf"]["runs"] == 120
    assert found["A/A"]["obf"]["rate"] < 0.05 + 3 * 0.02 < found["A/A"]["unadjusted"]["rate"]
    assert found["A/B"]["obf"]["rate"] > 0.9
    assert found["A/B"]["obf"]["mean_t"] < found["A/A"]["obf"]["mean_t"]


def test_the_same_seed_gives_the_same_figures(rtexp: CommandLine) -> None:
    first = rtexp("simulate", *SMALL[:-1], "20", "--method", "gamblers-ruin", "--lift", "0.5", "--seed", "3")
    again = rtexp("simulate", *SMALL[:-1], "20", "--method", "gamblers-ruin", "--lift", "0.5", "--seed", "3")
    assert first.code == 0
    assert first.out == again.out
    assert [line.split()[:2] for line in first.out.splitlines()[1:3]] == [
        ["A/A", "gamblers-ruin"],
        ["A/A", "unadjusted"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("--rate", "2"), "a share of users is between 0 and 1", id="a share above 1"),
        pytest.param(("--rate", "0.8", "--lift", "0.5"), "between 0 and 1", id="a lift beyond 1"),
        pytest.param(
            ("--metric", "volume", "--method", "gamblers-ruin"), "--metric propensity", id="ruin of a volume"
        ),
        pytest.param(
            ("--method", "gamblers-ruin", "--lift", "0"), "least rise worth finding", id="ruin of nothing"
        ),
    ],
)
def test_what_contradicts_itself_is_one_line_and_exit_code_2(
    rtexp: CommandLine, arguments: tuple[str, ...], message: str
) -> None:
    ended = rtexp("simulate", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert message in ended.err


def test_help_ends_with_an_example(rtexp: CommandLine) -> None:
    assert "Example: rtexp simulate --method pocock" in rtexp("simulate", "--help").out
