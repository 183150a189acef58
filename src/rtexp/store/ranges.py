"""Parts of cells and looks, page by page, for those who can't take all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, func, or_, select, tuple_

from rtexp.store.cells import CellRow
from rtexp.store.looks import LookRow
from rtexp.store.mysql import is_mysql
from rtexp.store.schema import allocations, cells, experiment_groups, experiments, looks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Select

READ_ROWS = 1_000
READ_SKETCHES = 300
"""At a time: they have some KB each."""
_KEY = (cells.c.group_name, cells.c.event, cells.c.bucket_start_ms)
"""Within an experiment and period."""
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
    connection: Connection, wanted: CellRange, *, after: Sequence[str | int] = (), size: int = READ_ROWS
) -> Iterator[CellRow]:
    """Yield cells without their sketches (None) in order of group, event and bucket, ``size`` of them a query.

    Only those whose (group, event, bucket) comes after ``after``, if given.
    """
    for row in _pages(connection, select(*_COUNTS), wanted, after, size):
        yield CellRow(**row._mapping, sketch=None)  # noqa: SLF001 - SQLAlchemy's public name for a row by column


def read_sketches(
    connection: Connection, wanted: CellRange, *, after: Sequence[str | int] = (), size: int = READ_SKETCHES
) -> Iterator[tuple[str, str, bytes]]:
    """Yield (group, event, sketch) of cells that have one, as `read_counts` does."""
    columns = (*_KEY, cells.c.sketch)
    statement = select(*columns).where(cells.c.sketch.is_not(None))
    for row in _pages(connection, statement, wanted, after, size):
        yield row.group_name, row.event, row.sketch


def _pages(
    connection: Connection, statement: Select[Any], wanted: CellRange, after: Sequence[str | int], size: int
) -> Iterator[Row[Any]]:
    """Yield rows by queries that each take ``size`` from the primary key, so that whoever stops early reads no more.

    One query that is fetched as it is taken has to be fetched to its end, where servers of SQL send all of it.
    """
    # Only by what differs: MariaDB sorts by the whole key, though it reads by that key anyway.
    statement = statement.where(*_conditions(connection, wanted)).order_by(*_KEY).limit(size)
    while True:
        page = statement.where(_comes_after(connection, _KEY, after)) if after else statement
        rows = connection.execute(page).all()
        yield from rows
        if len(rows) < size:
            return
        after = (rows[-1].group_name, rows[-1].event, rows[-1].bucket_start_ms)


def _comes_after(
    connection: Connection, columns: Sequence[ColumnElement[Any]], key: Sequence[str | int]
) -> ColumnElement[bool]:
    """Return (columns) > (key), in the words by which the database begins to read its index there.

    Those are tuples in SQLite alone: MySQL and MariaDB would read what comes before as well.
    """
    if not is_mysql(connection.dialect):
        return tuple_(*columns) > tuple_(*key)
    behind = columns[-1] > key[-1]
    for column, value in reversed(list(zip(columns[:-1], key[:-1], strict=True))):
        behind = or_(column > value, and_(column == value, behind))
    return behind


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
    statement = select(looks).order_by(*list(looks.primary_key)[1:]).limit(limit)
    for column, value in zip((*columns, looks.c.role), wanted, strict=True):
        if value is not None:
            statement = statement.where(column == value)
    if after:
        statement = statement.where(_comes_after(connection, list(looks.primary_key)[1:], after))
    return [LookRow(*row) for row in connection.execute(statement)]


def _conditions(connection: Connection, wanted: CellRange) -> list[ColumnElement[bool]]:
    conditions = [
        cells.c.experiment == wanted.experiment,
        cells.c.period_start_ms == wanted.period_start_ms,
    ]
    if wanted.group is not None:
        conditions.append(cells.c.group_name == wanted.group)
    elif wanted.event is not None:
        # The key has groups before events: without them all events would be read to find one.
        conditions.append(cells.c.group_name.in_(_groups(connection, wanted.experiment)))
    if wanted.event is not None:
        conditions.append(cells.c.event == wanted.event)
    if wanted.from_ms is not None:
        conditions.append(cells.c.bucket_start_ms >= wanted.from_ms)
    if wanted.to_ms is not None:
        conditions.append(cells.c.bucket_start_ms < wanted.to_ms)
    return conditions


def _groups(connection: Connection, experiment: str) -> list[str]:
    """Return the groups that there can be cells of."""
    statement = (
        select(experiment_groups.c.name)
        .join(experiments, experiments.c.id == experiment_groups.c.experiment_id)
        .where(experiments.c.name == experiment)
    )
    return list(connection.scalars(statement))
