from __future__ import annotations

import io
import json
import os

import pytest

from rtexp.local.merged_log import MergedLog


def fail() -> None:
    pytest.fail("nobody went away")


def test_each_line_has_its_process_in_front_in_one_column() -> None:
    stream = io.StringIO()
    log = MergedLog(stream, on_gone=fail)
    log("rtexp", "one")
    log("aggregate-1", "two | three")
    assert stream.getvalue() == "rtexp       | one\naggregate-1 | two | three\n"


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    log = MergedLog(stream, on_gone=fail)
    for name in ("a", "b", "a"):
        log(name, "x")
    a, b, again = stream.getvalue().splitlines()
    assert a.startswith("\x1b[")
    assert a == again != b
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    MergedLog(plain, on_gone=fail)("a", "x")
    assert plain.getvalue() == "a           | x\n"


def test_a_reader_that_goes_away_is_told_once_and_nobody_fails() -> None:
    read, write = os.pipe()
    os.close(read)
    gone: list[bool] = []
    with os.fdopen(write, "w") as stream:
        log = MergedLog(stream, on_gone=lambda: gone.append(True))
        log("a", "x")
        log("a", "y")
    assert gone == [True]


def test_as_json_each_line_says_whose_it_is_whatever_it_was() -> None:
    stream = io.StringIO()
    log = MergedLog(stream, on_gone=fail, as_json=True)
    log("aggregate-1", '{"timestamp":"t","event":"checkpoint","pages":4}')
    log("broker", "[2026-11-26 01:00:00] INFO started (kafka.server)")
    log("web", '["no", "object"]')
    log("web", "half \ud800 a surrogate")
    first, second, third, fourth = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert first == {"timestamp": "t", "event": "checkpoint", "pages": 4, "process": "aggregate-1"}
    assert second["event"] == "[2026-11-26 01:00:00] INFO started (kafka.server)"
    assert (second["process"], third["process"]) == ("broker", "web")
    assert third["event"] == '["no", "object"]'
    assert fourth["event"] == "half \ud800 a surrogate"
