"""The API under /api/v1: what SQL says of experiments and their plans; `tables` has the rest."""

# Annotations are read by FastAPI at runtime, so they must not be postponed here.
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rtexp.store.engine import reading
from rtexp.store.metadata import experiment_names, periods, read_experiments
from rtexp.store.operations import read_pipeline
from rtexp.store.plans import StoredPlan, read_plans
from rtexp.store.ranges import read_exposures
from rtexp.store.views import as_object, find_view
from rtexp.web import schemas
from rtexp.web.answers import csv_answer, json_answer, offset_of, table_answer, to_cursor
from rtexp.web.clocks import page_clock
from rtexp.web.names import ONE
from rtexp.web.problems import unknown_experiment
from rtexp.web.questions import Cursor, Form, Limit, checked_name, refuse_others, refuse_unknown
from rtexp.web.state import engine_of, now_ms, period_ms_of, settings_of
from rtexp.web.summaries import read_summaries
from rtexp.web.verdicts import Standing, standings

PREFIX = "/api/v1"

routes = APIRouter(prefix=PREFIX)


@routes.get("/experiments", responses=schemas.as_page(schemas.ExperimentItem))
def experiments(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most experiments of this page.")] = 200,
    cursor: Cursor = None,
) -> Response:
    """List experiments in order of their creation, with periods and the users of each."""
    refuse_others(request, "limit", "cursor")
    start = offset_of(cursor)
    with reading(engine_of(request)) as connection:
        found = read_experiments(connection)
        page = found[start : start + limit]
        users = read_exposures(connection)
    items = [
        {
            "name": each.name,
            "control": each.control,
            "groups": list(each.groups),
            "periods": [
                {"start_ms": at_ms, "end_ms": end_ms, "users": users.get((each.name, at_ms), {})}
                for at_ms, end_ms in periods(each, period_ms_of(request))
            ],
        }
        for each in page
    ]
    more = start + limit < len(found)
    return json_answer(request, {"items": items, "next": to_cursor([start + limit]) if more else None})


@routes.get("/verdicts", responses=schemas.as_table(schemas.StandingItem))
def verdicts(request: Request, form: Form = "json", limit: Limit = 1000, cursor: Cursor = None) -> Response:
    """List where each experiment stands, in order of their creation: its leading comparison, and any alarms."""
    refuse_others(request, "format", "limit", "cursor")
    start = offset_of(cursor)
    with reading(engine_of(request)) as connection:
        clock = page_clock(read_pipeline(connection), settings_of(request), now_ms=now_ms())
        summaries = read_summaries(connection, period_ms=period_ms_of(request), now_ms=clock.now_ms)
        users = read_exposures(connection)
    found = standings(summaries, users)
    following = to_cursor([start + limit]) if start + limit < len(found) else None
    return table_answer(request, form, Standing._fields, found[start : start + limit], following)


@routes.get(ONE, responses=schemas.as_object(schemas.ExperimentAnswer))
def experiment(request: Request, name: str) -> Response:
    """Show an experiment: definition, periods with plans, and the newest look of each comparison."""
    refuse_others(request)
    with reading(engine_of(request)) as connection:
        view = find_view(connection, checked_name("name", name), period_ms=period_ms_of(request))
        if view is None:
            raise unknown_experiment(name, experiment_names(connection))
    return json_answer(request, as_object(view))


@routes.get(ONE + "/plans", responses=schemas.as_table(schemas.PlanItem))
def plans(request: Request, name: str, form: Form = "json") -> Response:
    """List the plans that were frozen, one a period; in CSV the plan is the JSON that its hash is of."""
    refuse_others(request, "format")
    with reading(engine_of(request)) as connection:
        refuse_unknown(connection, checked_name("name", name))
        found = read_plans(connection, experiment=name)
    if form == "csv":
        return csv_answer(request, StoredPlan._fields, found)
    items = [plan._asdict() | {"plan": msgspec.json.decode(plan.plan)} for plan in found]
    return json_answer(request, {"items": items, "next": None})
