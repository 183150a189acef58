"""What a request asks for, checked before it reaches SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import Query

from rtexp.store.metadata import experiment_names
from rtexp.store.schema import NAME_BYTES
from rtexp.web.problems import bad, unknown_experiment

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from starlette.requests import Request

Form = Annotated[Literal["json", "csv"], Query(alias="format", description="Form of the answer.")]
Cursor = Annotated[str | None, Query(description="`next` of the page before.")]

MOST_RANGE_MS = 366 * 24 * 3_600_000
MOST_ROWS = 10_000
"""Of one page."""
MOST_MS = 1 << 53
"""So that JSON's readers can say every time."""

Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="Most rows of this page.")]


def checked_name(what: str, name: str) -> str:
    """Return a name that something can have; Problem otherwise."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = NAME_BYTES + 1
    if size > NAME_BYTES or "\x00" in name:
        raise bad(what, f"a name of at most {NAME_BYTES} bytes of UTF-8", repr(name))
    return name


def checked_range(from_ms: int | None, to_ms: int | None) -> None:
    """Return if it is a range of times, ``to_ms`` not part of it; Problem otherwise."""
    for name, at_ms in (("from_ms", from_ms), ("to_ms", to_ms)):
        if at_ms is not None and not 0 <= at_ms < MOST_MS:
            raise bad(name, "ms since 1970", at_ms)
    if from_ms is not None and to_ms is not None:
        if from_ms >= to_ms:
            raise bad("from_ms", f"a time before to_ms, {to_ms}", from_ms)
        if to_ms - from_ms > MOST_RANGE_MS:
            raise bad("to_ms", "a range of at most 366 days", f"{(to_ms - from_ms) / 86_400_000:.0f} days")


def refuse_others(request: Request, *known: str) -> None:
    """Raise Problem if a parameter is none of these, or given twice: what is overlooked gives wrong numbers."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known:
            raise bad("query", f"one of {', '.join(known) or 'no parameters'}", name)
        if names.count(name) > 1:
            raise bad(name, "one value", f"{names.count(name)}")


def refuse_unknown(connection: Connection, name: str) -> None:
    """Raise Problem if nobody has defined the experiment."""
    known = experiment_names(connection)
    if name not in known:
        raise unknown_experiment(name, known)
