"""The API's curves: one metric of an experiment through a period."""

# Annotations are read by FastAPI at runtime, so they must not be postponed here.
from typing import TYPE_CHECKING, Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rtexp.core.buckets import bucket_start_ms
from rtexp.statistics.confidence_sequence import rho_squared
from rtexp.statistics.effects import Metric
from rtexp.statistics.plans import Plan, decoded
from rtexp.store.engine import reading
from rtexp.store.metadata import experiment_names, read_experiments
from rtexp.store.plans import stored_plans
from rtexp.store.ranges import CellRange, LookRange, newest_period, read_counts, read_look_page
from rtexp.web import schemas
from rtexp.web.answers import json_answer
from rtexp.web.columns import BAND_ALPHA, Grid, columns_of, look_columns
from rtexp.web.names import ONE
from rtexp.web.problems import unknown_experiment
from rtexp.web.questions import MOST_MS, MOST_ROWS, checked_name, refuse_others
from rtexp.web.state import engine_of, period_ms_of, settings_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

routes = APIRouter()


@routes.get(ONE + "/curves", responses=schemas.as_object(schemas.CurvesAnswer))
def curves(
    request: Request,
    name: str,
    *,
    event: Annotated[str, Query(description="Its exposures come along.")],
    metric: Annotated[Metric, Query()] = Metric.PROPENSITY,
    period: Annotated[
        int | None, Query(ge=0, lt=MOST_MS, description="Its start; the newest by default.")
    ] = None,
) -> Response:
    """Return one metric of all groups as columns, an entry a bucket since `origin_ms`, and of each look z and boundary.

    Counts are increments; they end with the newest bucket of any group. `half_width` is that of the 95 percent
    confidence sequence of the group's mean since the start of the period: such bands hold at all buckets together. It
    is null where too few users say anything, and everywhere as long as no plan is frozen.
    """
    refuse_others(request, "event", "metric", "period")
    checked_name("event", event)
    with reading(engine_of(request)) as connection:
        experiment = next((e for e in read_experiments(connection) if e.name == name), None)
        if experiment is None:
            raise unknown_experiment(checked_name("name", name), experiment_names(connection))
        start_ms = newest_period(connection, name) if period is None else period
        wanted = CellRange(name, -1 if start_ms is None else start_ms)
        plan = _plan(connection, name, wanted.period_start_ms)
        grid = _grid(request, wanted.period_start_ms)
        counts = [row for each in {"", event} for row in read_counts(connection, wanted._replace(event=each))]
        looks = read_look_page(
            connection,
            LookRange(name, wanted.period_start_ms, None, event, metric.value),
            after=(),
            limit=MOST_ROWS,
        )
    rho = None if plan is None else rho_squared(BAND_ALPHA, plan.expected_users)
    columns = columns_of(counts, experiment.groups, grid)
    return json_answer(
        request,
        {
            "experiment": name,
            "event": event,
            "metric": metric.value,
            "period_start_ms": start_ms,
            "period_end_ms": None if start_ms is None else start_ms + period_ms_of(request),
            "origin_ms": grid.origin_ms,
            "bucket_ms": grid.bucket_ms,
            "groups": [
                {
                    "group_name": group,
                    "control": group == experiment.control,
                    "exposures": found.exposures,
                    "actors": found.actors,
                    "volume": found.volume,
                    "half_width": [None] * len(found.volume)
                    if rho is None
                    else found.half_widths(metric, rho),
                }
                for group, found in columns.items()
            ],
            "looks": look_columns(looks, grid.origin_ms),
        },
    )


def _grid(request: Request, start_ms: int) -> Grid:
    bucket_ms = settings_of(request).pipeline.bucket_minutes * 60_000
    return Grid(bucket_start_ms(start_ms, bucket_ms), bucket_ms, -(-period_ms_of(request) // bucket_ms) + 1)


def _plan(connection: "Connection", name: str, start_ms: int) -> Plan | None:
    try:
        found = [decoded(stored.plan.encode()) for stored in stored_plans(connection, [(name, start_ms)])]
    except msgspec.DecodeError:
        return None  # that of a newer version
    return next(iter(found), None)
