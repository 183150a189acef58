"""The experiments: whether there are any, fit what is tracked, and come from a query that works."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rtexp.core.buckets import HOUR_MS
from rtexp.errors import StoreUnavailable
from rtexp.local.checks.findings import Finding
from rtexp.store.engine import make_engine, reading
from rtexp.store.foreign import foreign_engine, run_query
from rtexp.store.foreign_rows import experiments_of
from rtexp.store.importing import judged
from rtexp.store.metadata import periods, read_experiments
from rtexp.store.migrate import check_revision
from rtexp.store.planning import contradiction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.settings import Settings
    from rtexp.store.definitions import Experiment

ANSWER_SECONDS = 5.0
_TOLD = 5


def definitions(settings: Settings) -> list[Finding]:
    """Judge what is measured; it blocks."""
    engine = make_engine(settings.store, busy_seconds=1, answer_seconds=ANSWER_SECONDS)
    try:
        check_revision(engine)
        with reading(engine) as connection:
            stored = read_experiments(connection)
    finally:
        engine.dispose()
    found = [_number(stored, settings, now_ms=time.time_ns() // 1_000_000)]
    found += [Finding("experiments", "warn", fault) for e in stored if (fault := contradiction(e, settings))]
    return found + (query(settings, stored) if settings.metadata.query else [])


def _number(stored: Sequence[Experiment], settings: Settings, *, now_ms: int) -> Finding:
    hours = settings.pipeline.period_hours
    found = (period for experiment in stored for period in periods(experiment, hours * HOUR_MS))
    if (
        stored
        and settings.pipeline.clock == "live"
        and not any(start <= now_ms < end for start, end in found)
    ):
        return Finding(
            "experiments",
            "warn",
            f"{len(stored):,} in SQL, none of them in a period now: what counts are the {hours} hours after a ramp "
            "([pipeline] period_hours); see `rtexp experiments list`",
        )
    if stored or settings.metadata.query:
        return Finding("experiments", "ok", f"{len(stored):,} in SQL")
    return Finding(
        "experiments", "warn", "none is defined: `rtexp experiments load FILE`, or set [metadata] query"
    )


def query(settings: Settings, stored: Sequence[Experiment]) -> list[Finding]:
    """Judge what the query yields, beside what SQL has already; it blocks."""
    try:
        with foreign_engine(settings) as source:
            yielded = experiments_of(run_query(source, settings.metadata.query))
    except StoreUnavailable as error:
        return [Finding("experiments", "fail", str(error))]
    _, refusals = judged(stored, yielded, pipeline=settings.pipeline, now_ms=time.time_ns() // 1_000_000)
    found = [
        Finding(
            "experiments", "fail", f"[metadata] query, row {r.row}, experiment `{r.experiment}`: {r.reason}"
        )
        for r in refusals[:_TOLD]
    ]
    if (more := len(refusals) - _TOLD) > 0:
        text = f"{more} more are refused: see `rtexp experiments list`"
        found.append(Finding("experiments", "fail", text))
    number = len(yielded.experiments)
    return found or [Finding("experiments", "ok", f"[metadata] query yields {number:,}, all of which fit")]
