"""Parts of cells and looks, page by page, for those who can't take all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select, tuple_

from rtexp.store.cells import CellRow
from rtexp.store.looks import LookRow
from rtexp.store.schema import allocations, cells, experiment_groups, experiments, looks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection

READ_ROWS = 1_000
READ_SKETCHES = 200
"""At a time: they have some KB each."""
_COUNTS = [column for column in cells.c if column.name != "sketch"]


class CellRange(NamedTuple):
    """Which cells of one experiment's period; None: all of them."""

    experiment: str
    period_start_ms: int
    group: str | None = None
    event: str | None = None
    from_ms: int | None = None
    """Buckets that start at or after this."""
    to_ms: int | None = None
    """Buckets that start before this."""


def newest_period(connection: Connection, experiment: str) -> int | None:
    """Return the start of the newest period that has cells."""
    found = select(func.max(cells.c.period_start_ms)).where(cells.c.experiment == experiment)
    newest: int | None = connection.scalar(found)
    return newest


def read_counts(
    connection: Connection, wanted: CellRange, *, after: Sequence[str | int] = ()
) -> Iterator[CellRow]:
    """Yield cells without their sketches (None) in order of group, event and bucket; fetched as they are taken.

    Only those whose (group, event, bucket) comes after ``after``; of two parts, those of that series and later.
    """
    statement = select(*_COUNTS).where(*_conditions(wanted)).order_by(*cells.primary_key)
    if len(after) == 3:  # noqa: PLR2004 - group, event, bucket
        key = tuple_(cells.c.group_name, cells.c.event, cells.c.bucket_start_ms)
        statement = statement.where(key > tuple_(*after))
    elif after:
        statement = statement.where(tuple_(cells.c.group_name, cells.c.event) >= tuple_(*after))
    for row in connection.execute(statement, execution_options={"yield_per": READ_ROWS}):
        yield CellRow(**row._mapping, sketch=None)  # noqa: SLF001 - SQLAlchemy's public name for a row by column


def read_sketches(
    connection: Connection, wanted: CellRange, *, after: Sequence[str | int] = ()
) -> Iterator[tuple[str, str, bytes]]:
    """Yield (group, event, sketch) of cells that have one, in order of group and event; fetched as they are taken.

    Only those whose (group, event) comes after ``after``.
    """
    statement = (
        select(cells.c.group_name, cells.c.event, cells.c.sketch)
        .where(*_conditions(wanted), cells.c.sketch.is_not(None))
        .order_by(*cells.primary_key)
    )
    if after:
        statement = statement.where(tuple_(cells.c.group_name, cells.c.event) > tuple_(*after))
    for row in connection.execute(statement, execution_options={"yield_per": READ_SKETCHES}):
        yield row.group_name, row.event, row.sketch


def read_exposures(
    connection: Connection, *, experiment: str | None = None
) -> dict[tuple[str, int], dict[str, int]]:
    """Return how many users each group of each (experiment, period_start_ms) has, of those that have cells.

    In one query, which looks up each group of each time at which a period may begin, instead of passing over all
    cells: rows of exposures are one in dozens.
    """
    groups, ramped = experiment_groups, experiment_groups.alias("ramped")
    times = (
        select(ramped.c.experiment_id, allocations.c.changed_at_ms.label("at_ms"))
        .join(ramped, ramped.c.id == allocations.c.group_id)
        .distinct()
        .subquery("times")
    )
    exposures = (
        select(func.sum(cells.c.exposures))
        .where(
            cells.c.experiment == experiments.c.name,
            cells.c.period_start_ms == times.c.at_ms,
            cells.c.group_name == groups.c.name,
            cells.c.event == "",
        )
        .correlate(experiments, times, groups)
        .scalar_subquery()
    )
    statement = (
        select(experiments.c.name, times.c.at_ms, groups.c.name, exposures)
        .join(groups, groups.c.experiment_id == experiments.c.id)
        .join(times, times.c.experiment_id == experiments.c.id)
    )
    if experiment is not None:
        statement = statement.where(experiments.c.name == experiment)
    users: dict[tuple[str, int], dict[str, int]] = {}
    for name, start_ms, group, found in connection.execute(statement):
        if found is not None:
            users.setdefault((name, start_ms), {})[group] = int(found)
    return users


class LookRange(NamedTuple):
    """Which looks of one experiment; None: all of them."""

    experiment: str
    period_start_ms: int | None = None
    group: str | None = None
    event: str | None = None
    metric: str | None = None
    role: str | None = None


def read_look_page(
    connection: Connection, wanted: LookRange, *, after: Sequence[str | int], limit: int
) -> list[LookRow]:
    """Return looks in order of their key, those whose key behind the experiment comes after ``after``, if given."""
    columns = (looks.c.experiment, looks.c.period_start_ms, looks.c.group_name, looks.c.event, looks.c.metric)
    statement = select(looks).order_by(*looks.primary_key).limit(limit)
    for column, value in zip((*columns, looks.c.role), wanted, strict=True):
        if value is not None:
            statement = statement.where(column == value)
    if after:
        statement = statement.where(tuple_(*list(looks.primary_key)[1:]) > tuple_(*after))
    return [LookRow(*row) for row in connection.execute(statement)]


def _conditions(wanted: CellRange) -> list[ColumnElement[bool]]:
    conditions = [
        cells.c.experiment == wanted.experiment,
        cells.c.period_start_ms == wanted.period_start_ms,
    ]
    if wanted.group is not None:
        conditions.append(cells.c.group_name == wanted.group)
    if wanted.event is not None:
        conditions.append(cells.c.event == wanted.event)
    if wanted.from_ms is not None:
        conditions.append(cells.c.bucket_start_ms >= wanted.from_ms)
    if wanted.to_ms is not None:
        conditions.append(cells.c.bucket_start_ms < wanted.to_ms)
    return conditions
