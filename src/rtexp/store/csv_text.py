"""Tables as CSV: the one form that exports, answers of the API and the file of ramps have."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TRUTH = {True: "true", False: "false"}
_END = "\r\n"


class _File(Protocol):
    def write(self, text: str, /) -> Any: ...


class _Lines:
    """Ends each line with a newline alone.

    The writer itself isn't told to: before Python 3.13 it quotes only those ends of lines that are its own, and a name
    with a carriage return would be two rows to whoever reads it.
    """

    def __init__(self, file: _File) -> None:
        self._file = file

    def write(self, line: str) -> None:
        self._file.write(line.removesuffix(_END) + "\n")


def write_csv(file: _File, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and the rows; NULL is an empty field, which no number and no sketch is.

    Truth is written as JSON has it, so that both forms of a table say the same.
    """
    writer = csv.writer(_Lines(file), lineterminator=_END)
    writer.writerow(columns)
    writer.writerows([_TRUTH.get(v, v) if isinstance(v, bool) else v for v in row] for row in rows)
