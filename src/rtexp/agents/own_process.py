"""What a worker says of the process that it runs in: since when, how often started, memory and CPU time."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from rtexp.records.status import Process

if TYPE_CHECKING:
    from collections.abc import Callable

STARTS_NAME = "starts"
"""File in a worker's data directory: how often a worker has been started with it, in decimal."""
_STATM = Path("/proc/self/statm")


class OwnProcess:
    """Measures the process that asks; one for each start of a worker, as it counts the start."""

    def __init__(
        self,
        directory: Path,
        url: Callable[[], str] = str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``directory`` is the worker's own, and nobody else's now; ``url`` says where it serves pages."""
        self._url = url
        self._started_ms = int(clock() * 1000)
        self._restarts = _count_start(directory / STARTS_NAME) - 1

    def measure(self) -> Process:
        """Return what the system says now; takes some 70 us."""
        spent = os.times()
        return Process(
            self._started_ms,
            self._restarts,
            resident_bytes(),
            round(spent.user + spent.system, 2),
            self._url(),
        )


def resident_bytes() -> int:
    """Return how much memory this process has in RAM; 0 where the system has no `/proc`."""
    try:
        pages = int(_STATM.read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def restarts_of(directory: Path) -> int | None:
    """Return how often a worker was started again with its data directory; None before it has counted its start."""
    try:
        return int((directory / STARTS_NAME).read_text("ascii")) - 1
    except (OSError, ValueError):
        return None


def _count_start(path: Path) -> int:
    """Add one to the number in a file; a file that is missing or damaged counts as none before."""
    starts = 0
    with suppress(OSError, ValueError):
        starts = int(path.read_text("ascii"))
    try:
        # Not synced: after a loss of power a number too small is no harm.
        fresh = path.with_name(f"{STARTS_NAME}.new")
        fresh.write_text(str(starts + 1), "ascii")
        fresh.replace(path)
    except OSError as error:  # it is for display only; a worker that can't write here ends by other causes
        structlog.get_logger(__name__).warning("start_not_counted", path=str(path), error=str(error))
    return starts + 1
