from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from tests.unit.alerts.told import notice

from rtexp.alerts.forms import as_json, as_mail, as_slack
from rtexp.alerts.texts import MAX_SLACK_CHARACTERS

AT = datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC)
NASTY = [
    pytest.param("<!channel>", id="a mention"),
    pytest.param("<https://evil.example|here>", id="a link"),
    pytest.param("*bold* _it_ ~no~", id="markup"),
    pytest.param("a`b``c", id="backticks"),
    pytest.param("x\r\nBcc: evil@example.org", id="ends of lines"),
    pytest.param("&lt;b&gt;", id="what looks escaped"),
    pytest.param("<script>alert(1)</script>", id="a script"),
    pytest.param("é" * 64, id="as long as may be"),
]


def slack_text(**changes: object) -> str:
    (block,) = json.loads(as_slack(notice(**changes)))["blocks"]  # type: ignore[arg-type]
    text: str = block["text"]["text"]
    return text


def outside_code(text: str) -> str:
    """What Slack reads as markup: every second part between backticks is code."""
    parts = text.split("`")
    assert len(parts) % 2 == 1, "code is closed"
    return "".join(parts[::2])


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("where", ["experiment", "group", "event"])
def test_a_name_can_do_nothing_in_slack(where: str, nasty: str) -> None:
    innocent = outside_code(slack_text(**{where: "x"}))
    text = slack_text(**{where: nasty})
    found = outside_code(text)
    # Links hold names as well, percent-encoded.
    assert found.split("<https://ab.example.org/")[0] == innocent.split("<https://ab.example.org/")[0]
    assert text.count("<") == text.count(">") == 1, "that of the link to the page"
    assert "|Open the page>" in text


def test_slack_gets_the_key_words_and_link() -> None:
    body = json.loads(as_slack(notice()))
    (block,) = body["blocks"]
    assert block["block_id"] == "ab12"
    assert "`heavier-page`" in body["text"]
    assert "interval \u221213.0 to \u22123.4%" in block["text"]["text"]
    assert "&amp;event=search" in block["text"]["text"]


def test_what_is_too_long_for_slack_loses_whole_lines() -> None:
    long = "<" * 700
    text = slack_text(experiment=long, group=long)
    assert len(text) > MAX_SLACK_CHARACTERS, "a single line is never cut: names are limited to 128 bytes"
    assert "\n" not in text
    ordinary = slack_text(experiment="<" * 128, group="&" * 128, event=">" * 128)
    assert len(ordinary) <= MAX_SLACK_CHARACTERS
    assert "This holds" in ordinary


def test_the_plain_form_has_the_key_the_words_and_the_record() -> None:
    body = json.loads(as_json(notice()))
    assert (body["form_version"], body["idempotency_key"], body["critical"]) == (1, "ab12", True)
    assert body["title"].startswith("A drop in search")
    assert body["record"]["lift"] == -0.0841
    assert body["record"]["experiment"] == "heavier-page"
    assert json.loads(as_json(notice("")))["link"] is None


@pytest.mark.parametrize("nasty", NASTY)
def test_a_name_adds_no_header_to_a_mail(nasty: str) -> None:
    mail = as_mail(notice(experiment=nasty), sender="rtexp@example.org", recipients=["a@x.y"], at=AT)
    head = mail.as_bytes().partition(b"\n\n")[0]
    assert {line.partition(b":")[0] for line in head.splitlines() if line[:1] not in {b" ", b"\t"}} == {
        *(b"Subject", b"From", b"To", b"Date", b"Message-ID", b"Idempotency-Key", b"Auto-Submitted"),
        *(b"Content-Type", b"Content-Transfer-Encoding", b"MIME-Version"),
    }


def test_a_mail_keeps_its_identity_over_attempts() -> None:
    first, second = (
        as_mail(notice(), sender="rtexp@example.org", recipients=["a@x.y", "b@x.y"], at=AT) for _ in range(2)
    )
    assert first["Message-ID"] == second["Message-ID"] == "<ab12@example.org>"
    assert first["Idempotency-Key"] == "ab12"
    assert first["To"] == "a@x.y, b@x.y"
    assert first["Subject"].startswith("[rtexp] A drop in search propensity: \u22128.4%")
    assert "https://ab.example.org/experiments/heavier-page" in first.get_content()
