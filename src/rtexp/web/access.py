"""Who may read: everybody on this machine, elsewhere whoever has the token.

Programs send ``Authorization: Bearer TOKEN``. People type it once and get a cookie, which says until when it
holds and is signed with the token: no server needs to remember it, and another token ends all of them.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse

from rtexp.web.keys import COOKIE, SESSION_SECONDS, Keys, names_this_machine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

ATTEMPTS, ATTEMPT_SECONDS = 10, 60.0
_MOST_FORM_BYTES = 4096
_OPEN = ("/health/live", "/health/ready")


class Attempts:
    """Slows down guessing: how many wrong tokens there were within the last minute."""

    def __init__(self) -> None:
        self._failed: deque[float] = deque(maxlen=ATTEMPTS)

    def are_too_many(self, now_s: float) -> bool:
        """Return whether the next one has to wait."""
        return len(self._failed) == ATTEMPTS and now_s - self._failed[0] < ATTEMPT_SECONDS

    def note_failure(self, now_s: float) -> None:
        """Count one."""
        self._failed.append(now_s)


class Gate:
    """Lets in who has the token; all else but health gets 401, whether its path exists or not."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str,
        base_path: str,
        refuse: Callable[[Request, int], Response],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._keys = Keys(token)
        self._base = base_path
        self._refuse = refuse
        self._clock = clock
        self._attempts = Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, answer it with 401, or take a token that a person typed."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # there are no websockets here; not answering refuses one
        path = scope["path"]
        request = Request(scope, receive)
        if path in _OPEN or self._may_enter(request):
            answer: Callable[[Scope, Receive, Send], Awaitable[None]] = self._app
        elif path == "/login" and request.method == "POST":
            answer = await self._log_in(request)
        else:
            answer = self._refuse(request, 401)
        await answer(scope, receive, send)

    def _may_enter(self, request: Request) -> bool:
        headers, cookies = request.headers, request.cookies
        return self._keys.let_in(headers.get("authorization", ""), cookies.get(COOKIE, ""), self._clock())

    async def _log_in(self, request: Request) -> Response:
        now_s = self._clock()
        if self._attempts.are_too_many(now_s):
            return self._refuse(request, 429)
        form = b""
        async for part in request.stream():
            form += part
            if len(form) > _MOST_FORM_BYTES:
                return self._refuse(request, 413)
        given = parse_qs(form.decode("latin-1")).get("token", [""])[0]
        if not self._keys.is_token(given):
            self._attempts.note_failure(now_s)
            return self._refuse(request, 401)
        answer = RedirectResponse(f"{self._base}/", status_code=303)
        answer.set_cookie(
            COOKIE,
            self._keys.session(now_s),
            max_age=SESSION_SECONDS,
            path=f"{self._base}/",
            httponly=True,
            secure=request.url.scheme == "https",
            samesite="lax",
        )
        return answer


class HostCheck:
    """Without a token, answers only to names of this machine.

    A page from elsewhere could give itself a name that leads to 127.0.0.1, and then read what is here.
    """

    def __init__(self, app: ASGIApp, *, refuse: Callable[[Request, int], Response]) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 421."""
        if scope["type"] == "http":
            request = Request(scope, receive)
            if not names_this_machine(request.headers.get("host", "")):
                await self._refuse(request, 421)(scope, receive, send)
                return
        await self._app(scope, receive, send)
