"""How a notice is written for those who take it: JSON for programs, JSON for Slack, a mail."""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING

import msgspec

from rtexp.alerts.texts import MAX_SLACK_CHARACTERS, escaped, mrkdwn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rtexp.alerts.notices import Notice

FORM_VERSION = 1
MAX_SUBJECT_CHARACTERS = 200
KEY_HEADER = "Idempotency-Key"

_encode = msgspec.json.Encoder().encode


def as_json(notice: Notice) -> bytes:
    """Return the plain form: words, link, and the whole record of the topic."""
    return _encode(
        {
            "form_version": FORM_VERSION,
            "idempotency_key": notice.id,
            "kind": notice.kind,
            "critical": notice.is_critical,
            "title": notice.headline,
            "text": notice.body,
            "link": notice.link or None,
            "record": notice.record,
        }
    )


def as_slack(notice: Notice) -> bytes:
    """Return what Slack's incoming webhooks take, and those that are like them."""
    title = mrkdwn(notice.title)
    lines = [title, *map(mrkdwn, notice.sentences)]
    if notice.link:
        lines.append(f"<{escaped(notice.link)}|Open the page>")
    shown = lines
    while len("\n".join(shown)) > MAX_SLACK_CHARACTERS and len(shown) > 1:
        shown = shown[:-1]  # whole lines: half of an escape or of a link would be markup
    return _encode(
        {
            # What notifications show, and those who know no blocks.
            "text": title[:MAX_SLACK_CHARACTERS],
            # Slack has no field for a key: this one names the block, and is free to choose.
            "blocks": [
                {
                    "type": "section",
                    "block_id": notice.id,
                    "text": {"type": "mrkdwn", "text": "\n".join(shown)},
                }
            ],
        }
    )


def as_mail(notice: Notice, *, sender: str, recipients: Sequence[str], at: datetime) -> EmailMessage:
    """Return a mail; its Message-ID is the key, so that mailboxes can recognise a repeat."""
    mail = EmailMessage()
    mail["Subject"] = f"[rtexp] {notice.headline}"[:MAX_SUBJECT_CHARACTERS]
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = f"<{notice.id}@{sender.partition('@')[2]}>"
    mail[KEY_HEADER] = notice.id
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n\n".join(filter(None, (notice.headline, notice.body, notice.link))) + "\n")
    return mail
