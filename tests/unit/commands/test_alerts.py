"""`rtexp alerts`, where it needs no broker."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.alert_receivers import receiver
from tests.logging_state import logging_as_before
from tests.unit.commands.command_line import CommandLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.alert_receivers import Receiver


@pytest.fixture
def rtexp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    with logging_as_before():
        yield CommandLine(tmp_path, monkeypatch, capfd)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver in a thread, as the command has an event loop of its own."""
    ready, found = threading.Event(), []
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with receiver() as made:
            found.append(made)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def configure(directory: Path, *targets: str) -> None:
    (directory / "rtexp.toml").write_text("\n".join(f"[[alerts.targets]]\n{target}" for target in targets))


def test_a_test_message_says_what_answered(tmp_path: Path, rtexp: CommandLine) -> None:
    with receiving() as taker:
        (tmp_path / "url").write_text(taker.url)
        configure(tmp_path, 'name = "ops"\nkind = "slack"\nurl_file = "url"', 'name = "here"\nkind = "log"')
        ended = rtexp("alerts", "test", "--target", "ops")
        assert (ended.code, ended.out) == (0, "ops (slack): delivered, HTTP 200\n")
        (request,) = taker.requests
        assert request.body["text"] == "A test of alerts, nothing has happened"
        taker.script = [(403, {})]
        ended = rtexp("alerts", "test", "--json")
        assert ended.code == 1
        assert ended.err.splitlines()[-1] == "rtexp: no test message got to ops"
        answers = json.loads(ended.out)
        assert [(a["target"], a["delivered"], a["answer"]) for a in answers] == [
            ("ops", False, "HTTP 403"),
            ("here", True, "written"),
        ]
        assert "s3cret" not in ended.out + ended.err


def test_an_address_is_never_shown_whatever_goes_wrong(tmp_path: Path, rtexp: CommandLine) -> None:
    (tmp_path / "url").write_text("http://127.0.0.1:1/s3cret")
    configure(tmp_path, 'name = "ops"\nkind = "webhook"\nurl_file = "url"')
    for words in (["alerts", "test"], ["--debug", "alerts", "test"], ["alerts", "test", "--json"]):
        ended = rtexp(*words)
        assert ended.code == 1
        assert "Connection refused" in ended.out
        assert "s3cret" not in ended.out + ended.err


@pytest.mark.parametrize("command", ["run", "test", "list"])
def test_without_targets_there_is_nothing_to_do(command: str, rtexp: CommandLine) -> None:
    ended = rtexp("alerts", command)
    assert ended.code == 2
    assert "add [[alerts.targets]] to the configuration" in ended.err


def test_a_target_that_is_not_set_is_refused_with_those_that_are(tmp_path: Path, rtexp: CommandLine) -> None:
    configure(tmp_path, 'name = "here"\nkind = "log"')
    ended = rtexp("alerts", "test", "--target", "there")
    assert (ended.code, ended.err) == (2, "rtexp: there is no target there; known are here\n")


@pytest.mark.parametrize("command", ["run", "list"])
def test_a_broker_that_does_not_answer_is_named(command: str, tmp_path: Path, rtexp: CommandLine) -> None:
    configure(tmp_path, 'name = "here"\nkind = "log"\n[kafka]\nbrokers = ["127.0.0.1:1"]')
    ended = rtexp("alerts", command)
    assert ended.code == 1
    assert "no Kafka answers at 127.0.0.1:1" in ended.err
    assert "\n" not in ended.err.strip()
