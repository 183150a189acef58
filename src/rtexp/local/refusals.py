"""`FILE.refused.jsonl`: the rows of a file that couldn't be sent, with their numbers and reasons."""

from __future__ import annotations

from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import msgspec

from rtexp.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rtexp.local.rows import Refused

_encode = msgspec.json.Encoder().encode


def refusals_path(path: Path) -> Path:
    """Return where a file's refused rows go: beside it."""
    return path.with_name(f"{path.name}.refused.jsonl")


@contextmanager
def refusals(path: Path) -> Iterator[Callable[[Refused], None]]:
    """Write down what is refused of the input file ``path``, one JSON object a row.

    A file of an earlier replay goes first: it would speak of rows that may be right by now. Without refusals
    none is made. UsageError if it can't be written.
    """
    target = refusals_path(path)
    file: IO[bytes] | None = None

    def write(refused: Refused) -> None:
        nonlocal file
        if file is None:
            file = target.open("wb")
        file.write(_encode(refused._asdict()) + b"\n")

    try:
        target.unlink(missing_ok=True)
        yield write
    except OSError as exc:
        raise UsageError(f"{target} can't be written: {exc}") from exc
    finally:
        if file is not None:
            file.close()
