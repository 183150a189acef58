"""Event times as raw input gives them: in the configured unit, or as ISO 8601 text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtexp.settings import TimeFormat

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_MICROSECONDS = {"s": 1_000_000, "ms": 1000, "us": 1}
LAST_MS = 253_402_300_799_999
"""The end of the year 9999; Kafka's record times start at 0."""


def readable_ms(value: object, time_format: TimeFormat) -> int | None:
    """Return a raw record's time in epoch ms, or None where it can't be the time of a Kafka record.

    >>> readable_ms(1700000000, "s"), readable_ms("2023-11-14T22:13:20Z", "iso8601"), readable_ms(True, "ms")
    (1700000000000, 1700000000000, None)
    """
    microseconds: int | None = None
    if time_format == "iso8601":
        microseconds = _iso_microseconds(value) if isinstance(value, str) else None
    elif isinstance(value, int) and not isinstance(value, bool):
        microseconds = value * _MICROSECONDS[time_format]
    if microseconds is None or not 0 <= microseconds <= LAST_MS * 1000:
        return None
    return microseconds // 1000


def converted(value: object, time_format: TimeFormat) -> object:
    """Return a column's time as the configured format wants it; what can't be a time comes back as it is.

    >>> converted("1700000000000", "ms"), converted("2023-11-14T22:13:20Z", "ms"), converted("soon", "ms")
    (1700000000000, 1700000000000, 'soon')
    """
    if time_format == "iso8601" or not isinstance(value, str):
        return value
    if _INTEGER.fullmatch(value):
        return int(value)
    microseconds = _iso_microseconds(value)
    return value if microseconds is None else microseconds // _MICROSECONDS[time_format]


def from_ticks(ticks: int, a_second: int, time_format: TimeFormat) -> object:
    """Return a time, given as so many ticks since 1970, in the configured format; whole units are rounded down.

    >>> from_ticks(1700000000123456789, 1_000_000_000, "ms"), from_ticks(1700000000, 1, "iso8601")
    (1700000000123, '2023-11-14T22:13:20+00:00')
    """
    microseconds = ticks * 1_000_000 // a_second
    if time_format != "iso8601":
        return microseconds // _MICROSECONDS[time_format]
    try:
        return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:  # no year of four digits, so no ISO 8601 either
        return str(ticks)


def shifted(value: object, time_format: TimeFormat, by_ms: int) -> object:
    """Return a time moved by so many ms, in its own format; what isn't a time, or would be none, comes back as it is.

    >>> shifted("2023-11-14T22:13:20Z", "iso8601", 1000), shifted("9999-12-31", "iso8601", 86_400_000)
    ('2023-11-14T22:13:21+00:00', '9999-12-31')
    """
    if readable_ms(value, time_format) is None:
        return value
    if isinstance(value, str):
        at = _EPOCH + timedelta(microseconds=_iso_microseconds(value) or 0)
        try:
            return (at + timedelta(milliseconds=by_ms)).isoformat()
        except OverflowError:  # a year of five digits
            return value
    assert isinstance(value, int)
    return value + by_ms * 1000 // _MICROSECONDS[time_format]


def _iso_microseconds(text: str) -> int | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(microseconds=1)
