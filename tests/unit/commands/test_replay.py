"""What `rtexp replay` refuses before it sends anything; sending itself is in the integration tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest
from tests.unit.commands.command_line import CommandLine

from rtexp.commands.replay import Columns, Speed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """A command line with the clock of records, and no broker anywhere."""
    monkeypatch.setenv("RTEXP_PIPELINE__CLOCK", "records")
    monkeypatch.setenv("RTEXP_KAFKA__BROKERS", "127.0.0.1:1")
    (tmp_path / "a.csv").write_text("user_id,event,ts\nu,search,1\n")
    return CommandLine(tmp_path, monkeypatch, capfd)


def test_a_live_clock_is_refused_with_what_to_do(rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTEXP_PIPELINE__CLOCK", "live")
    ended = rtexp("replay", "--actions", "a.csv")
    assert ended.code == 2
    assert 'clock = "records"' in ended.err


def test_without_files_there_is_nothing_to_send(rtexp: CommandLine) -> None:
    ended = rtexp("replay")
    assert ended.code == 2
    assert "nothing to send" in ended.err


@pytest.mark.parametrize("speed", ["max", "2"])
def test_rows_from_the_future_are_refused(rtexp: CommandLine, speed: str) -> None:
    ended = rtexp("replay", "--actions", "a.csv", "--now", "--speed", speed)
    assert ended.code == 2
    assert "--speed 1 or less" in ended.err


def test_a_column_that_is_missing_is_named_before_anything_is_sent(rtexp: CommandLine) -> None:
    ended = rtexp("replay", "--actions", "a.csv", "--columns", "time=when")
    assert ended.code == 2
    assert "no column 'when' in the header (user_id, event, ts)" in ended.err


def test_without_a_broker_the_error_is_one_line(rtexp: CommandLine) -> None:
    ended = rtexp("replay", "--actions", "a.csv")
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith("rtexp: no Kafka answers at 127.0.0.1:1: start it")
    assert "Traceback" not in ended.err


def test_help_has_an_example(rtexp: CommandLine) -> None:
    ended = rtexp("replay", "--help")
    assert ended.code == 0
    assert "Example: rtexp replay" in ended.out


def test_columns_are_pairs_of_target_and_column() -> None:
    assert Columns().convert("user=userid, time=a=b", None, None) == {"user": "userid", "time": "a=b"}


@pytest.mark.parametrize("text", ["user", "user=", "colour=x", "user=a,user=b", ""])
def test_columns_of_any_other_form_are_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="doesn't map"):
        Columns().convert(text, None, None)


def test_a_speed_is_a_factor_or_max() -> None:
    assert Speed().convert("max", None, None) is None
    assert Speed().convert("0.5", None, None) == 0.5


@pytest.mark.parametrize("text", ["0", "-1", "fast", "inf", "nan"])
def test_any_other_speed_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no number above 0"):
        Speed().convert(text, None, None)
