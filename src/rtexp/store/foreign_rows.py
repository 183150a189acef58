"""From the rows of ``[metadata] query`` to experiments, or to what is wrong with them."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from rtexp.records.snapshot import Allocation
from rtexp.store.definitions import Experiment, check_name, epoch_ms
from rtexp.store.foreign import QueryFailed
from rtexp.store.yaml_places import FaultAt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtexp.store.foreign import Yield

COLUMNS = ("experiment", "group", "control", "percent", "changed_at")
_OTHER_NAMES = {"group_name": "group"}
"""`group` is a word of SQL's own, which must be quoted."""
EARLIEST_MS, LATEST_MS = 946_684_800_000, 253_402_300_799_999
"""The years 2000 to 9999: seconds since 1970, taken for ms, lie before."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,30})?")
_FLAGS = {0: False, 1: True}


class Refusal(NamedTuple):
    """Why an experiment isn't taken over from the rows as they are now."""

    row: int
    """The first one concerned, counted from 1."""
    experiment: str
    """Empty: the row doesn't say whose it is."""
    reason: str


class Yielded(NamedTuple):
    """What rows say: experiments that are right by themselves, and what is wrong with the others."""

    experiments: Sequence[Experiment]
    refusals: Sequence[Refusal]
    rows: Mapping[tuple[str, Allocation | None], int]
    """Where an experiment's allocation stands, or, under None, its first one."""


class _Row(NamedTuple):
    number: int
    group: str
    control: str | bool
    percent: float
    at_ms: int


def experiments_of(found: Yield) -> Yielded:
    """Return the experiments of rows, in the order of their first ones.

    An experiment with a row that is wrong is refused as a whole: what that one should have been, put in later, might
    move periods. QueryFailed if a column is missing.
    """
    positions = _positions(found.columns)
    by_name: defaultdict[str, list[_Row]] = defaultdict(list)
    refusals: dict[str, Refusal] = {}
    nameless: list[Refusal] = []
    for number, values in enumerate(found.rows, 1):
        name = ""
        try:
            name = _name("experiment", values[positions["experiment"]])
            by_name[name].append(_row(number, {key: values[at] for key, at in positions.items()}))
        except FaultAt as fault:
            refusal = Refusal(number, name, str(fault))
            if name:
                refusals.setdefault(name, refusal)
            else:
                nameless.append(refusal)
    experiments: list[Experiment] = []
    places: dict[tuple[str, Allocation | None], int] = {}
    for name, rows in by_name.items():
        if name in refusals:
            continue
        try:
            experiments.append(_experiment(name, rows))
        except FaultAt as fault:
            refusals[name] = Refusal(rows[0].number, name, str(fault))
        else:
            places[name, None] = rows[0].number
            for row in reversed(rows):
                places[name, Allocation(row.group, row.percent, row.at_ms)] = row.number
    return Yielded(experiments, sorted([*nameless, *refusals.values()]), places)


def _positions(columns: Sequence[str]) -> dict[str, int]:
    positions: dict[str, int] = {}
    for at, column in enumerate(columns):
        name = _OTHER_NAMES.get(column.lower(), column.lower())
        if name in positions and name in COLUMNS:
            raise QueryFailed(f"[metadata] query yields two columns `{name}`: expected one")
        positions[name] = at
    if missing := [name for name in COLUMNS if name not in positions]:
        raise QueryFailed(
            f"[metadata] query yields no column `{missing[0]}`: expected {', '.join(COLUMNS)}, "
            f"found {', '.join(columns)}"
        )
    return {name: positions[name] for name in COLUMNS}


def _row(number: int, values: Mapping[str, Any]) -> _Row:
    return _Row(
        number,
        _name("group", values["group"]),
        _control(values["control"]),
        _percent(values["percent"]),
        _changed_at(values["changed_at"]),
    )


def _experiment(name: str, rows: Sequence[_Row]) -> Experiment:
    groups = tuple(dict.fromkeys(row.group for row in rows))
    control = _control_of(rows)
    if control not in groups:
        raise FaultAt(
            "control", f"expected one of its groups, which are {', '.join(groups)}, found `{control}`"
        )
    if len(groups) == 1:
        raise FaultAt("group", "expected the control and at least one group to compare with it")
    percents: dict[tuple[str, int], float] = {}
    for row in rows:
        known = percents.setdefault((row.group, row.at_ms), row.percent)
        if known != row.percent:
            raise FaultAt(
                "percent",
                f"`{row.group}` has {known:g} and {row.percent:g} percent at {row.at_ms} ms (row {row.number})",
            )
    allocations = [Allocation(group, percent, at_ms) for (group, at_ms), percent in percents.items()]
    return Experiment(name, control, groups, tuple(sorted(allocations, key=lambda a: a.at_ms)))


def _control_of(rows: Sequence[_Row]) -> str:
    names = {row.control for row in rows if isinstance(row.control, str)}
    flagged = {row.group for row in rows if row.control is True}
    others = {row.group for row in rows if row.control is False}
    if names and (flagged or others):
        raise FaultAt("control", "expected a group's name in every row, or 0 or 1 in every row, found both")
    if both := flagged & others:
        raise FaultAt("control", f"expected the same in every row of `{min(both)}`, found 0 and 1")
    found = names or flagged
    if len(found) != 1:
        kinds = ", ".join(f"`{one}`" for one in sorted(found)) or "none"
        raise FaultAt("control", f"expected one group that is the control, found {kinds}")
    return found.pop()


def _name(column: str, value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")  # what isn't UTF-8 is told as half a surrogate pair
    if not isinstance(value, str):
        raise _wrong(column, "text", value)
    check_name(column, value)
    return value


def _control(value: Any) -> str | bool:
    """Return the control's name, or whether the row's group is the control: text is one, 0 or 1 the other."""
    if isinstance(value, bytes) and value in {b"\0", b"\1"}:  # MySQL's BIT
        return value == b"\1"
    if isinstance(value, str | bytes):
        return _name("control", value)
    if isinstance(value, int | Decimal) and value in _FLAGS:
        return bool(value)
    raise _wrong("control", "the name of the control group, or 1 in its rows and 0 in the others'", value)


def _percent(value: Any) -> float:
    number = float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
    if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
        raise _wrong("percent", "a number", value)
    if not math.isfinite(number) or not 0 <= number <= 100:  # noqa: PLR2004 - percent
        raise _wrong("percent", "0 to 100", value)
    return float(number)


def _changed_at(value: Any) -> int:
    """Return epoch ms: of a number as it is, of a DATETIME, DATE or text as UTC where it names no zone."""
    if isinstance(value, datetime):
        at = value if value.tzinfo else value.replace(tzinfo=UTC)
        at_ms = (at - _EPOCH) // timedelta(milliseconds=1)
    elif isinstance(value, date):
        at_ms = (datetime(value.year, value.month, value.day, tzinfo=UTC) - _EPOCH) // timedelta(
            milliseconds=1
        )
    elif isinstance(value, str):
        at_ms = epoch_ms("changed_at", value)
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value):
        at_ms = math.floor(value)
    else:
        raise _wrong("changed_at", "epoch ms, a DATETIME or a time of ISO 8601", value)
    if not EARLIEST_MS <= at_ms <= LATEST_MS:
        raise _wrong("changed_at", "a time since 2000, in milliseconds where it is a number", value)
    return at_ms


def _wrong(column: str, expected: str, value: Any) -> FaultAt:
    found = "NULL" if value is None else f"`{str(value)[:60]}`"
    return FaultAt(column, f"expected {expected}, found {found}")
