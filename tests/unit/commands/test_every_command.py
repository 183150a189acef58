"""Every command has help, succeeds, prints JSON alone for programs, and fails in one line.

`ENTRIES` says for each how; a command that isn't in it fails `test_every_command_is_in_the_table`. What needs servers
is tested where they are: the table names that test, and it is checked that it exists, where the command is run.
"""

from __future__ import annotations

import ast
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner
from tests.documents.commands import walk
from tests.logging_state import logging_as_before
from tests.look_samples import START, WORKED, plan
from tests.unit.commands.command_line import CommandLine
from tests.unit.commands.test_audit import write
from tests.unit.store.databases import SqliteFile, cell_row, open_database

from rtexp.cli import cli
from rtexp.records.snapshot import Allocation
from rtexp.settings import PipelineSettings
from rtexp.store.cells import upsert_cells
from rtexp.store.definitions import Experiment
from rtexp.store.engine import writing, writing_alone
from rtexp.store.metadata import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[3]
NO_WORKERS = "no worker has spoken within the last minute"
NO_KAFKA = "no Kafka answers at 127.0.0.1:1"
UPS = "tests/integration/test_up.py"


@dataclass(frozen=True)
class Here:
    """Arguments behind the command's name, and something that it says then; JSON may come in lines."""

    words: str = ""
    told: str = ""
    lines: bool = False


@dataclass(frozen=True)
class Elsewhere:
    """The test that does it, and the module with the words of the command if it is another one."""

    module: str
    test: str
    words_in: str = ""


@dataclass(frozen=True)
class Without:
    """Why there is no such thing."""

    reason: str


@dataclass(frozen=True)
class Fails:
    """Arguments with which it fails, how, and in what environment; a report of what fails may stand before it."""

    words: str
    code: int
    told: str
    environ: Mapping[str, str] = field(default_factory=dict)
    reports: bool = False


@dataclass(frozen=True)
class Entry:
    success: Here | Elsewhere
    as_json: Here | Elsewhere | Without
    failure: Fails


FILES = Elsewhere(
    "tests/integration/test_files_in_and_out.py",
    "test_files_of_every_kind_become_the_cells_of_the_oracle_and_leave_as_files_again",
)
STATE = Elsewhere(
    "tests/integration/test_state_of_workers.py",
    "test_workers_answer_for_each_other_and_say_when_they_are_ready",
)
DEMO = Elsewhere("tests/integration/test_demo.py", "test_a_demo_of_some_seconds_finds_no_cell_that_differs")
BENCH = Elsewhere(
    "tests/integration/test_bench.py", "test_an_action_has_a_cost_in_each_job_and_all_cells_are_right"
)
UNDELIVERED = Elsewhere(
    "tests/integration/test_alerts.py", "test_what_a_receiver_refuses_is_listed_and_the_next_one_comes"
)
LETTERS = "tests/integration/test_dead_letters.py"
LISTED = Elsewhere(LETTERS, "test_letters_are_counted_by_topic_and_reason_and_each_once")
SHOWN = Elsewhere(LETTERS, "test_a_letter_is_shown_with_what_is_known_of_it")
REPLAYED = Elsewhere(LETTERS, "test_letters_are_sent_to_their_partitions_with_their_keys_and_only_once")
LOGS = Without(
    'it runs until it is stopped, and what it writes is its log: [log] format = "json" makes that JSON'
)
OPEN = {"RTEXP_WEB__HOST": "0.0.0.0"}

