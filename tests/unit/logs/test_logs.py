"""Lines of logs: one form for all who write, one line each, and no secret in any."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from rtexp.logs import configure, is_json, secrets_of
from rtexp.logs.fields import MOST_CHARACTERS, Cleaned
from rtexp.settings import (
    AlertSettings,
    LogSettings,
    MetadataSettings,
    Settings,
    StoreSettings,
    Target,
    WebSettings,
)
from rtexp.store.engine import opened
from rtexp.store.migrate import check_revision, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PASSWORD = "correct-horse"


class Stream(io.StringIO):
    def __init__(self, *, is_terminal: bool = False) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    @property
    def only(self) -> dict[str, Any]:
        (line,) = self.lines
        return line


@pytest.fixture
def begin() -> Iterator[Callable[..., None]]:
    """Configure, and leave the process as it was."""
    root = logging.root
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    yield configure
    root.handlers[:], level, sys.excepthook, threading.excepthook = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def stream(begin: Callable[..., None]) -> Stream:
    """One that gets JSON from now on."""
    made = Stream()
    begin(LogSettings(), made, secrets=[PASSWORD])
    return made


def test_a_line_has_time_level_event_and_logger_first_and_then_its_fields(stream: Stream) -> None:
    structlog.get_logger("rtexp.agents.publish").info("published", cells=3, took_ms=12)
    assert list(stream.only) == ["timestamp", "level", "event", "logger", "cells", "took_ms", "pid"]
    assert stream.only["timestamp"].endswith("Z")
    assert (stream.only["level"], stream.only["event"]) == ("info", "published")
    assert (stream.only["logger"], stream.only["pid"]) == ("rtexp.agents.publish", os.getpid())


def test_others_that_log_get_the_same_form(stream: Stream) -> None:
    logging.getLogger("faust.app").info("[^Worker]: %s of %d", "ready", 7)
    logging.getLogger("rtexp.engine.task").info("checkpoint", extra={"pages": 4, "positions": {"a": 1}})
    faust, engine = stream.lines
    assert (faust["event"], faust["logger"], faust["level"]) == ("[^Worker]: ready of 7", "faust.app", "info")
    assert (engine["event"], engine["pages"], engine["positions"]) == ("checkpoint", 4, {"a": 1})


def test_a_probe_of_health_writes_no_line_and_an_upgrade_of_the_schema_does(
    stream: Stream, tmp_path: Path
) -> None:
    with opened(StoreSettings(url=f"sqlite:///{tmp_path / 'x.db'}")) as engine:
        upgrade(engine)
        events = [line["event"] for line in stream.lines]
        assert any(event.startswith("Running upgrade") for event in events)
        check_revision(engine)
    assert len(stream.lines) == len(events)
    assert not any(event.startswith("Context impl") for event in events)


def test_what_uvicorn_says_in_colours_stands_there_once(stream: Stream) -> None:
    logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[36mStarted\x1b[0m"})
    assert "color_message" not in stream.only


def test_a_traceback_is_in_the_line_and_shows_no_local_variables(stream: Stream) -> None:
    value = 4711

    def fail(hidden: str) -> None:
        assert hidden
        raise ValueError(f"login of {PASSWORD} refused")

    try:
        fail("local-" + str(value))
    except ValueError:
        logging.getLogger("x").exception("fatal: it failed")
        structlog.get_logger("y").exception("it_failed")
    assert len(stream.lines) == 2
    for line in stream.lines:
        assert "ValueError: login of *** refused" in line["exception"]
        assert ", in fail\n" in line["exception"]
    assert "local-4711" not in stream.getvalue()
    assert PASSWORD not in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        f"can't connect to mysql+pymysql://me:{PASSWORD}@db/rtexp",
        "can't connect to mysql+pymysql://me:unknown-one@db/rtexp",
        "Authorization: Bearer unknown-one",
        "{'password': 'unknown-one', 'user': 'me'}",
        "ssl_key_password=unknown-one&x=1",
        "token=unknown-one",
    ],
)
@pytest.mark.parametrize("place", ["event", "field", "nested", "object", "key"])
def test_secrets_are_masked_wherever_they_stand(stream: Stream, text: str, place: str) -> None:
    class Odd:
        def __repr__(self) -> str:
            return text

    log = structlog.get_logger("x")
    match place:
        case "event":
            logging.getLogger("x").warning(text)
        case "field":
            log.warning("e", error=text)
        case "nested":
            log.warning("e", error={"a": [(text,)]})
        case "object":
            log.warning("e", error=Odd())
        case "key":
            log.warning("e", error={text: 1})
    assert stream.only["level"] == "warning"
    assert "***" in stream.getvalue()
    assert PASSWORD not in stream.getvalue()
    assert "unknown-one" not in stream.getvalue()


def test_values_under_a_name_of_secrets_are_masked(stream: Stream) -> None:
    structlog.get_logger("x").info(
        "e", headers={"Authorization": "unknown-one", "Cookie": "unknown-one", "Host": "h"}
    )
    assert stream.only["headers"] == {"Authorization": "***", "Cookie": "***", "Host": "h"}


@pytest.mark.parametrize(
    "text", ["a\nb", "a\rb", "a\x1b[2Jb", "a\u2028b", "a\x85b", "a\x00b", "\ud800", '"\\']
)
def test_whatever_a_name_holds_it_is_one_line_of_json(stream: Stream, text: str) -> None:
    structlog.get_logger("x").info("e", experiment=text)
    logging.getLogger("x").info(text)
    assert len(stream.getvalue().splitlines()) == 2
    assert len(stream.lines) == 2
    assert "\x1b" not in stream.getvalue()


def test_names_of_any_script_stay_readable(stream: Stream) -> None:
    structlog.get_logger("x").info("e", experiment="Größe 大きさ")
    assert "Größe 大きさ" in stream.getvalue()


def test_values_that_json_lacks_are_text(stream: Stream) -> None:
    structlog.get_logger("x").info("e", a=float("nan"), b={1: {2}}, c=b"x", d=None, e=True, f=1.5)
    line = stream.only
    assert [line[name] for name in "abcdef"] == ["nan", {"1": [2]}, "b'x'", None, True, 1.5]


def test_very_long_values_lose_their_middle(stream: Stream) -> None:
    structlog.get_logger("x").info("e", text="a" * 10**6 + "z", many=list(range(10**4)))
    assert len(stream.only["text"]) < MOST_CHARACTERS + 10
    assert stream.only["text"].endswith("z")
    assert len(stream.only["many"]) == 50


def test_on_a_terminal_lines_are_for_people(
    begin: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, pipe = Stream(is_terminal=True), Stream()
    begin(LogSettings(), terminal)
    structlog.get_logger("x").info("published", cells=3)
    begin(LogSettings(format="console"), pipe)
    structlog.get_logger("x").info("published", cells=3, name="a\nb")
    assert "\x1b[" in terminal.getvalue()
    assert "\x1b" not in pipe.getvalue()
    assert "[info" in pipe.getvalue()
    assert "cells=3" in pipe.getvalue()
    assert pipe.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("form", "is_terminal", "expected"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("console", False, False)],
)
def test_the_form_follows_the_setting_and_then_the_stream(form: Any, is_terminal: Any, expected: Any) -> None:
    assert is_json(LogSettings(format=form), Stream(is_terminal=is_terminal)) == expected


@pytest.mark.parametrize(
    ("setting", "asked", "shown"),
    [
        ("info", logging.WARNING, {"info", "warning"}),
        ("warning", logging.INFO, {"info", "warning"}),
        ("warning", 0, {"warning"}),
        ("error", logging.ERROR, set()),
        ("debug", logging.INFO, {"debug", "info", "warning"}),
    ],
)
def test_of_setting_and_command_line_the_finer_level_counts(
    begin: Callable[..., None], setting: Any, asked: int, shown: set[str]
) -> None:
    stream = Stream()
    begin(LogSettings(level=setting), stream, level=asked)
    for log in (structlog.get_logger("a"), logging.getLogger("b")):
        log.debug("debug")
        log.info("info")
        log.warning("warning")
    assert sorted(line["event"] for line in stream.lines) == sorted([*shown, *shown])


def test_configured_twice_lines_come_once(begin: Callable[..., None]) -> None:
    stream = Stream()
    begin(LogSettings(), stream)
    begin(LogSettings(), stream)
    logging.getLogger("x").info("e")
    assert len(stream.lines) == 1


@pytest.mark.parametrize("where", ["main", "thread"])
def test_what_nobody_catches_is_one_line_of_json(where: str) -> None:
    program = f"""
