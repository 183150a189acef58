"""Who is let in, by whichever process serves: the token by header or form, or a session; guesses have to wait."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from rtexp.web.attempts import Attempts, site_of
from rtexp.web.keys import PASS, Keys

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


class Door:
    """Judges requests; all that it gives back is None or the status that refuses."""

    def __init__(self, token: str, *, clock: Callable[[], float] = time.time) -> None:
        self.keys = Keys(token)
        self._clock = clock
        self._attempts = Attempts()

    def meet(self, authorization: str, session: str, host: str) -> int | None:
        """Judge a request by its header, if that has a token, otherwise by its cookie; ``host`` is where it is from."""
        kind, _, given = authorization.partition(" ")
        if kind.lower() == "bearer" and given.strip():
            return self.weigh(given.strip(), host)
        return None if self.keys.holds(session, self._clock()) else 401

    def has_pass(self, authorization: str, url: str) -> bool:
        """Return whether a request's header has a pass to a worker that is found at ``url``."""
        kind, _, given = authorization.partition(" ")
        return kind == PASS and self.keys.opens(given.strip(), url, self._clock())

    def weigh(self, given: str, host: str) -> int | None:
        """Judge a token: 401 if it is wrong, 429 if so many from there were that this one isn't looked at."""
        now_s, address = self._clock(), site_of(host)
        right = self.keys.is_token(given)
        if not self._attempts.may_pass(address, now_s, right=right):
            return 429
        self._attempts.note(address, now_s, right=right)
        if not right:
            _log.warning("a wrong token from %s", address)
        return None if right else 401

    def session(self) -> str:
        """Return a cookie's value for whoever has shown the token."""
        return self.keys.session(self._clock())
