"""`rtexp experiments load`."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copy

import pytest
from tests.unit.commands.command_line import CommandLine

EXAMPLE = Path(__file__).parents[3] / "examples" / "experiments.yaml"


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    copy(EXAMPLE, tmp_path / "e.yaml")
    return CommandLine(tmp_path, monkeypatch, capfd)


def test_the_example_is_added_once(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    assert rtexp("experiments", "load", "e.yaml") == (
        0,
        "added: 2 experiments, 5 groups, 8 allocations\n",
        "",
    )
    assert rtexp("experiments", "load", "e.yaml") == (
        0,
        "added: 0 experiments, 0 groups, 0 allocations\n",
        "",
    )


def test_programs_get_json(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    loaded = json.loads(rtexp("experiments", "load", "e.yaml", "--json").out)
    assert loaded == {"experiments": 2, "groups": 5, "allocations": 8}


def test_a_fault_is_one_line_with_the_file_and_the_place(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    Path("e.yaml").write_text("experiments: [{name: 5, control: c, groups: [c]}]")
    assert rtexp("experiments", "load", "e.yaml") == (
        2,
        "",
        "rtexp: e.yaml: experiments[0].name: Expected `str`, got `int`\n",
    )


def test_a_contradiction_is_refused(rtexp: CommandLine) -> None:
    rtexp("db", "upgrade")
    rtexp("experiments", "load", "e.yaml")
    Path("e.yaml").write_text(EXAMPLE.read_text().replace("percent: 20", "percent: 30"))
    ended = rtexp("experiments", "load", "e.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "e.yaml: experiment `ranking`: allocations gives `fresh` 30 percent" in ended.err


def test_a_file_that_is_no_text_is_refused(rtexp: CommandLine) -> None:
    Path("e.yaml").write_bytes(b"experiments: \xff")
    assert rtexp("experiments", "load", "e.yaml") == (2, "", "rtexp: e.yaml: not UTF-8 (at byte 13)\n")


def test_a_file_that_is_not_there_is_wrong_usage(rtexp: CommandLine) -> None:
    ended = rtexp("experiments", "load", "missing.yaml")
    assert ended.code == 2
    assert "missing.yaml" in ended.err


def test_a_database_without_tables_says_what_to_run(rtexp: CommandLine) -> None:
    ended = rtexp("experiments", "load", "e.yaml")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "run `rtexp db upgrade`" in ended.err


@pytest.mark.parametrize("arguments", [("experiments",), ("experiments", "load")])
def test_help_ends_with_an_example(rtexp: CommandLine, arguments: tuple[str, ...]) -> None:
    ended = rtexp(*arguments, "--help")
    assert ended.code == 0
    assert "Example: rtexp experiments load experiments.yaml" in ended.out
