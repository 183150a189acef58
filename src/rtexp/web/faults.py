"""What a fault becomes: a problem for programs, a page for people; in both what to do, and no more than that."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from rtexp.errors import StateError, StoreUnavailable
from rtexp.settings import expected_of
from rtexp.web.headers import HEADERS
from rtexp.web.problems import RETRY_SECONDS, Problem, as_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from rtexp.web.pages import Site

_log = logging.getLogger(__name__)

_REFUSALS = {
    400: ("cut-off", "the form didn't come whole: send it again"),
    401: (
        "unauthorized",
        "this needs the token: send it as `Authorization: Bearer TOKEN`, or log in on a page",
    ),
    403: ("cross-site", "a form of another site can't log in here: open the page itself"),
    413: ("too-large", "a log-in form is shorter than this"),
    421: ("wrong-host", "without a token only names of this machine are answered to: set [web] token_file"),
    429: ("too-many-attempts", "too many wrong tokens came from your address: try again in a minute"),
}
_RETRY_SECONDS = {429: "60", 503: RETRY_SECONDS}
_OF_ROUTING = {
    404: ("not-found", "there is nothing at this address"),
    405: ("method-not-allowed", "this is only read: GET and HEAD"),
}


class Faults:
    """Answers to what went wrong."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> Mapping[Any, Any]:
        """Return what answers to which exception, as FastAPI takes it."""
        return {
            Problem: self._problem,
            RequestValidationError: self._wrong_parameter,
            HTTPException: self._http,
            StoreUnavailable: self._no_store,
            StateError: self._unreadable,
            Exception: self._internal,
        }

    def refuse(self, request: Request, status: int) -> Response:
        """Return the answer to a request that isn't let in."""
        return self._answer(request, status, *_REFUSALS[status])

    def _answer(self, request: Request, status: int, code: str, detail: str) -> Response:
        headers = {"Retry-After": _RETRY_SECONDS[status]} if status in _RETRY_SECONDS else {}
        if status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        if request.scope["path"].startswith(("/api/", "/health/")):
            return as_json(status, code, detail, headers=headers)
        return self._site.error(request, status, detail, headers)

    async def _problem(self, request: Request, problem: Problem) -> Response:
        return self._answer(request, problem.status, problem.code, problem.detail)

    async def _wrong_parameter(self, request: Request, error: RequestValidationError) -> Response:
        told = [f"{fault['loc'][-1]}: expected {expected_of(fault)}" for fault in error.errors()]
        return self._answer(request, 422, "bad-parameter", "; ".join(told))

    async def _http(self, request: Request, error: HTTPException) -> Response:
        code, detail = _OF_ROUTING.get(error.status_code, ("http", str(error.detail)))
        answer = self._answer(request, error.status_code, code, detail)
        answer.headers.update(error.headers or {})
        return answer

    async def _no_store(self, request: Request, error: StoreUnavailable) -> Response:
        _log.error("%s", error)
        return self._answer(
            request, 503, error.code, "the database doesn't answer now; what was counted is kept"
        )

    async def _unreadable(self, request: Request, error: StateError) -> Response:
        _log.error("%s", error)
        return self._answer(request, 500, error.code, str(error))

    async def _internal(self, request: Request, _: Exception) -> Response:
        answer = self._answer(request, 500, "internal", "a fault of rtexp; its log says more")
        answer.headers.update(HEADERS)  # this one is made outside of what adds them
        return answer
