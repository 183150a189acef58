"""What lets a request in, whoever serves it: the token, or a session that was signed with it."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from rtexp.settings.binding import is_loopback

COOKIE = "rtexp"
SESSION_SECONDS = 12 * 3600
PASS = "Rtexp-Pass"  # noqa: S105 - the name of a scheme
"""The scheme, in the header Authorization, of what opens one worker."""
PASS_SECONDS = 300
"""As clocks of machines may differ."""


class Keys(NamedTuple):
    """What lets a request in."""

    token: str

    def is_token(self, given: str) -> bool:
        """Compare in a time that tells nothing of the token, nor of its length."""
        return hmac.compare_digest(_digest(given), _digest(self.token))

    def session(self, now_s: float) -> str:
        """Return a cookie's value that holds for `SESSION_SECONDS`."""
        return self._until("session", int(now_s) + SESSION_SECONDS)

    def holds(self, session: str, now_s: float) -> bool:
        """Return whether a cookie's value is one of ours, and not yet over."""
        return self._is_of("session", session, now_s)

    def pass_to(self, url: str, now_s: float) -> str:
        """Return what opens the worker at an address, and nothing else.

        The address was read from SQL or a topic: who forged it gets no more than a way to itself.
        """
        return self._until(f"pass to {url}", int(now_s) + PASS_SECONDS)

    def opens(self, given: str, url: str, now_s: float) -> bool:
        """Return whether this is a pass to a worker that is found at ``url``, and not yet over."""
        return self._is_of(f"pass to {url}", given, now_s)

    def _until(self, what: str, until_s: int) -> str:
        return f"{until_s}.{self._signed(what, str(until_s))}"

    def _is_of(self, what: str, given: str, now_s: float) -> bool:
        until, _, signature = given.partition(".")
        if not hmac.compare_digest(_bytes(signature), self._signed(what, until).encode()):
            return False
        return now_s < int(until)

    def _signed(self, what: str, until: str) -> str:
        return hmac.new(_digest(self.token), _bytes(f"{what} until {until}"), "sha256").hexdigest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(_bytes(text)).digest()


def _bytes(text: str) -> bytes:
    """Return text of a header as bytes, whatever was sent: a server may have decoded what is no UTF-8."""
    return text.encode(errors="surrogatepass")


def names_this_machine(host: str) -> bool:
    """Return whether a request's ``Host`` is a name of this machine alone.

    >>> names_this_machine("127.0.0.1:6066"), names_this_machine("[::1]:80"), names_this_machine("rtexp.example")
    (True, True, False)
    """
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name)
