"""Pages: made whole on the server, from what stands in SQL now."""

# Annotations are read by FastAPI at runtime, so they must not be postponed here.
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from rtexp.store.engine import reading
from rtexp.store.metadata import experiment_names
from rtexp.store.operations import read_pipeline
from rtexp.store.views import find_view
from rtexp.web import beliefs, facts, figures, marks, state, words
from rtexp.web.activity import missed
from rtexp.web.api import PREFIX
from rtexp.web.assets import FOR_GOOD, Assets
from rtexp.web.clocks import page_clock
from rtexp.web.details import Choice, read_details
from rtexp.web.names import ONE, in_path
from rtexp.web.problems import Problem, unknown_experiment
from rtexp.web.progress import progress
from rtexp.web.questions import MOST_MS, checked_name
from rtexp.web.state import engine_of, period_ms_of, settings_of
from rtexp.web.summaries import by_urgency, read_summaries

PARTS = {
    "urgent": ("Needs a person", "harm, a guardrail alarm or a broken split"),
    "decided": ("Decided, still measuring", "crossed before the end; the verdict stays"),
    "measuring": ("Measuring", "no crossing so far"),
    "over": ("Over", "the period is complete"),
}

Filter = Annotated[str | None, Query()]


class Site:
    """What all pages share: templates, static files, and where they are."""

    def __init__(self, base_path: str, *, has_token: bool = False) -> None:
        """``has_token``: people have logged in, and may log out."""
        self.assets = Assets()
        self._templates = Environment(
            loader=PackageLoader("rtexp.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {
            "base": base_path,
            "has_token": has_token,
            "api": f"{base_path}{PREFIX}",
            "static": lambda name: f"{base_path}/static/{self.assets.path(name)}",
            "in_path": in_path,
            "figures": figures,
            "words": words,
            "facts": facts,
            "marks": marks,
            "beliefs": beliefs,
            "missed": missed,
        }

    def page(
        self,
        template: str,
        values: Mapping[str, Any],
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return a page; every value in it is escaped."""
        text = self._templates.get_template(template).render(values)
        # A name can hold a lone surrogate nowhere but in an address that was asked for.
        return HTMLResponse(text.encode("utf-8", "replace"), status, headers)

    def error(self, request: Request, status: int, detail: str, headers: Mapping[str, str]) -> Response:
        """Return the page that says what went wrong; where the token is missing, with the form that takes it."""
        values = {
            "title": HTTPStatus(status).phrase,
            "detail": detail,
            "asks": status in {401, 429},
            "wrong": request.method == "POST" and status == HTTPStatus.UNAUTHORIZED,
        }
        return self.page("error.html", values, status=status, headers=headers)


routes = APIRouter(include_in_schema=False)


def site_of(request: Request) -> Site:
    """Return what all pages share."""
    site: Site = request.app.state.site
    return site


@routes.get("/")
def overview(request: Request) -> Response:
    """Show all experiments: first those that need a person."""
    settings, now_ms = settings_of(request), state.now_ms()
    with reading(engine_of(request)) as connection:
        pipeline = read_pipeline(connection)
        clock = page_clock(pipeline, settings, now_ms=now_ms)
        found = read_summaries(connection, period_ms=period_ms_of(request), now_ms=clock.now_ms)
    summaries = by_urgency(found)
    late = {
        name
        for name in (summary.experiment.name for summary in summaries)
        if (mine := progress(pipeline, settings, now_ms=now_ms, experiment=name)) and mine.is_late
    }
    values = {
        "now_ms": now_ms,
        "clock": clock,
        "progress": progress(pipeline, settings, now_ms=now_ms),
        "late": late,
        "total": len(summaries),
        "urgent": sum(summary.part == "urgent" for summary in summaries),
        "sentence": facts.sentence(summaries),
        "changes": facts.changes(summaries, clock),
        "parts": [
            (name, *words_of, [summary for summary in summaries if summary.part == name])
            for name, words_of in PARTS.items()
        ],
    }
    return site_of(request).page("overview.html", values)


@routes.get(ONE)
def experiment(
    request: Request,
    name: str,
    *,
    period: Annotated[int | None, Query(ge=0, lt=MOST_MS)] = None,
    group: Filter = None,
    event: Filter = None,
    metric: Filter = None,
    role: Filter = None,
) -> Response:
    """Show one experiment: of a period, the newest by default, and one comparison of it in detail."""
    for what, value in (
        ("name", name),
        ("group", group),
        ("event", event),
        ("metric", metric),
        ("role", role),
    ):
        if value is not None:
            checked_name(what, value)
    settings, now_ms = settings_of(request), state.now_ms()
    with reading(engine_of(request)) as connection:
        view = find_view(connection, name, period_ms=period_ms_of(request))
        if view is None:
            raise unknown_experiment(name, experiment_names(connection))
        chosen = Choice(period, group, event, metric, role)
        pipeline = read_pipeline(connection)
        clock = page_clock(pipeline, settings, now_ms=now_ms)
        details = read_details(connection, view, chosen, settings, clock=clock, now_ms=now_ms)
    complete = progress(pipeline, settings, now_ms=now_ms, experiment=name)
    values = {"view": view, "details": details, "progress": complete, "clock": clock, "now_ms": now_ms}
    return site_of(request).page("experiment.html", values)


@routes.get("/static/{path}")
async def static(request: Request, path: str) -> Response:
    """Return a static file, under the name that its hash gives it."""
    asset = site_of(request).assets.find(path)
    if asset is None:
        raise Problem(404, "not-found", "there is no such file in this version")
    return Response(asset.body, media_type=asset.media_type, headers={"Cache-Control": FOR_GOOD})
