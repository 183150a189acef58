"""Progress: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from tests.unit.local.test_replaying import layout, write

from rtexp.local import replaying
from rtexp.local.progress import LINE_SECONDS, counted
from rtexp.local.replaying import Source, survey

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_where_no_terminal_is_a_line_comes_now_and_then() -> None:
    stream, seconds = io.StringIO(), 0.0
    with counted("sending", 20_000, stream, clock=lambda: seconds) as show:
        for done in range(0, 20_000, 1000):
            seconds += LINE_SECONDS / 8
            show(done)
    assert stream.getvalue() == "sending: 7,000 of 20,000 rows\nsending: 15,000 of 20,000 rows\n"


def test_a_total_that_is_not_known_is_left_out() -> None:
    stream, seconds = io.StringIO(), 0.0
    with counted("reading a.csv", None, stream, clock=lambda: seconds) as show:
        seconds = LINE_SECONDS
        show(5000)
    assert stream.getvalue() == "reading a.csv: 5,000 rows\n"


def test_on_a_terminal_there_is_a_bar() -> None:
    stream = Terminal()
    with counted("sending", 20, stream) as show:
        show(20)
    assert "sending" in stream.getvalue()
    assert "20/20" in stream.getvalue()
    assert " rows\n" not in stream.getvalue()


def test_reading_a_file_for_the_first_time_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "_TOLD_ROWS", 2)
    path = write(tmp_path / "a.jsonl", '{"user_id":"u","event":"e","ts":1}\n' * 5)
    told: list[int] = []
    survey(Source(path, layout()), lambda _: None, progress=told.append)
    assert told == [2, 4]
