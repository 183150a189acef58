"""How many rows were counted by reason: sums over partitions and minutes, made in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, or_, select

from rtexp.store.schema import counters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Select


class CountRow(NamedTuple):
    """What all partitions of a job counted by one reason."""

    job: str
    reason: str
    minute_ms: int | None
    """Start of the minute; None: over the whole range."""
    counted: int


class CountRange(NamedTuple):
    """Which counts: minutes that start in [from_ms, to_ms), of one job or reason where these aren't None."""

    from_ms: int
    to_ms: int
    job: str | None = None
    reason: str | None = None


def read_totals(connection: Connection, wanted: CountRange) -> Sequence[CountRow]:
    """Return one row a job and reason, in their order."""
    key = (counters.c.job, counters.c.reason)
    sums = _where(select(*key, func.sum(counters.c.count)), wanted).group_by(*key).order_by(*key)
    return [CountRow(job, reason, None, int(count)) for job, reason, count in connection.execute(sums)]


def read_minutes(
    connection: Connection, wanted: CountRange, *, after: Sequence[str | int] = (), limit: int
) -> Sequence[CountRow]:
    """Return up to ``limit`` rows, one a job, reason and minute, in their order, beyond the key ``after``."""
    key = (counters.c.job, counters.c.reason, counters.c.minute_ms)
    sums = _where(select(*key, func.sum(counters.c.count)), wanted)
    if after:
        job, reason, minute_ms = after
        sums = sums.where(
            or_(
                counters.c.job > job,
                (counters.c.job == job) & (counters.c.reason > reason),
                (counters.c.job == job) & (counters.c.reason == reason) & (counters.c.minute_ms > minute_ms),
            )
        )
    found = connection.execute(sums.group_by(*key).order_by(*key).limit(limit))
    return [CountRow(job, reason, minute_ms, int(count)) for job, reason, minute_ms, count in found]


def _where(sums: Select[Any], wanted: CountRange) -> Select[Any]:
    found = sums.where(counters.c.minute_ms >= wanted.from_ms, counters.c.minute_ms < wanted.to_ms)
    if wanted.job is not None:
        found = found.where(counters.c.job == wanted.job)
    return found if wanted.reason is None else found.where(counters.c.reason == wanted.reason)
