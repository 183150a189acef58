"""Who may read: everybody on this machine, elsewhere whoever has the token.

Programs send ``Authorization: Bearer TOKEN``. People type it once and get a cookie, which says until when it
holds and is signed with the token: no server needs to remember it, and another token ends all of them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse

from rtexp.web.door import Door
from rtexp.web.keys import COOKIE, SESSION_SECONDS, names_this_machine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_MOST_FORM_BYTES = 4096
_OPEN = ("/health/live", "/health/ready")
_OWN_FORMS = {"same-origin", "none", ""}
"""What browsers say in Sec-Fetch-Site of a form of ours; old ones, and any over plain HTTP, say nothing."""


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
        self._door = Door(token, clock=clock)
        self._base = base_path
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, answer it with 401, or take a token that a person typed."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # there are no websockets here; not answering refuses one
        request = Request(scope, receive)
        answer = self._app if scope["path"] in _OPEN else await self._met(request)
        await answer(scope, receive, send)

    async def _met(self, request: Request) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """Return what answers: the application to those who may enter, a refusal to others."""
        way = (request.method, request.scope["path"])
        if way in {("POST", "/login"), ("POST", "/logout")}:
            if request.headers.get("sec-fetch-site", "") not in _OWN_FORMS:
                return self._refuse(request, 403)  # else any page could use up the attempts of who reads it
            return await self._log_in(request) if way[1] == "/login" else self._log_out()
        refusal = self._door.meet(
            request.headers.get("authorization", ""), request.cookies.get(COOKIE, ""), _host(request)
        )
        return self._app if refusal is None else self._refuse(request, refusal)

    async def _log_in(self, request: Request) -> Response:
        form = b""
        try:
            async for part in request.stream():
                form += part
                if len(form) > _MOST_FORM_BYTES:
                    return self._refuse(request, 413)
        except ClientDisconnect:  # anybody can do this as often as they like: it is worth no traceback
            return self._refuse(request, 400)
        given = parse_qs(form.decode("latin-1")).get("token", [""])[0]
        refusal = self._door.weigh(given, _host(request))
        if refusal is not None:
            return self._refuse(request, refusal)
        answer = self._home()
        answer.set_cookie(
            COOKIE,
            self._door.session(),
            max_age=SESSION_SECONDS,
            path=f"{self._base}/",
            httponly=True,
            secure=request.url.scheme == "https",
            samesite="lax",
        )
        return answer

    def _log_out(self) -> Response:
        answer = self._home()
        answer.delete_cookie(COOKIE, path=f"{self._base}/", httponly=True, samesite="lax")
        return answer

    def _home(self) -> Response:
        return RedirectResponse(f"{self._base}/", status_code=303)


def _host(request: Request) -> str:
    return request.client.host if request.client else ""


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
