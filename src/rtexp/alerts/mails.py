"""Sending notices as mail, by SMTP: in a thread, as the standard library's client waits."""

from __future__ import annotations

import asyncio
import os
import smtplib
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rtexp.alerts.forms import as_mail
from rtexp.alerts.outcomes import Delivered, Later, Never
from rtexp.errors import ConfigError
from rtexp.settings import read_secret

if TYPE_CHECKING:
    from email.message import EmailMessage

    from rtexp.alerts.notices import Notice
    from rtexp.alerts.outcomes import Outcome
    from rtexp.settings import Target

ANSWER_SECONDS = 10.0
"""For each answer of the server; a mail needs some."""
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_PERMANENT = 500


class MailSender:
    """Sends each notice in a connection of its own: they are rare."""

    def __init__(self, target: Target) -> None:
        assert target.sender is not None  # the settings see to it
        self._target = target
        self._sender = target.sender

    async def send(self, notice: Notice) -> Outcome:
        """Send once."""
        mail = as_mail(notice, sender=self._sender, recipients=self._target.recipients, at=datetime.now(UTC))
        return await asyncio.to_thread(self._send, mail)

    async def close(self) -> None:
        """Do nothing: no connection is kept."""

    def _send(self, mail: EmailMessage) -> Outcome:
        try:
            server = self._connected()
            try:
                refused = server.send_message(mail, self._sender, list(self._target.recipients))
                # It has the mail: whatever is said of the end is no reason to send it again.
                with suppress(smtplib.SMTPException, OSError):
                    server.quit()
            finally:
                server.close()
        except ConfigError as exc:
            return Later(str(exc))
        except UnicodeError:  # its text may hold a part of the password
            return Later("host, username or password: SMTP takes ASCII alone")
        except (smtplib.SMTPException, OSError) as exc:
            return _outcome(exc)
        return Delivered(f"SMTP 250{f', {len(refused)} recipients refused' if refused else ''}")

    def _connected(self) -> smtplib.SMTP:
        target = self._target
        port = target.port or _PORTS[target.security]
        try:
            context = ssl.create_default_context(cafile=target.ca_file)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(f"ca_file: {target.ca_file} can't be read as certificates") from exc
        password = read_secret("password_file", target.password_file) if target.password_file else None
        if target.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                target.host, port, timeout=ANSWER_SECONDS, context=context
            )
        else:
            server = smtplib.SMTP(target.host, port, timeout=ANSWER_SECONDS)
        try:
            if target.security == "starttls":
                server.starttls(context=context)
            if password is not None:
                server.login(target.username, password)
        except BaseException:
            server.close()
            raise
        return server


def _outcome(error: Exception) -> Outcome:
    """Return what an error means, without what the server said: that may hold the login."""
    code = 0
    match error:
        case smtplib.SMTPRecipientsRefused():
            # One that may be taken later is reason enough to try again.
            code = min(code for code, _ in error.recipients.values())
            told = f"SMTP {code}: all recipients refused"
        case smtplib.SMTPAuthenticationError():
            told = f"SMTP {error.smtp_code}: the login is refused"
        case smtplib.SMTPNotSupportedError():
            told = "the server doesn't offer what security or username ask for"
        case smtplib.SMTPResponseException():
            code = error.smtp_code
            told = f"SMTP {code}: refused"
        case ssl.SSLError():
            told = "TLS: the server's certificate isn't accepted; see ca_file"
        case socket.gaierror():
            told = "the server's name can't be resolved"
        case TimeoutError():
            told = f"no answer within {ANSWER_SECONDS:g} s"
        case smtplib.SMTPException():
            told = f"failed: {type(error).__name__}"
        case OSError():
            told = f"no connection: {os.strerror(error.errno) if error.errno else type(error).__name__}"
        case _:
            told = type(error).__name__
    return Never(told) if code >= _PERMANENT else Later(told)
