"""Newest looks of known comparisons, and how they came to be, by the index alone: for a page of all experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sqlalchemy import and_, func, select, tuple_

from rtexp.store.looks import LookRow
from rtexp.store.schema import cells, looks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

_KEYS_AT_ONCE = 500
"""Of seven parameters each; SQLite takes 32,766 in one statement, MySQL 65,535."""
K = TypeVar("K", bound=tuple[object, ...])
_COMPARISON = tuple(looks.primary_key)[:-1]


class Comparison(NamedTuple):
    """What a look is of: the key of ``looks`` without its number."""

    experiment: str
    period_start_ms: int
    group: str
    event: str
    metric: str
    role: str
    method: str


class Step(NamedTuple):
    """One look of a comparison, as far as a curve and its changes need it."""

    look: int
    scheduled_ms: int
    evaluated_ms: int
    z: float | None
    boundary: float | None
    crossed: bool
    state: str


def read_newest_of(connection: Connection, wanted: Iterable[Comparison]) -> Iterator[LookRow]:
    """Yield the newest look of each comparison that has any; in no order, no key twice.

    Unlike `read_newest_looks` it touches no look of other comparisons, however many there are.
    """
    for keys in _batches(wanted):
        newest = (
            select(*_COMPARISON, func.max(looks.c.look).label("look"))
            .where(tuple_(*_COMPARISON).in_(keys))
            .group_by(*_COMPARISON)
            .subquery()
        )
        same = and_(*(looks.c[column.name] == column for column in newest.c))
        for row in connection.execute(select(looks).join(newest, same)):
            yield LookRow(*row)


def read_steps(connection: Connection, wanted: Iterable[Comparison]) -> dict[Comparison, list[Step]]:
    """Return all looks of each comparison that has any, in order of time."""
    columns = [looks.c[name] for name in Step._fields]
    found: dict[Comparison, list[Step]] = {}
    for keys in _batches(wanted):
        statement = select(*_COMPARISON, *columns).where(tuple_(*_COMPARISON).in_(keys))
        for row in connection.execute(statement.order_by(*looks.primary_key)):
            parts = tuple(row)
            found.setdefault(Comparison(*parts[:7]), []).append(Step(*parts[7:]))
    return found


def read_users_of(
    connection: Connection, wanted: Iterable[tuple[str, int, str]]
) -> dict[tuple[str, int], dict[str, int]]:
    """Return how many users were exposed so far of each (experiment, period_start_ms, group), by the first two."""
    key = (cells.c.experiment, cells.c.period_start_ms, cells.c.group_name)
    users: dict[tuple[str, int], dict[str, int]] = {}
    for keys in _batches(wanted):
        exact = [(*each, "") for each in keys]
        statement = select(*key, func.sum(cells.c.exposures)).where(tuple_(*key, cells.c.event).in_(exact))
        for name, start_ms, group, exposures in connection.execute(statement.group_by(*key)):
            users.setdefault((name, start_ms), {})[group] = int(exposures)
    return users


def _batches(keys: Iterable[K]) -> Iterator[list[K]]:
    found = list(keys)
    for start in range(0, len(found), _KEYS_AT_ONCE):
        yield found[start : start + _KEYS_AT_ONCE]
