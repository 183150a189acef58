"""What takes notices for each kind of target."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import structlog

from rtexp.alerts.forms import as_json, as_slack
from rtexp.alerts.mails import MailSender
from rtexp.alerts.outcomes import Delivered
from rtexp.alerts.webhooks import WebhookSender

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from rtexp.alerts.notices import Notice
    from rtexp.alerts.outcomes import Outcome, Sender
    from rtexp.settings import Target


def sender_of(target: Target) -> Sender:
    """Return the sender of a target; connects when first used."""
    if target.kind == "email":
        return MailSender(target)
    if target.kind == "log":
        return LogSender()
    assert target.url_file is not None  # the settings see to it
    return WebhookSender(target.url_file, target.ca_file, as_slack if target.kind == "slack" else as_json)


class LogSender:
    """Writes notices to the process's log."""

    def __init__(self) -> None:
        self._log: FilteringBoundLogger = structlog.get_logger("rtexp.alerts")

    async def send(self, notice: Notice) -> Outcome:
        """Write one."""
        self._log.log(
            logging.ERROR if notice.is_critical else logging.WARNING,
            "alert",
            id=notice.id,
            kind=notice.kind,
            critical=notice.is_critical,
            title=notice.headline,
            text=notice.body,
            link=notice.link,
        )
        return Delivered("written")

    async def close(self) -> None:
        """Do nothing."""
