"""Asking workers what they serve: their tables, one key of them; for pages and commands, and without much waiting."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from rtexp.errors import RtexpError
from rtexp.web.keys import PASS, Keys

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_BYTES = 8 << 20
_PART_BYTES = 1 << 16


class WorkerFault(RtexpError):  # noqa: N818 - neither ours nor always an error
    """A worker doesn't answer, or says that it can't: ``code`` is the worker's, the message says what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class _Stays(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing: a pass is for one address."""


class WorkerClient(NamedTuple):
    """Asks with passes that the token signs, never with itself: where workers are is read from SQL, and from them.

    Never through a proxy; waits for no part of an answer longer than ``seconds``, nor for all of its body.
    """

    token: str | None
    seconds: float = 3.0

    def tables(self, url: str) -> Mapping[str, Any]:
        """Return what a worker has of its table; WorkerFault."""
        status, found = self._get(url, "/state/tables", {})
        if status != HTTPStatus.OK:
            raise _fault(url, status, found)
        return found

    def entry(self, url: str, table: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        """Return one entry, decoded, from whichever worker has it, beginning with that at ``url``; WorkerFault."""
        path = f"/state/{table}"
        status, found = self._get(url, path, query)
        if status == HTTPStatus.TEMPORARY_REDIRECT and isinstance(found.get("url"), str):
            url = found["url"]
            status, found = self._get(url, path, query)
        if status == HTTPStatus.TEMPORARY_REDIRECT:
            raise WorkerFault("rebalancing", "workers are sharing their partitions out anew: try again")
        if status != HTTPStatus.OK:
            raise _fault(url, status, found)
        return found

    def _get(self, url: str, path: str, query: Mapping[str, str]) -> tuple[int, Mapping[str, Any]]:
        if not _is_http(url):
            raise WorkerFault("no-url", "the worker serves no state: it was started with --without-web")
        headers = {"Accept": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"{PASS} {Keys(self.token).pass_to(url, time.time())}"
        words = f"?{urlencode(query)}" if query else ""
        request = Request(f"{url}{path}{words}", headers=headers)  # noqa: S310 - http alone, as checked above
        try:
            try:
                with build_opener(ProxyHandler({}), _Stays).open(request, timeout=self.seconds) as answer:
                    return answer.status, _decoded(self._body(answer))
            except HTTPError as answer:
                with answer:
                    return answer.code, _decoded(self._body(answer))
        except (URLError, HTTPException, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise WorkerFault(
                "worker-unavailable", f"the worker at {url} doesn't answer ({reason}): see whether it runs"
            ) from error

    def _body(self, answer: HTTPResponse | HTTPError) -> bytes:
        until, body = time.monotonic() + self.seconds, b""
        while len(body) <= _MOST_BYTES and (part := answer.read1(_PART_BYTES)):
            body += part
            if time.monotonic() > until:
                raise TimeoutError("the answer takes too long")
        return body


def _is_http(url: str) -> bool:
    try:
        return urlsplit(url).scheme == "http"
    except ValueError:
        return False


def _decoded(body: bytes) -> Mapping[str, Any]:
    found = json.loads(body) if len(body) <= _MOST_BYTES else None
    if not isinstance(found, dict):
        raise ValueError("not what a worker says")  # noqa: TRY004 - as what isn't JSON is
    return found


def _fault(url: str, status: int, found: Mapping[str, Any]) -> WorkerFault:
    if status == HTTPStatus.UNAUTHORIZED:
        return WorkerFault(
            "unauthorized",
            f"the worker at {url} wants another token, or its clock is minutes ahead: give all the same [web] "
            "token_file or RTEXP_WEB_TOKEN",
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return WorkerFault(
            "too-many-attempts", f"too many wrong tokens were sent to the worker at {url}: wait a minute"
        )
    return WorkerFault(str(found.get("code", "http")), str(found.get("detail", HTTPStatus(status).phrase)))
