"""How `rtexp wait` reports; when it is over is in tests/unit/local/test_waiting.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.commands.command_line import CommandLine

from rtexp.local.waiting import LaggingError, Waited

if TYPE_CHECKING:
    from pathlib import Path

    from rtexp.settings import Settings


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capfd)


def ending(monkeypatch: pytest.MonkeyPatch, end: Waited | LaggingError) -> list[float]:
    """Let every wait end so; return the list that gets their time-outs."""
    limits = []

    async def wait_for_all(_settings: Settings, timeout_seconds: float) -> Waited:
        limits.append(timeout_seconds)
        if isinstance(end, LaggingError):
            raise end
        return end

    monkeypatch.setattr("rtexp.commands.wait.wait_for_all", wait_for_all)
    return limits


def test_it_prints_the_time_it_took(rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ending(monkeypatch, Waited(1.25, 0))
    ended = rtexp("wait", "--timeout", "7")
    assert (ended.code, ended.out) == (0, "counted and published after 1.2 s\n")
    assert limits == [7.0]


def test_actions_that_wait_for_a_later_marker_are_no_failure_but_said(
    rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending(monkeypatch, Waited(1.0, 1234))
    ended = rtexp("wait")
    assert ended.code == 0
    assert "1,234 actions wait for a later marker" in ended.out


def test_json_has_both_numbers(rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    ending(monkeypatch, Waited(1.25, 3))
    assert json.loads(rtexp("wait", "--json").out) == {"seconds": 1.25, "held_actions": 3}


def test_a_time_out_is_a_failure_of_one_line(rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    ending(monkeypatch, LaggingError("not done after 1 s: ingest is 5 records behind"))
    ended = rtexp("wait", "--timeout", "1")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "rtexp: not done after 1 s: ingest is 5 records behind\n"


def test_without_a_broker_the_error_is_one_line(rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTEXP_KAFKA__BROKERS", "127.0.0.1:1")
    ended = rtexp("wait")
    assert ended.code == 1
    assert ended.err.startswith("rtexp: no Kafka answers at 127.0.0.1:1: start it")
    assert ended.err.count("\n") == 1


def test_help_has_an_example(rtexp: CommandLine) -> None:
    assert "Example: rtexp wait" in rtexp("wait", "--help").out
