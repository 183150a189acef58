"""`/metrics` of the web application: its requests, and of the pipeline what SQL says."""

# Annotations are read by FastAPI at runtime, so they must not be postponed here.
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from starlette.responses import Response

from rtexp.errors import RtexpError
from rtexp.metrics.exposition import Exposition, Sample
from rtexp.metrics.requests import RequestMetrics
from rtexp.metrics.tasks import build_info
from rtexp.store.engine import reading
from rtexp.store.operations import KEPT_MS, read_freshness, read_pipeline, read_workers
from rtexp.web.answers import json_answer
from rtexp.web.feed import Feed
from rtexp.web.state import engine_of

MINUTE_MS = 60_000
MOST_WORKERS = 200
"""Each has a series; where every start has a new name, a day may have had thousands."""

TARGET_MS = 60_000
"""Whoever hasn't spoken for so long isn't scraped any more."""

routes = APIRouter()


def hold(app: object, engine: Engine, requests: RequestMetrics, feed: Feed) -> None:
    """Give the application what `/metrics` shows."""

    def own() -> Iterator[Sample]:
        yield build_info("web", "")
        yield Sample("rtexp_web_streams", (), feed.streams)
        yield Sample("rtexp_web_watched_pages", (), feed.pages)

    sources = (SqlSamples(engine), own)
    app.state.exposition = Exposition(sources, *requests.collectors)  # type: ignore[attr-defined]  # as `state` does


@routes.get("/metrics", include_in_schema=False)
def metrics(request: Request) -> Response:
    """Answer a scrape; with SQL away there is less to say, and `rtexp_sql_up` is 0."""
    answer = request.app.state.exposition.render(request.headers.get("accept", ""))
    return Response(answer.body, media_type=answer.content_type)


@routes.get("/metrics/targets", include_in_schema=False)
def targets(request: Request) -> Response:
    """List the workers that live, as Prometheus' `http_sd_configs` reads it: under `rtexp up` their ports change."""
    spoke_after_ms = int(time.time() * 1000) - TARGET_MS
    with reading(engine_of(request)) as connection:
        found = read_workers(connection)
    hosts = {_host(row.url) for row in found if row.updated_ms > spoke_after_ms} - {""}
    return json_answer(request, [{"targets": sorted(hosts)}])


def _host(url: str) -> str:
    """Return host and port of a worker's address; empty if it is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.netloc if parts.scheme == "http" and "@" not in parts.netloc else ""


class SqlSamples:
    """What the tables of the jobs say at the call."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def __call__(self) -> Iterator[Sample]:
        """Yield all, or only that SQL can't be asked."""
        now_ms = int(self._clock() * 1000)
        try:
            with reading(self._engine) as connection:
                pipeline = read_pipeline(connection)
                workers = read_workers(connection)
                minutes = read_freshness(connection, since_ms=now_ms - KEPT_MS)
        except (RtexpError, DBAPIError):  # the latter: no such tables
            yield Sample("rtexp_sql_up", (), 0)
            return
        yield Sample("rtexp_sql_up", (), 1)
        for row in pipeline:
            labels = (row.job, row.input, str(row.partition))
            if row.lag is not None:
                yield Sample("rtexp_sql_input_lag_offsets", labels, row.lag)
            if row.watermark_ms > 0:
                yield Sample("rtexp_sql_input_watermark_timestamp_seconds", labels, row.watermark_ms / 1000)
            yield Sample("rtexp_sql_input_reported_timestamp_seconds", labels, row.updated_ms / 1000)
        for worker in sorted(workers, key=lambda row: row.updated_ms)[-MOST_WORKERS:]:
            spoke_s = worker.updated_ms / 1000
            yield Sample("rtexp_sql_worker_reported_timestamp_seconds", (worker.job, worker.worker), spoke_s)
        # The minute that runs may yet change: what is shown of one would go up and down.
        over = [row for row in minutes if row.minute_ms + MINUTE_MS <= now_ms]
        if over:
            newest = over[-1]
            yield Sample("rtexp_freshness_seconds", ("0.5",), newest.p50_ms / 1000)
            yield Sample("rtexp_freshness_seconds", ("0.99",), newest.p99_ms / 1000)
            yield Sample("rtexp_freshness_minute_timestamp_seconds", (), newest.minute_ms / 1000)
