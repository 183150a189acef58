"""The API's tables: cells, looks and distinct users, page by page, as JSON and CSV."""

# Annotations are read by FastAPI at runtime, so they must not be postponed here.
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rtexp.store.engine import reading
from rtexp.store.looks import LookRow
from rtexp.store.ranges import (
    READ_ROWS,
    CellRange,
    LookRange,
    newest_period,
    read_counts,
    read_look_page,
    read_sketches,
)
from rtexp.web import schemas
from rtexp.web.answers import from_cursor, offset_of, table_answer, to_cursor
from rtexp.web.names import ONE
from rtexp.web.questions import (
    MOST_MS,
    Cursor,
    Form,
    Limit,
    checked_name,
    checked_range,
    refuse_others,
    refuse_unknown,
)
from rtexp.web.series import SeriesRow, Uniques, per_bucket, running, uniques
from rtexp.web.state import engine_of, settings_of
from rtexp.web.verdicts import VerdictRow, read_verdicts

if TYPE_CHECKING:
    from sqlalchemy import Connection

From = Annotated[int | None, Query(ge=0, lt=MOST_MS, description="First start of a bucket, ms since 1970.")]
To = Annotated[
    int | None, Query(ge=0, lt=MOST_MS, description="No bucket starts at or after this, ms since 1970.")
]
Period = Annotated[
    int | None,
    Query(ge=0, lt=MOST_MS, description="Start of the period, ms since 1970; the newest by default."),
]
Filter = Annotated[str | None, Query(description="Only this one; all by default.")]

_MOST_UNITED = 200
"""Rows of a page of uniques: each is the union of all sketches of its range, which have some KB each."""
_LOOK_KEY = (int, str, str, str, str, str, int)

routes = APIRouter()


@routes.get(ONE + "/cells", responses=schemas.as_table(schemas.CellItem))
def cells(
    request: Request,
    name: str,
    *,
    period: Period = None,
    group: Filter = None,
    event: Filter = None,
    from_ms: From = None,
    to_ms: To = None,
    view: Literal["bucket", "cumulative"] = "bucket",
    form: Form = "json",
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response:
    """List counts by group, event and bucket: increments, or sums since the start of the period.

    Rows whose event is empty carry the exposures. Buckets that start in [from_ms, to_ms).
    """
    refuse_others(
        request, *("period", "group", "event", "from_ms", "to_ms", "view", "format", "limit", "cursor")
    )
    checked_range(from_ms, to_ms)
    after = from_cursor(cursor, (str, str, int))
    with reading(engine_of(request)) as connection:
        wanted = _cell_range(connection, name, period, group, event)._replace(to_ms=to_ms)
        if view == "bucket":
            size = min(limit + 1, READ_ROWS)
            rows = per_bucket(
                read_counts(connection, wanted._replace(from_ms=from_ms), after=after, size=size)
            )
        else:
            # A sum needs what was before: the series on which the page before ended is added up again.
            rows = running(read_counts(connection, wanted, after=after and [*after[:2], -1]))
            rows = (row for row in rows if not after or row[2:5] > tuple(after))
            rows = (row for row in rows if from_ms is None or row.bucket_start_ms >= from_ms)
        page = list(islice(rows, limit + 1))
    following = to_cursor(page[limit - 1][2:5]) if len(page) > limit else None
    return table_answer(request, form, SeriesRow._fields, page[:limit], following)


@routes.get(ONE + "/uniques", responses=schemas.as_table(schemas.UniquesItem))
def unique_users(
    request: Request,
    name: str,
    *,
    period: Period = None,
    group: Filter = None,
    event: Filter = None,
    from_ms: From = None,
    to_ms: To = None,
    form: Form = "json",
    limit: Annotated[int, Query(ge=1, le=_MOST_UNITED, description="Most rows of this page.")] = 100,
    cursor: Cursor = None,
) -> Response:
    """Estimate how many distinct users there are over a range of buckets, by group and event, with its error."""
    refuse_others(request, *("period", "group", "event", "from_ms", "to_ms", "format", "limit", "cursor"))
    checked_range(from_ms, to_ms)
    after = from_cursor(cursor, (str, str))
    with reading(engine_of(request)) as connection:
        wanted = _cell_range(connection, name, period, group, event)._replace(from_ms=from_ms, to_ms=to_ms)
        stored = read_sketches(connection, wanted, after=after and [*after, MOST_MS])
        page = list(islice(uniques(stored, settings_of(request).sketch.lg_k), limit + 1))
    following = to_cursor(page[limit - 1][:2]) if len(page) > limit else None
    return table_answer(request, form, Uniques._fields, page[:limit], following)


@routes.get(ONE + "/looks", responses=schemas.as_table(schemas.LookItem))
def looks(
    request: Request,
    name: str,
    *,
    period: Period = None,
    group: Filter = None,
    event: Filter = None,
    metric: Filter = None,
    role: Filter = None,
    form: Form = "json",
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response:
    """List looks in order of period, group, event, metric and look, with all that each says."""
    refuse_others(request, *("period", "group", "event", "metric", "role", "format", "limit", "cursor"))
    wanted = LookRange(checked_name("name", name), period, *map(_filter, (group, event, metric, role)))
    after = from_cursor(cursor, _LOOK_KEY)
    with reading(engine_of(request)) as connection:
        refuse_unknown(connection, name)
        page = read_look_page(connection, wanted, after=after, limit=limit + 1)
    following = to_cursor(page[limit - 1][1:8]) if len(page) > limit else None
    return table_answer(request, form, LookRow._fields, page[:limit], following)


@routes.get(ONE + "/verdicts", responses=schemas.as_table(schemas.VerdictItem))
def verdicts(
    request: Request,
    name: str,
    *,
    period: Period = None,
    form: Form = "json",
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response:
    """List what the newest look of each comparison says, and whether that is good; of the newest period by default."""
    refuse_others(request, "period", "format", "limit", "cursor")
    start = offset_of(cursor)
    with reading(engine_of(request)) as connection:
        refuse_unknown(connection, checked_name("name", name))
        found = read_verdicts(connection, name, period_start_ms=period)
    following = to_cursor([start + limit]) if start + limit < len(found) else None
    return table_answer(request, form, VerdictRow._fields, found[start : start + limit], following)


def _cell_range(
    connection: "Connection", name: str, period: int | None, group: str | None, event: str | None
) -> CellRange:
    """Return the whole of a period, the newest by default; without any cells the range is empty."""
    refuse_unknown(connection, checked_name("name", name))
    start_ms = newest_period(connection, name) if period is None else period
    return CellRange(name, -1 if start_ms is None else start_ms, _filter(group), _filter(event))


def _filter(name: str | None) -> str | None:
    return None if name is None else checked_name("filter", name)
