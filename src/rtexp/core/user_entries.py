"""One user of the users table, decoded: triggers with what they have counted, hours of the cap, newest actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtexp.core.buckets import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtexp.core.columns import Ints
    from rtexp.core.users_columns import ColumnarUsers


@dataclass(frozen=True, slots=True)
class TriggerEntry:
    """A group that the user is in, since when, and how many actions of each event have counted for it."""

    experiment: str
    period_start_ms: int
    group: str
    at_ms: int
    arrival_ms: int
    period_end_ms: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class HourEntry:
    """How many actions were kept in an hour of arrival that the cap may still ask for."""

    hour_start_ms: int
    kept: int


@dataclass(frozen=True, slots=True)
class ActionEntry:
    """An action whose repeats are still looked for."""

    event: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class UserEntry:
    """All that is kept of one user. Nothing is left out, so what isn't here is forgotten."""

    triggers: Sequence[TriggerEntry]
    """By experiment, period and group."""
    hours: Sequence[HourEntry]
    """The newest first, two at most."""
    actions: Sequence[ActionEntry]
    """The newest first, by their own time."""


def find_user(users: ColumnarUsers, name: str) -> UserEntry | None:
    """Return what is kept of a user, None if nothing is; changes nothing. A fraction of a millisecond."""
    rows = users.names.find([name])
    if rows[0] < 0:
        return None
    entry = UserEntry(_triggers(users, rows), _hours(users, rows), _actions(users, int(rows[0])))
    # A row is given back some time after all in it is over; until then it holds nothing that matters.
    return entry if entry.triggers or entry.hours or entry.actions else None


def _triggers(users: ColumnarUsers, rows: Ints) -> list[TriggerEntry]:
    table = users.triggers
    _, found = table.of(rows)
    columns = zip(
        table.group[found].tolist(), table.at_ms[found].tolist(), table.arrival_ms(found).tolist(),
        table.end_ms(found).tolist(), table.counts(found).tolist(),
        strict=True,
    )  # fmt: skip
    entries = [
        TriggerEntry(
            *users.groups.name(group), at_ms, arrival_ms, end_ms,
            {event: count for event, count in zip(users.event_names, counts, strict=True) if count},
        )
        for group, at_ms, arrival_ms, end_ms, counts in columns
    ]  # fmt: skip
    return sorted(entries, key=lambda entry: (entry.experiment, entry.period_start_ms, entry.group))


def _hours(users: ColumnarUsers, rows: Ints) -> list[HourEntry]:
    newest, newest_count, older, older_count = (int(column[0]) for column in users.live_hours(rows))
    found = ((newest, newest_count), (older, older_count))
    return [HourEntry(hour * HOUR_MS, count) for hour, count in found if hour >= 0]


def _actions(users: ColumnarUsers, row: int) -> list[ActionEntry]:
    entries = [
        ActionEntry(users.event_names[event], at_ms)
        for kept in users.repeats.of(row)
        if kept.slot >= users.oldest_slot
        for event, at_ms in zip(kept.events.tolist(), kept.times.tolist(), strict=True)
    ]
    return sorted(entries, key=lambda entry: (-entry.at_ms, entry.event))
