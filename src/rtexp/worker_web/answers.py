"""Answers of a worker: JSON for programs, the same as a plain page for people, and problems that say what to do."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2rem;color-scheme:light dark}"
    "table{border-collapse:collapse}th,td{border:1px solid #8888;padding:.2rem .6rem;text-align:left;"
    "vertical-align:top;font-variant-numeric:tabular-nums}"
)
STYLE_SOURCE = f"'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
"""What a Content-Security-Policy calls the one style of these pages."""


class Problem(Exception):  # noqa: N818 - the word of its media type
    """A request that can't be answered: status, a stable code, what to do instead, and what else is known."""

    def __init__(self, status: int, code: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.more = more


def problem(fault: Problem, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a problem as programs read it (RFC 9457)."""
    title = HTTPStatus(fault.status).phrase
    said = {"type": "about:blank", "title": title, "status": fault.status, "detail": fault.detail}
    body = msgspec.json.encode(said | {"code": fault.code} | fault.more)
    return web.Response(
        body=body, status=fault.status, content_type="application/problem+json", headers=headers
    )


def answer(request: web.Request, title: str, value: Any, *, status: int = 200) -> web.Response:
    """Return a value of plain types as JSON, or as a page where the request prefers that."""
    if "text/html" in request.headers.get("Accept", ""):
        return web.Response(text=_page(title, value), status=status, content_type="text/html")
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _page(title: str, value: Any) -> str:
    head = f"<meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body><h1>{escape(title)}</h1>{_html(value)}</body></html>"


def _html(value: Any) -> str:
    """Return a table of a mapping or of a list of them, anything else as text; all of it escaped."""
    if isinstance(value, dict):
        rows = "".join(
            f"<tr><th scope=row>{escape(str(k))}</th><td>{_html(v)}</td></tr>" for k, v in value.items()
        )
        return f"<table>{rows}</table>" if rows else "none"
    if isinstance(value, list):
        if value and all(isinstance(row, dict) for row in value):
            names = list(dict.fromkeys(name for row in value for name in row))
            head = "".join(f"<th scope=col>{escape(str(name))}</th>" for name in names)
            rows = "".join(
                "<tr>" + "".join(f"<td>{_html(row.get(name, ''))}</td>" for name in names) + "</tr>"
                for row in value
            )
            return f"<table><tr>{head}</tr>{rows}</table>"
        return ", ".join(map(_html, value)) or "none"
    return escape("none" if value is None else str(value))
