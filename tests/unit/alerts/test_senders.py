from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from tests.logging_state import logging_as_before
from tests.unit.alerts.told import notice

from rtexp.alerts.mails import MailSender
from rtexp.alerts.outcomes import Delivered
from rtexp.alerts.senders import LogSender, sender_of
from rtexp.alerts.webhooks import WebhookSender
from rtexp.logs import configure
from rtexp.settings import LogSettings, Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the process logs, as JSON lines."""
    stream = io.StringIO()
    with logging_as_before():
        configure(LogSettings(format="json"), stream)
        yield stream


@pytest.mark.parametrize(("means", "level"), [("bad", "error"), ("good", "warning")])
async def test_the_log_gets_a_line_that_says_all(log: io.StringIO, means: str, level: str) -> None:
    assert await LogSender().send(notice(means=means)) == Delivered("written")
    (line,) = log.getvalue().splitlines()
    found = json.loads(line)
    assert (found["event"], found["level"], found["id"]) == ("alert", level, "ab12")
    assert found["title"].startswith("A drop in search propensity")
    assert found["link"].startswith("https://ab.example.org/experiments/heavier-page")


def test_each_kind_of_target_has_its_sender(tmp_path: Path) -> None:
    mail = {"host": "m", "sender": "a@b.c", "recipients": ("x@y.z",)}
    assert isinstance(sender_of(Target(name="a", kind="log")), LogSender)
    assert isinstance(sender_of(Target(name="a", kind="slack", url_file=tmp_path)), WebhookSender)
    assert isinstance(sender_of(Target(name="a", kind="webhook", url_file=tmp_path)), WebhookSender)
    assert isinstance(sender_of(Target.model_validate({"name": "a", "kind": "email", **mail})), MailSender)
