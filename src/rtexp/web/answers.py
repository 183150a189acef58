"""Answers of the API: JSON or CSV, each with the hash of its bytes, so that nobody fetches the same twice."""

from __future__ import annotations

import base64
import binascii
import io
import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from rtexp.store.csv_text import write_csv
from rtexp.web.problems import bad

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.requests import Request

_MOST_CURSOR_CHARACTERS = 4096


def json_answer(request: Request, value: Any) -> Response:
    """Return a value as JSON; undefined numbers are null, and never NaN."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return tagged(request, text.encode("utf-8", "replace"), "application/json")


def csv_answer(request: Request, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """Return a header and rows; the same bytes as `rtexp export` writes."""
    text = io.StringIO()
    write_csv(text, columns, rows)
    return tagged(request, text.getvalue().encode("utf-8", "replace"), "text/csv; charset=utf-8")


def table_answer(
    request: Request, form: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], cursor: str | None
) -> Response:
    """Return one page of a table in either form; a link leads to the next page, in JSON the cursor as well."""
    if form == "csv":
        answer = csv_answer(request, columns, rows)
    else:
        items = [dict(zip(columns, row, strict=True)) for row in rows]
        answer = json_answer(request, {"items": items, "next": cursor})
    if cursor is not None:
        query = str(request.url.remove_query_params("cursor").include_query_params(cursor=cursor).query)
        answer.headers["Link"] = f'<?{query}>; rel="next"'
    return answer


def tagged(request: Request, body: bytes, media_type: str) -> Response:
    """Return the body with its ETag, or 304 to those who have it already."""
    etag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def to_cursor(key: Sequence[str | int]) -> str:
    """Return the key of a page's last row as one word, for the request of the next page."""
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode().rstrip("=")


def from_cursor(cursor: str | None, kinds: Sequence[type]) -> list[str | int]:
    """Return the key in a cursor, whose parts must be of these types; nothing if there is none.

    Problem if it isn't one that `to_cursor` has made.
    """
    if cursor is None:
        return []
    fault = bad("cursor", "what `next` of the page before says", cursor)
    if len(cursor) > _MOST_CURSOR_CHARACTERS:
        raise fault
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError, binascii.Error):
        raise fault from None
    if not isinstance(key, list) or [type(part) for part in key] != list(kinds):
        raise fault
    # What SQL can't be asked: neither an integer of more than 64 bits nor text that has no bytes in UTF-8.
    if any(abs(part) >= 1 << 63 if isinstance(part, int) else not _is_text(part) for part in key):
        raise fault
    return key


def offset_of(cursor: str | None) -> int:
    """Return how many items come before a page, where the cursor says just that; Problem if it doesn't."""
    (start,) = from_cursor(cursor, [int]) or (0,)
    if not isinstance(start, int) or start < 0:
        raise bad("cursor", "what `next` of the page before says", cursor)
    return start


def _is_text(part: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" or character == "\x00" for character in part)
