from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rtexp import cli as cli_module
from rtexp.cli import COMMANDS, cli, main
from rtexp.commands.context import Context
from rtexp.errors import ConfigError, FatalError, StateError, StoreUnavailable, UsageError
from rtexp.settings import Settings

DOCUMENTED = [
    ["up"],
    ["demo"],
    ["check"],
    ["topics", "create"],
    ["db", "upgrade"],
    ["experiments", "load"],
    ["experiments", "list"],
    ["experiments", "show"],
    ["replay"],
    ["dead-letters", "list"],
    ["dead-letters", "show"],
    ["dead-letters", "replay"],
    ["wait"],
    ["audit"],
    ["export", "cells"],
    ["bench"],
]


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RTEXP_CONFIG", raising=False)


@pytest.mark.parametrize("words", DOCUMENTED, ids=" ".join)
def test_every_documented_command_has_help_with_an_example_of_itself(words: list[str]) -> None:
    result = CliRunner().invoke(cli, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert f"Example: rtexp {' '.join(words)}" in " ".join(result.output.split())


def test_the_list_of_commands_says_what_each_ones_help_says() -> None:
    context = click.Context(cli)
    for name, listed in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert command.help is not None
        assert listed.summary == " ".join(command.help.split("\n\n")[0].split()), name
    output = CliRunner().invoke(cli, ["--help"]).output
    assert all(f"\n  {name} " in output for name in COMMANDS)


def test_the_list_of_commands_imports_none_of_them() -> None:
    program = "import sys; from rtexp.cli import main\ntry: main(['--help'])\nfinally: print('faust' in sys.modules)"
    heavy = ("sqlalchemy", "pyarrow", "rtexp.store", "rtexp.local")
    program += f"; print([m for m in sys.modules if m.startswith({heavy})])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["False", "[]"]


def test_only_those_who_read_or_write_parquet_pay_for_its_library() -> None:
    places = [listed.place.partition(":")[0] for listed in COMMANDS.values()]
    places += [f"rtexp.bootstrap.{job}" for job in ("ingest", "aggregate", "results")]
    program = "import sys; [__import__(m) for m in sys.argv[1:]]; print('pyarrow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, *places], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


@click.command()
@click.pass_obj
def probe(context: Context) -> None:
    click.echo(f"{context.config_path} {context.settings.kafka.prefix} {context.debug}")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, raises: BaseException | None = None) -> int:
    """Run `main` with a command ``probe``, which shows its context or raises; return the exit code."""

    @click.command()
    def failing() -> None:
        assert raises is not None
        raise raises

    monkeypatch.setattr(cli_module, "COMMANDS", COMMANDS | {"probe": cli_module._Command("probe:probe", "")})
    monkeypatch.setattr(cli, "get_command", lambda *_: failing if raises else probe)
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "probe"])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_command_gets_the_settings_and_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.toml").write_text('[kafka]\nprefix = "mine"\n')
    assert run(monkeypatch, "--config", "mine.toml", "--debug") == 0
    assert capsys.readouterr().out == "mine.toml mine True\n"
    monkeypatch.setenv("RTEXP_KAFKA__PREFIX", "environment")
    assert run(monkeypatch) == 0
    assert capsys.readouterr().out == "None environment False\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        pytest.param(ConfigError("bad key"), 2, "rtexp: bad key", id="configuration"),
        pytest.param(UsageError("not so"), 2, "rtexp: not so", id="usage"),
        pytest.param(StateError("old"), 1, "rtexp: old", id="state"),
        pytest.param(StoreUnavailable("mute"), 1, "rtexp: mute", id="no answer"),
        pytest.param(FatalError("failed"), 1, "rtexp: failed", id="fatal"),
        pytest.param(
            OSError(errno.ENOSPC, "No space left on device", "out/cells.csv"),
            1,
            "rtexp: no space is left on the disk of out/cells.csv: free some, then try again",
            id="full disk",
        ),
        pytest.param(KeyboardInterrupt(), 130, "\ninterrupted", id="Ctrl-C"),
        pytest.param(
            ZeroDivisionError("oops"),
            1,
            "rtexp: unexpected ZeroDivisionError: oops (`rtexp --debug …` shows where)",
            id="a fault of ours",
        ),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, raises=error) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", line + "\n")


def test_a_traceback_is_for_those_who_ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--debug", raises=StateError("old")) == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback (most recent call last):")
    assert error.endswith("rtexp: old\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(
            ["upp"], "No such command 'upp'; did you mean up? (`rtexp --help`", id="unknown command"
        ),
        pytest.param(
            ["db", "xyz"], "No such command 'xyz'; there are upgrade (`rtexp db --help`", id="no match"
        ),
        pytest.param(
            ["up", "--speed", "3"], "No such option: --speed (`rtexp up --help`", id="unknown option"
        ),
        pytest.param(["replay", "--atcions", "a"], "(Possible options: --actions,", id="option with a slip"),
        pytest.param(["up", "--workers", "web=1"], "jobs are ingest, aggregate, results", id="unknown job"),
        pytest.param(["up", "--workers", "ingest=65"], "up to 64 workers", id="too many workers"),
        pytest.param(
            ["--config", "missing.toml", "up"], "--config missing.toml: there is no such file", id="no file"
        ),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert told in err
    assert (out, err.count("\n"), err[:7]) == ("", 1, "rtexp: ")


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "Commands:\n  up " in capsys.readouterr().err


def test_help_is_there_for_those_whose_configuration_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rtexp.toml").write_text("[kafka\n")
    with pytest.raises(SystemExit) as ended:
        main(["topics", "create", "--help"])
    assert ended.value.code == 0
    assert "Example: rtexp topics create" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("rtexp, version 0.")


def test_workers_that_are_not_named_are_one_each() -> None:
    from rtexp.commands.up import WorkerCounts  # noqa: PLC0415 - with it come Kafka's and SQL's libraries

    counts = WorkerCounts().convert("aggregate=3, results=0", None, None)
    assert counts == {"ingest": 1, "aggregate": 3, "results": 0}


def test_settings_of_a_context_are_plain() -> None:
    assert Context(Settings()).config_path is None
