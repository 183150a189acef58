"""Columns of text for people: as wide as they need, the same on a terminal and in a pipe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return lines of aligned columns, two spaces apart.

    >>> print(text_table(["group", "users"], [["control", "9"], ["b", "10"]]))
    group    users
    control  9
    b        10
    """
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def printable(name: str) -> str:
    r"""Return a name as a terminal may show it: what would move the cursor or break the line is escaped.

    >>> printable(f"new{chr(27)}feed")
    'new\\x1bfeed'
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name
    )


def iso_time(at_ms: int) -> str:
    """Return a time as ISO 8601 in UTC, as short as it can be said; epoch ms where no year has four digits.

    >>> iso_time(1_700_000_000_000), iso_time(1_699_920_000_500)
    ('2023-11-14T22:13:20Z', '2023-11-14T00:00:00.500Z')
    """
    try:
        at = _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return f"{at_ms} ms"
    whole = "seconds" if at_ms % 1000 == 0 else "milliseconds"
    return at.replace(tzinfo=None).isoformat(timespec=whole) + "Z"
