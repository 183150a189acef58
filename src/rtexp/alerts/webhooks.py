"""Posting notices to an address that takes JSON. The address is a secret: it appears in no reason and no log."""

from __future__ import annotations

import asyncio
import os
import ssl
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from rtexp import __version__
from rtexp.alerts.forms import KEY_HEADER
from rtexp.alerts.outcomes import Delivered, Later, Never
from rtexp.errors import ConfigError
from rtexp.settings import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rtexp.alerts.notices import Notice
    from rtexp.alerts.outcomes import Outcome

ANSWER_SECONDS = 10.0
_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
"""Of 4xx, those that speak of the moment and not of the request."""
_SERVER_ERROR = 500


class WebhookSender:
    """Posts what ``form`` makes of a notice; the address is read from its file at each attempt."""

    def __init__(self, url_file: Path, ca_file: Path | None, form: Callable[[Notice], bytes]) -> None:
        self._url_file = url_file
        self._ca_file = ca_file
        self._form = form
        self._session: aiohttp.ClientSession | None = None

    async def send(self, notice: Notice) -> Outcome:
        """Post once. Redirects aren't followed: they would carry the notice to a place that nobody has set."""
        try:
            url = _address(self._url_file)
            session = self._opened()
        except ConfigError as exc:
            return Later(str(exc))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"rtexp/{__version__}",
            KEY_HEADER: notice.id,
        }
        try:
            async with session.post(
                url, data=self._form(notice), headers=headers, allow_redirects=False
            ) as answer:
                return _outcome(answer.status, answer.headers.get("Retry-After"))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            return Later(_told(exc))

    async def close(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            try:
                context = ssl.create_default_context(cafile=self._ca_file)
            except (OSError, ssl.SSLError) as exc:
                raise ConfigError(f"ca_file: {self._ca_file} can't be read as certificates") from exc
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
                # Alerts are rare: a connection that was kept would most often be one that the other end has closed.
                connector=aiohttp.TCPConnector(ssl=context, force_close=True),
                # A receiver may set what it likes: nothing of it is sent to it again.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _address(url_file: Path) -> URL:
    text = read_secret("url_file", url_file).strip()
    fault = ConfigError(f"url_file: {url_file} must hold one address that begins with https:// or http://")
    try:
        url = URL(text)
    except ValueError:
        raise fault from None  # its text may hold the address
    if url.scheme not in {"http", "https"} or not url.host or any(c.isspace() for c in text):
        raise fault
    return url


def _outcome(status: int, retry_after: str | None) -> Outcome:
    told = f"HTTP {status}"
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Delivered(told)
    if status in _AGAIN or status >= _SERVER_ERROR:
        return Later(told, _seconds(retry_after))
    if status < HTTPStatus.BAD_REQUEST:
        return Never(f"{told}: redirects aren't followed, write the final address into url_file")
    return Never(told)


def _seconds(retry_after: str | None) -> float | None:
    """Return what a header asks for, seconds or a date; None where it asks for nothing that can be understood."""
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except (ValueError, OverflowError):
        return None


def _told(error: Exception) -> str:
    """Return what went wrong, without what the library says of the address."""
    match error:
        case asyncio.TimeoutError():
            return f"no answer within {ANSWER_SECONDS:g} s"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "TLS: the receiver's certificate isn't accepted; see ca_file"
        case aiohttp.ClientConnectorDNSError():
            return "the receiver's name can't be resolved"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno  # its text holds the address
            return f"no connection: {os.strerror(number) if number else type(error.os_error).__name__}"
        case aiohttp.ServerDisconnectedError() | ConnectionError():
            return "the receiver closed the connection"
        case _:
            return f"failed: {type(error).__name__}"
