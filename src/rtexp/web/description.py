"""The OpenAPI document: FastAPI's own, with what is true of all routes of the API alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from rtexp import __version__
from rtexp.web.problems import PROBLEM_TYPE
from rtexp.web.schemas import ProblemAnswer

if TYPE_CHECKING:
    from fastapi import FastAPI

_ABOUT = """\
What rtexp has counted and found, read from SQL at each request.

Times are ms since 1970. Pages of rows are followed by `next`, or the header `Link`. Answers carry an `ETag`; with
`If-None-Match` an unchanged one is 304. Faults are `application/problem+json` with a stable `code`.
"""

_FAULTS = {
    "400": "The request isn't one that can be read.",
    "401": "The token is missing or wrong.",
    "404": "There is no such experiment.",
    "405": "Everything here is only read: GET and HEAD.",
    "421": "Without a token only names of this machine are answered to.",
    "422": "A parameter makes no sense; `detail` says what was expected.",
    "429": "Too many wrong tokens came from this address: try again in a minute.",
    "500": "A fault of rtexp, or stored bytes that can't be read; its log says more.",
    "503": "The database doesn't answer now; `Retry-After` says when to ask again.",
}
_PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}


def describe(app: FastAPI, *, prefix: str, base_path: str, needs_token: bool) -> dict[str, Any]:
    """Return the document of an application, whose routes below ``prefix`` are its API."""
    document = get_openapi(
        title="rtexp",
        version=__version__,
        summary="Real-time analytics of experiments",
        description=_ABOUT,
        routes=app.routes,
        servers=[{"url": base_path or "/"}],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = ProblemAnswer.model_json_schema() | {
        "example": {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": "there is no experiment new-fed; near are new-feed",
            "code": "unknown-experiment",
        }
    }
    components["responses"] = {
        f"Fault{status}": {"description": told, "content": {PROBLEM_TYPE: _PROBLEM}}
        for status, told in _FAULTS.items()
    } | {"Unchanged": {"description": "What `If-None-Match` named is still the answer."}}
    if needs_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    for path, operations in document["paths"].items():
        if path.startswith(f"{prefix}/"):
            for operation in operations.values():
                _complete(operation, needs_token=needs_token, names_something="{" in path)
        elif needs_token:
            for operation in operations.values():
                operation["security"] = []  # health
    return document


def _complete(operation: dict[str, Any], *, needs_token: bool, names_something: bool) -> None:
    statuses = {*_FAULTS} - ({"421"} if needs_token else {"401", "429"})
    if not names_something:
        statuses.discard("404")
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own form of it, which isn't ours
    for status in sorted(statuses):
        responses.setdefault(status, {"$ref": f"#/components/responses/Fault{status}"})
    responses.setdefault("304", {"$ref": "#/components/responses/Unchanged"})
    operation.setdefault("tags", ["results"])
    operation["parameters"] = [
        *operation.get("parameters", []),
        {
            "name": "If-None-Match",
            "in": "header",
            "required": False,
            "description": "ETags of what one has already.",
            "schema": {"type": "string"},
        },
    ]
