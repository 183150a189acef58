"""How `rtexp topics create` reports; what it makes is in tests/integration/test_broker.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.commands.command_line import CommandLine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capfd)


def test_without_a_broker_one_line_says_what_to_do(
    rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTEXP_KAFKA__BROKERS", "127.0.0.1:1")
    ended = rtexp("topics", "create")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "rtexp: no Kafka answers at 127.0.0.1:1: start it (`rtexp up` does so on this machine), "
        "or correct [kafka] brokers\n"
    )
