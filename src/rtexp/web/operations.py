"""The API's tables of what the jobs do: positions, counts, workers, freshness; kept for 24 hours."""

# Annotations are read by FastAPI at runtime, so they must not be postponed here.
import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rtexp.store.counts import CountRange, read_minutes, read_totals
from rtexp.store.engine import reading
from rtexp.store.operations import (
    KEPT_MS,
    FreshnessRow,
    PipelineRow,
    WorkerRow,
    read_freshness,
    read_pipeline,
    read_workers,
)
from rtexp.web import schemas
from rtexp.web.answers import from_cursor, table_answer, to_cursor
from rtexp.web.questions import MOST_MS, Cursor, Form, Limit, checked_name, checked_range, refuse_others
from rtexp.web.state import engine_of

From = Annotated[int | None, Query(ge=0, lt=MOST_MS, description="First minute, ms since 1970.")]
To = Annotated[
    int | None, Query(ge=0, lt=MOST_MS, description="No minute starts at or after this, ms since 1970.")
]
Filter = Annotated[str | None, Query(description="Only this one; all by default.")]

routes = APIRouter()


class _Table(NamedTuple):
    """Columns of an answer, of which the first ``key`` tell rows apart."""

    columns: Sequence[str]
    key: int


@routes.get("/pipeline", responses=schemas.as_table(schemas.PipelineItem))
def pipeline(request: Request, form: Form = "json", limit: Limit = 1000, cursor: Cursor = None) -> Response:
    """List each input partition of each job, as its newest owner last said: position, lag, watermark, rewind."""
    refuse_others(request, "format", "limit", "cursor")
    after = from_cursor(cursor, (str, str, int))
    with reading(engine_of(request)) as connection:
        rows = read_pipeline(connection)
    return _page(request, form, _Table(PipelineRow._fields, 3), rows, after=after, limit=limit)


@routes.get("/workers", responses=schemas.as_table(schemas.WorkerItem))
def workers(request: Request, form: Form = "json", limit: Limit = 1000, cursor: Cursor = None) -> Response:
    """List the workers of the last 24 hours; those that haven't spoken for 15 s may be dead, or have no partition."""
    refuse_others(request, "format", "limit", "cursor")
    after = from_cursor(cursor, (str,))
    with reading(engine_of(request)) as connection:
        rows = read_workers(connection)
    return _page(request, form, _Table(WorkerRow._fields, 1), rows, after=after, limit=limit)


@routes.get("/counters", responses=schemas.as_table(schemas.CountItem))
def counters(
    request: Request,
    *,
    job: Filter = None,
    reason: Filter = None,
    from_ms: From = None,
    to_ms: To = None,
    view: Literal["total", "minute"] = "total",
    form: Form = "json",
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response:
    """Count dead letters and what was left out, by job and reason: over a range (the last 24 hours), or by minute.

    Reasons begin with the kind of input, such as actions/missing-field. Of the job aggregate each is counted once.
    """
    refuse_others(request, *("job", "reason", "from_ms", "to_ms", "view", "format", "limit", "cursor"))
    checked_range(from_ms, to_ms)
    for what, name in (("job", job), ("reason", reason)):
        if name is not None:
            checked_name(what, name)
    start_ms = int(time.time() * 1000) - KEPT_MS if from_ms is None else from_ms
    wanted = CountRange(start_ms, MOST_MS if to_ms is None else to_ms, job, reason)
    columns = tuple(schemas.CountItem.model_fields)
    if view == "minute":
        after = from_cursor(cursor, (str, str, int))
        with reading(engine_of(request)) as connection:
            rows = read_minutes(connection, wanted, after=after, limit=limit + 1)
        return _page(request, form, _Table(columns, 3), rows, after=after, limit=limit)
    after = from_cursor(cursor, (str, str))
    with reading(engine_of(request)) as connection:
        rows = read_totals(connection, wanted)
    return _page(request, form, _Table(columns, 2), rows, after=after, limit=limit)


@routes.get("/freshness", responses=schemas.as_table(schemas.FreshnessItem))
def freshness(
    request: Request,
    *,
    from_ms: From = None,
    to_ms: To = None,
    form: Form = "json",
    limit: Limit = 1440,
    cursor: Cursor = None,
) -> Response:
    """List, by minute, how long actions took from their arrival until they were surely in SQL."""
    refuse_others(request, "from_ms", "to_ms", "format", "limit", "cursor")
    checked_range(from_ms, to_ms)
    after = from_cursor(cursor, (int,))
    with reading(engine_of(request)) as connection:
        found = read_freshness(connection, since_ms=from_ms or 0)
    rows = [row for row in found if to_ms is None or row.minute_ms < to_ms]
    return _page(request, form, _Table(FreshnessRow._fields, 1), rows, after=after, limit=limit)


def _page(
    request: Request,
    form: str,
    table: _Table,
    rows: Iterable[tuple[Any, ...]],
    *,
    after: Sequence[Any],
    limit: int,
) -> Response:
    """Return up to ``limit`` of rows, which come in order of their key, of those beyond the key ``after``."""
    found = [row for row in rows if row[: table.key] > tuple(after)]
    following = to_cursor(found[limit - 1][: table.key]) if len(found) > limit else None
    return table_answer(request, form, table.columns, found[:limit], following)
