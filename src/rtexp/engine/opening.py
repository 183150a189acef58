"""Opening what may never return: on some damaged files RocksDB runs for ever, and holds the interpreter lock meanwhile.

No Python code can end that, so a watchdog of the C library does; a mark beside the store tells the next start.
"""

from __future__ import annotations

import faulthandler
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPEN_SECONDS = 120.0
"""A sound store opens in some 20 ms."""
_STANDARD_ERROR = 2

_one_at_a_time = threading.Lock()
"""The watchdog is the process's only one."""


def mark_of(path: Path) -> Path:
    """Return where it stands, while ``path`` is being opened, that it is."""
    return path.with_name(f"{path.name}.opening")


@contextmanager
def watched(path: Path) -> Iterator[None]:
    """End the process, with a traceback and exit code 1, if the body takes longer than `OPEN_SECONDS`.

    The mark then stays; it goes when the body ends, whatever its outcome. OSError if it can't be made.
    """
    mark = mark_of(path)
    with _one_at_a_time:
        mark.touch()
        faulthandler.dump_traceback_later(OPEN_SECONDS, exit=True, file=_STANDARD_ERROR)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            mark.unlink(missing_ok=True)
