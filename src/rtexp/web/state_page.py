"""The page of pipeline and tables: from SQL what the jobs last said, from the workers sizes and single entries."""

# Annotations are read by FastAPI at runtime, so they must not be postponed here.
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rtexp.settings import Settings
from rtexp.store.engine import reading
from rtexp.store.operations import read_freshness, read_pipeline, read_workers
from rtexp.web.freshness_chart import MINUTE_MS, MINUTES, freshness_chart
from rtexp.web.pages import site_of
from rtexp.web.problems import Problem
from rtexp.web.reasons import read_reasons
from rtexp.web.standing import Clock, Standing, judge
from rtexp.web.state import engine_of, settings_of, state_tables_of

MOST_KEY_CHARACTERS = 256
PARAMETERS = ("period", "group", "event", "bucket")
"""Of the buckets table, beside the key."""

Filter = Annotated[str | None, Query()]

routes = APIRouter(include_in_schema=False)


@routes.get("/state")
def state(
    request: Request,
    *,
    table: Filter = None,
    key: Filter = None,
    period: Filter = None,
    group: Filter = None,
    event: Filter = None,
    bucket: Filter = None,
) -> Response:
    """Show how complete counts are and why, what was refused and left out, workers, tables, and one entry of them."""
    settings, now_ms = settings_of(request), int(time.time() * 1000)
    clock = clock_of(settings, now_ms)
    with reading(engine_of(request)) as connection:
        pipeline, workers = read_pipeline(connection), read_workers(connection)
        standing = judge(pipeline, workers, clock)
        reasons = read_reasons(connection, settings, now_ms=now_ms)
        fresh = read_freshness(connection, since_ms=now_ms - (MINUTES + 1) * MINUTE_MS)
    tables = state_tables_of(request)
    values: dict[str, Any] = {
        "standing": standing,
        "clock": clock,
        "reasons": reasons,
        "newest": fresh[-1] if fresh else None,
        "chart": freshness_chart(fresh, now_ms=now_ms, on_purpose_ms=clock.on_purpose_ms),
        "sizes": tables.sizes(standing.workers),
        "may_look_up_users": tables.may_look_up_users,
        "asked": {"table": table or "buckets", "key": key or ""},
        "entry": None,
        "fault": None,
    }
    status = 200
    if key:
        more = dict(zip(PARAMETERS, (period, group, event, bucket), strict=True))
        try:
            values["entry"] = _entry(request, standing, table or "buckets", key, more)
        except Problem as problem:
            status, values["fault"] = problem.status, problem.detail
    return site_of(request).page("state.html", values, status=status)


def clock_of(settings: Settings, now_ms: int) -> Clock:
    """Return how distances are measured with these settings."""
    pipeline = settings.pipeline
    on_purpose_s = pipeline.join_delay_seconds + pipeline.out_of_order_seconds
    return Clock(now_ms, pipeline.clock == "live", round(on_purpose_s * 1000))


def _entry(
    request: Request, standing: Standing, table: str, key: str, more: dict[str, str | None]
) -> dict[str, Any]:
    for value in (key, *more.values()):
        if value is not None and len(value) > MOST_KEY_CHARACTERS:
            raise Problem(422, "bad-parameter", f"key: expected up to {MOST_KEY_CHARACTERS} characters")
    query = {"key": key} | {name: value for name, value in more.items() if value is not None}
    return dict(state_tables_of(request).entry(table, query, standing))