ENTRIES = {
    "up": Entry(
        Elsewhere(UPS, "test_up_starts_all_survives_kills_and_ends_with_nothing_left"),
        LOGS,
        Fails("", 2, "a token", OPEN),
    ),
    "demo": Entry(
        DEMO,
        DEMO,
        Fails("--directory .", 2, "no demo's"),
    ),
    "check": Entry(
        FILES,
        FILES,
        Fails("", 1, "checks failed", reports=True),
    ),
    "dead-letters list": Entry(LISTED, LISTED, Fails("", 1, NO_KAFKA)),
    "dead-letters show": Entry(SHOWN, SHOWN, Fails("here", 2, "no origin, such as actions/3/1024")),
    "dead-letters replay": Entry(REPLAYED, REPLAYED, Fails("", 1, NO_KAFKA)),
    "topics create": Entry(FILES, FILES, Fails("", 1, NO_KAFKA)),
    "db upgrade": Entry(
        Here(told="is at revision"),
        Here(),
        Fails("", 2, "can't be made", {"RTEXP_STORE__URL": "sqlite:///x.db/y.db"}),
    ),
    "experiments load": Entry(
        Here("experiments.yaml", "2 experiments"), Here("experiments.yaml"), Fails("a.csv", 2, "a.csv")
    ),
    "experiments list": Entry(
        Here(told="feed"), Here(), Fails("", 1, "rtexp db upgrade", {"RTEXP_STORE__URL": "sqlite:///none.db"})
    ),
    "experiments show": Entry(
        Here("feed", "feed"), Here("feed"), Fails("fed", 2, "there is no experiment `fed`")
    ),
    "results": Entry(Here("feed", "search"), Here("feed"), Fails("fed", 2, "there is no experiment `fed`")),
    "web": Entry(
        Elsewhere(
            "tests/integration/test_live_pages.py",
            "test_pages_say_that_the_database_is_away_and_recover_by_themselves",
            "tests/browser/servers.py",
        ),
        LOGS,
        Fails("", 2, "a token", OPEN),
    ),
    "tables": Entry(STATE, STATE, Fails("", 1, NO_WORKERS)),
    "tables get": Entry(STATE, STATE, Fails("users u1", 1, NO_WORKERS)),
    "alerts run": Entry(
        Elsewhere(
            "tests/integration/test_alerts.py",
            "test_a_receiver_that_fails_five_times_gets_each_alert_in_order_and_holds_up_no_other",
        ),
        LOGS,
        Fails("", 2, "add [[alerts.targets]] to the configuration", {"RTEXP_ALERTS__TARGETS": "[]"}),
    ),
    "alerts test": Entry(
        Here(told="here (log): delivered"), Here(), Fails("--target there", 2, "there is no target there")
    ),
    "alerts list": Entry(
        UNDELIVERED,
        UNDELIVERED,
        Fails("", 1, NO_KAFKA),
    ),
    "replay": Entry(
        FILES, FILES, Fails("", 2, "nothing to send")
    ),
    "wait": Entry(FILES, FILES, Fails("", 1, NO_KAFKA)),
    "power": Entry(
        Here("--rate 0.1 --lift 0.1", "users per group"),
        Here("--rate 0.1 --users 5000"),
        Fails("--rate 0.1 --lift 0.1 --users 5", 2, "give --lift or --users"),
    ),
    "simulate": Entry(
        Here("--runs 5 --looks 3", "A/A"),
        Here("--runs 5 --looks 3"),
        Fails("--rate 2 --runs 5", 2, "rate"),
    ),
    "audit": Entry(Here("feed", "looks agree"), Here("feed"), Fails("fed", 2, "there is no experiment `fed`")),
    "bench": Entry(
        BENCH,
        BENCH,
        Fails("", 2, "none can be started", {"PATH": "/nowhere", "JAVA_HOME": "/nowhere"}),
    ),
    "export cells": Entry(
        Here("--experiment feed", "feed,"),
        Here("--experiment feed", lines=True),
        Fails("--output missing/cells.csv", 2, "can't be written"),
    ),
    "export looks": Entry(
        Here("", "feed,"), Here("", lines=True), Fails("--output missing/looks.csv", 2, "can't be written")
    ),
}  # fmt: skip


# --- The commands that there are


ALL = dict(walk(cli))
COMMANDS = {
    name: command
    for name, command in ALL.items()
    if not isinstance(command, click.Group) or command.invoke_without_command
}
"""Those that do something; the rest are groups of commands."""


def has_json(command: click.Command) -> bool:
    return any("--json" in param.opts for param in command.params)


def test_every_command_is_in_the_table() -> None:
    assert ENTRIES.keys() == COMMANDS.keys()


# --- Help


