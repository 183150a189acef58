"""Rows of a file on their way to raw records: how columns become fields, and which rows can't be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from rtexp.local.raw_writer import MAX_RECORD_BYTES
from rtexp.local.times import converted, readable_ms, shifted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtexp.local.raw_records import Kind
    from rtexp.settings import Settings, TimeFormat

TARGETS: Mapping[Kind, tuple[str, ...]] = {
    "actions": ("user", "event", "time"),
    "activations": ("user", "experiment", "group", "time"),
}
"""What raw records are made of; columns can be mapped to these."""

_encode = msgspec.json.Encoder().encode


class Sendable(NamedTuple):
    """One row, ready to go."""

    row: int
    """Its number, from 1; headers and empty lines don't count."""
    at_ms: int | None
    """Its record time; None where the row has no readable time: it goes with the row before it."""
    key: bytes | None
    value: bytes


class Refused(NamedTuple):
    """One row that can't be sent."""

    row: int
    line: int | None
    """Where in the file it begins, from 1; None where a file has no lines."""
    reason: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows of one kind become raw records."""

    kind: Kind
    paths: Mapping[str, str]
    """The configured field path of each target."""
    time_format: TimeFormat
    columns: Mapping[str, str]
    """The column, or field path, that a target comes from, where it isn't the configured one."""
    arrival: str | None = None
    """The column of record times; None: the event times."""
    shift_ms: int = 0
    """By how much record times and event times are moved."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        kind: Kind,
        columns: Mapping[str, str] | None = None,
        arrival: str | None = None,
    ) -> Layout:
        """Take field paths and time format from the settings; ``columns`` of the other kind are left out."""
        section = settings.actions if kind == "actions" else settings.activations
        paths = {target: getattr(section, target) for target in TARGETS[kind]}
        mine = {target: column for target, column in (columns or {}).items() if target in paths}
        return cls(kind, paths, section.time_format, mine, arrival)

    def source(self, target: str) -> str:
        """Return the column, or field path, that a target comes from."""
        return self.columns.get(target, self.paths[target])


class UnsendableError(Exception):
    """A row lacks what it is to be made of, or is too large."""


def made(row: int, found: Mapping[str, object], layout: Layout, arrival_ms: int | None) -> Sendable:
    """Build the raw record that the configured field paths describe."""
    time = converted(found["time"], layout.time_format)
    at_ms = readable_ms(time, layout.time_format) if arrival_ms is None else arrival_ms
    if layout.shift_ms:
        time = shifted(time, layout.time_format, layout.shift_ms)
    document: dict[str, Any] = {}
    for target, field in found.items():
        place(document, layout.paths[target], time if target == "time" else field)
    return sendable(row, moved_ms(at_ms, layout), key_of(found["user"]), _encode(document))


def sendable(row: int, at_ms: int | None, key: bytes | None, value: bytes) -> Sendable:
    """Return the row; UnsendableError if no broker takes it."""
    if len(value) + len(key or b"") > MAX_RECORD_BYTES:
        raise UnsendableError(f"more than {MAX_RECORD_BYTES} bytes")
    return Sendable(row, at_ms, key, value)


def checked_arrival_ms(found: object, layout: Layout) -> int:
    """Return a row's record time, not moved yet; UnsendableError if it isn't one."""
    arrival_ms = readable_ms(converted(found, layout.time_format), layout.time_format)
    if arrival_ms is None:
        raise UnsendableError(f"{layout.arrival} is no time in the configured format, {layout.time_format}")
    return arrival_ms


def moved_ms(at_ms: int | None, layout: Layout) -> int | None:
    """Return a record time moved as the layout says."""
    return None if at_ms is None else at_ms + layout.shift_ms


def key_of(user: object) -> bytes | None:
    """Return the user as a record's key; None for what can't be one."""
    if isinstance(user, str):
        return user.encode()
    return str(user).encode() if isinstance(user, int) and not isinstance(user, bool) else None


def place(document: dict[str, Any], path: str, value: object) -> None:
    """Put a value where a field path leads, making the objects on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
    document[name] = value
