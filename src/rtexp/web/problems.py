"""Errors as programs read them: problem+json (RFC 9457), for every fault there can be."""

from __future__ import annotations

from difflib import get_close_matches
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.responses import Response

PROBLEM_TYPE = "application/problem+json"
RETRY_SECONDS = "5"
_MOST_SHOWN = 200


class Problem(Exception):  # noqa: N818 - the word of its media type
    """A request that can't be answered: status, a stable code, and what to do instead."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


def bad(name: str, expected: str, found: object) -> Problem:
    """Return the problem of a parameter that isn't what it should be; what was found is shown in part."""
    shown = str(found)
    if len(shown) > _MOST_SHOWN:
        shown = f"{shown[:_MOST_SHOWN]}… ({len(shown)} characters)"
    return Problem(422, "bad-parameter", f"{name}: expected {expected}, found {shown}")


def unknown_experiment(name: str, known: Sequence[str]) -> Problem:
    """Return the problem of a name that nobody has defined, with those that are near."""
    near = ", ".join(get_close_matches(name, known, n=5)) if len(name) <= _MOST_SHOWN else ""
    hint = f"; near are {near}" if near else ""
    shown = name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}…"
    return Problem(404, "unknown-experiment", f"there is no experiment {shown}{hint}")


def as_json(
    status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """Return the answer that says so."""
    return JSONResponse(
        {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
        | {"detail": detail, "code": code}
        | more,
        status_code=status,
        media_type=PROBLEM_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