import sys, threading
from rtexp.logs import configure
from rtexp.settings import LogSettings
configure(LogSettings(), sys.stdout, secrets=["{PASSWORD}"])
def fail():
    secret = "local-value"
    raise RuntimeError("with {PASSWORD}")
if "{where}" == "main":
    fail()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"]) == ("uncaught", "critical")
    assert "RuntimeError: with ***" in told["exception"]
    assert done.stderr == ""
    assert PASSWORD not in done.stdout


def test_the_secrets_of_a_configuration_are_those_of_files_url_and_environment(tmp_path: Path) -> None:
    (tmp_path / "web").write_text("web-token-of-16+\n")
    (tmp_path / "hook").write_text("https://hooks.example/x\n")
    target = Target(name="ops", kind="slack", url_file=tmp_path / "hook")
    settings = Settings(
        alerts=AlertSettings(targets=(target,)),
        store=StoreSettings(url="mysql+pymysql://me:p%40ssword@db/rtexp"),
        metadata=MetadataSettings(query="SELECT 1", url="mysql+pymysql://me:another@db/theirs"),
        web=WebSettings(token_file=tmp_path / "web"),
    )
    found = secrets_of(settings, {"RTEXP_WEB_TOKEN": "from-the-environment"})
    assert found == {
        *(
            "p%40ssword",
            "p@ssword",
            "another",
            "web-token-of-16+",
            "from-the-environment",
            "https://hooks.example/x",
        )
    }


def test_secrets_that_cannot_be_read_or_are_words_are_no_reason_to_fail(tmp_path: Path) -> None:
    settings = Settings(
        web=WebSettings(token_file=tmp_path / "missing"), store=StoreSettings(url="mysql+pymysql://a:b@c/d")
    )
    assert secrets_of(settings, {}) == frozenset()


def test_a_secret_within_another_leaves_nothing_of_it() -> None:
    assert Cleaned(["abcdef", "abcdefghi"]).plain("x abcdefghi y") == "x *** y"


def test_a_field_that_is_named_like_a_secret_is_masked(stream: Stream) -> None:
    structlog.get_logger("x").info("e", password="unknown-one", host="h")
    assert (stream.only["password"], stream.only["host"]) == ("***", "h")


def test_a_secret_is_masked_before_a_long_value_loses_its_middle(stream: Stream) -> None:
    for before in range(3_980, 4_000):
        logging.getLogger("x").info("%s%s%s", "-" * before, PASSWORD, "-" * 20_000)
    assert PASSWORD[:6] not in stream.getvalue()
    for behind in range(11_980, 12_000):
        logging.getLogger("x").info("%s%s%s", "-" * 20_000, PASSWORD, "-" * behind)
    assert PASSWORD[-6:] not in stream.getvalue()
