"""What `rtexp experiments list` shows: every experiment in a line, and which rows of the query are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rtexp.commands.text_table import iso_time, printable, text_table
from rtexp.core.buckets import HOUR_MS
from rtexp.errors import StoreUnavailable
from rtexp.store.engine import opened, reading
from rtexp.store.foreign import foreign_engine, run_query
from rtexp.store.foreign_rows import experiments_of
from rtexp.store.importing import judged
from rtexp.store.metadata import periods, read_experiments
from rtexp.store.migrate import check_revision

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rtexp.settings import Settings
    from rtexp.store.definitions import Experiment
    from rtexp.store.foreign_rows import Refusal


class Listed(NamedTuple):
    """One experiment, as it is now."""

    name: str
    control: str
    allocated: dict[str, float]
    """Percent by group, the control first."""
    periods: Sequence[tuple[int, int]]
    source: str | None
    """``query`` where the query of `[metadata]` yields it, else ``file``; None: the query fails."""


class Listing(NamedTuple):
    """All experiments in SQL, and what is wrong with those of the query."""

    experiments: Sequence[Listed]
    refused: Sequence[Refusal] = ()
    fault: str = ""
    """Why the query yields nothing; empty: it does, or there is none."""
    yielded: int | None = None
    """How many experiments the query yields that are right by themselves; None without one, or where it fails."""


def read_listing(settings: Settings, now_ms: int) -> Listing:
    """Return what is in SQL, and, where there is a query, what it yields now; nothing is taken over."""
    with opened(settings.store) as engine:
        check_revision(engine)
        with reading(engine) as connection:
            stored = read_experiments(connection)
    if not settings.metadata.query:
        return Listing(_listed(stored, frozenset(), settings, now_ms))
    try:
        with foreign_engine(settings) as source:
            yielded = experiments_of(run_query(source, settings.metadata.query))
    except StoreUnavailable as error:
        return Listing(_listed(stored, None, settings, now_ms), fault=str(error))
    _, refusals = judged(stored, yielded, pipeline=settings.pipeline, now_ms=now_ms)
    names = frozenset(e.name for e in yielded.experiments) | {refusal.experiment for refusal in refusals}
    listed = _listed(stored, names, settings, now_ms)
    return Listing(listed, refusals, yielded=len(yielded.experiments))


def _listed(
    stored: Iterable[Experiment], of_query: frozenset[str] | None, settings: Settings, now_ms: int
) -> list[Listed]:
    period_ms = settings.pipeline.period_hours * HOUR_MS
    listed = []
    for experiment in stored:
        groups = sorted(experiment.groups, key=lambda group: group != experiment.control)
        allocated = dict.fromkeys(groups, 0.0)
        for allocation in experiment.allocations:  # in order of time
            if allocation.at_ms <= now_ms:
                allocated[allocation.group] = allocation.percent
        source = None if of_query is None else "query" if experiment.name in of_query else "file"
        found = periods(experiment, period_ms)
        listed.append(Listed(experiment.name, experiment.control, allocated, found, source))
    return listed


def as_text(listing: Listing, now_ms: int) -> str:
    """Return a table for people."""
    if not listing.experiments:
        if listing.yielded is None:
            return "no experiments yet: `rtexp experiments load` adds some"
        return (
            f"no experiments yet: [metadata] query yields {listing.yielded}, "
            "which a results worker takes over once they have begun"
        )
    rows = [
        [
            printable(found.name),
            printable(found.control),
            ", ".join(f"{printable(group)} {percent:g} %" for group, percent in found.allocated.items()),
            _newest(found.periods, now_ms),
            str(len(found.periods)),
            found.source or "not known",
        ]
        for found in listing.experiments
    ]
    return text_table(["experiment", "control", "allocated now", "newest period", "periods", "from"], rows)


def as_object(listing: Listing, now_ms: int) -> dict[str, Any]:
    """Return what JSON shows."""
    experiments = [
        {
            "name": found.name,
            "control": found.control,
            "allocated": found.allocated,
            "periods": [
                {"start_ms": start, "end_ms": end, "state": _state(start, end, now_ms)}
                for start, end in found.periods
            ],
            "from": found.source,
        }
        for found in listing.experiments
    ]
    refused = [refusal._asdict() for refusal in listing.refused]
    return {"experiments": experiments, "refused": refused, "query_error": listing.fault or None}


def refusal_line(refusal: Refusal) -> str:
    """Return what people read of a refusal."""
    whose = f"experiment `{printable(refusal.experiment)}`" if refusal.experiment else "nobody's"
    return f"refused: row {refusal.row} of the query, {whose}: {printable(refusal.reason)}"


def _newest(found: Sequence[tuple[int, int]], now_ms: int) -> str:
    # A period that runs matters more than one that is yet to come.
    begun = [period for period in found if period[0] <= now_ms] or list(found[:1])
    if not begun:
        return "none yet"
    start_ms, end_ms = begun[-1]
    match _state(start_ms, end_ms, now_ms):
        case "to come":
            return f"begins {iso_time(start_ms)}"
        case "running":
            return f"running until {iso_time(end_ms)}"
        case ended:
            return f"{ended} {iso_time(end_ms)}"


def _state(start_ms: int, end_ms: int, now_ms: int) -> str:
    return "ended" if now_ms >= end_ms else "running" if now_ms >= start_ms else "to come"