@pytest.mark.parametrize("name", ALL)
def test_help_explains_the_command_by_an_example_of_itself(name: str) -> None:
    result = CliRunner().invoke(cli, [*name.split(), "--help"])
    assert result.exit_code == 0, result.output
    assert f"Example: rtexp {name}" in " ".join(result.output.split())


@pytest.mark.parametrize("name", ALL)
def test_every_option_has_a_help_text(name: str) -> None:
    options = [param for param in ALL[name].params if isinstance(param, click.Option)]
    assert [option.opts for option in options if not option.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_json_for_programs_unless_the_table_says_why_not(name: str) -> None:
    tested = ENTRIES[name].as_json
    assert has_json(COMMANDS[name]) != isinstance(tested, Without)


# --- Success and failure, here


@pytest.fixture
def rtexp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    """A directory with an experiment that has looks and cells, files to read, and no broker anywhere."""
    command_line = CommandLine(tmp_path, monkeypatch, capfd)
    monkeypatch.setenv("RTEXP_KAFKA__BROKERS", "127.0.0.1:1")
    monkeypatch.setenv("RTEXP_PIPELINE__CLOCK", "records")
    (tmp_path / "rtexp.toml").write_text('[[alerts.targets]]\nname = "here"\nkind = "log"\n')
    (tmp_path / "a.csv").write_text("user_id,event,ts\nu,search,1\n")
    shutil.copy(ROOT / "examples" / "experiments.yaml", tmp_path)
    feed = Experiment("feed", "C", ("C", "T"), (Allocation("C", 5, START), Allocation("T", 5, START)))
    with open_database(SqliteFile(command_line.database)) as engine:
        with writing_alone(engine) as connection:
            load(connection, [feed], pipeline=PipelineSettings(), now_ms=START)
        with writing(engine) as connection:
            write(connection, plan(), WORKED)
            upsert_cells(connection, [cell_row("feed", "T", "search", START)])
    with logging_as_before():
        yield command_line


def of_kind(kind: type, attribute: str) -> list[str]:
    return [name for name, tested in ENTRIES.items() if isinstance(getattr(tested, attribute), kind)]


@pytest.mark.parametrize("name", of_kind(Here, "success"))
def test_a_command_that_succeeds_says_so_on_standard_output(name: str, rtexp: CommandLine) -> None:
    how = ENTRIES[name].success
    assert isinstance(how, Here)
    ended = rtexp(*name.split(), *how.words.split())
    assert ended.code == 0, ended.err
    assert how.told
    assert how.told in ended.out
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("name", of_kind(Here, "as_json"))
def test_json_stands_alone_on_standard_output(name: str, rtexp: CommandLine) -> None:
    how = ENTRIES[name].as_json
    assert isinstance(how, Here)
    ended = rtexp(*name.split(), *how.words.split(), "--json")
    assert ended.code == 0, ended.err
    found = [json.loads(document) for document in (ended.out.splitlines() if how.lines else [ended.out])]
    assert all(found)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_failure_is_one_line_on_standard_error_and_an_exit_code(
    name: str, rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = ENTRIES[name].failure
    for variable, value in how.environ.items():
        monkeypatch.setenv(variable, value)
    for more in ([], ["--json"]) if has_json(COMMANDS[name]) else ([],):
        ended = rtexp(*name.split(), *how.words.split(), *more)
        assert (ended.code, bool(ended.out)) == (how.code, how.reports)
        (line,) = [line for line in ended.err.splitlines() if not line.startswith("a.csv: ")]
        assert line.startswith("rtexp: ")
        assert how.told in line


# --- What is tested elsewhere


def constants(module: Path) -> set[str]:
    return {
        node.value
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("attribute", ["success", "as_json"])
@pytest.mark.parametrize("name", ENTRIES)
def test_a_test_that_the_table_names_exists_where_the_command_is_run(name: str, attribute: str) -> None:
    how = getattr(ENTRIES[name], attribute)
    if not isinstance(how, Elsewhere):
        return
    names = {
        node.name
        for node in ast.walk(ast.parse((ROOT / how.module).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert how.test in names
    words = {*name.split(), *(["--json"] if attribute == "as_json" else [])}
    assert words <= constants(ROOT / (how.words_in or how.module))
