"""Newest looks of known comparisons, and how they came to be, by the index alone: for a page of all experiments."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sqlalchemy import BigInteger, column, text

from rtexp.store.looks import LookRow
from rtexp.store.schema import cells, looks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection, TextualSelect

_KEYS_AT_ONCE = 50
K = TypeVar("K", bound=tuple[object, ...])
_COMPARISON = tuple(column.name for column in looks.primary_key)[:-1]
_GROUP = ("experiment", "period_start_ms", "group_name")


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
        for row in connection.execute(_newest(len(keys)), _parameters(keys)):
            yield LookRow(*row)


def read_steps(connection: Connection, wanted: Iterable[Comparison]) -> dict[Comparison, list[Step]]:
    """Return all looks of each comparison that has any, in order of time."""
    found: dict[Comparison, list[Step]] = {}
    for keys in _batches(wanted):
        for row in connection.execute(_steps(len(keys)), _parameters(keys)):
            found.setdefault(Comparison(*row[:7]), []).append(Step(*row[7:]))
    for steps in found.values():
        steps.sort()
    return found


def read_users_of(
    connection: Connection, wanted: Iterable[tuple[str, int, str]]
) -> dict[tuple[str, int], dict[str, int]]:
    """Return how many users were exposed so far of each (experiment, period_start_ms, group), by the first two."""
    users: dict[tuple[str, int], dict[str, int]] = {}
    for keys in _batches(wanted):
        for name, start_ms, group, exposures in connection.execute(_users(len(keys)), _parameters(keys)):
            users.setdefault((name, start_ms), {})[group] = int(exposures)
    return users


# Written out, as no other form makes all three databases look each key up in the index: SQLite goes through all of it
# for a list of tuples, and MySQL's collations don't let a column be compared with that of a list of literals.


@cache
def _newest(keys: int) -> TextualSelect:
    newest = "look = (SELECT MAX(look) FROM looks WHERE {})"
    each = (f"({key} AND {newest.format(key)})" for key in _conditions(_COMPARISON, keys))
    columns = ", ".join(looks.c.keys())
    return text(f"SELECT {columns} FROM looks WHERE {' OR '.join(each)}").columns(*looks.c)  # noqa: S608 - ours


@cache
def _steps(keys: int) -> TextualSelect:
    names = (*_COMPARISON, *Step._fields)
    each = (f"({key})" for key in _conditions(_COMPARISON, keys))
    statement = f"SELECT {', '.join(names)} FROM looks WHERE {' OR '.join(each)}"  # noqa: S608 - ours
    return text(statement).columns(*(looks.c[name] for name in names))


@cache
def _users(keys: int) -> TextualSelect:
    names = ", ".join(_GROUP)
    each = (f"({key} AND event = '')" for key in _conditions(_GROUP, keys))
    condition = " OR ".join(each)
    statement = f"SELECT {names}, SUM(exposures) FROM cells WHERE {condition} GROUP BY {names}"  # noqa: S608 - ours
    return text(statement).columns(*(cells.c[name] for name in _GROUP), column("exposures", BigInteger))


def _conditions(names: Sequence[str], keys: int) -> Iterator[str]:
    for number in range(keys):
        yield " AND ".join(f"{name} = :k{number}_{i}" for i, name in enumerate(names))


def _parameters(keys: Sequence[tuple[object, ...]]) -> dict[str, object]:
    return {f"k{number}_{i}": value for number, key in enumerate(keys) for i, value in enumerate(key)}


def _batches(keys: Iterable[K]) -> Iterator[list[K]]:
    found = list(keys)
    for start in range(0, len(found), _KEYS_AT_ONCE):
        yield found[start : start + _KEYS_AT_ONCE]
