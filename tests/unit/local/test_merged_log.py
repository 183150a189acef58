from __future__ import annotations

import io
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
