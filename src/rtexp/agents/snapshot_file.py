"""The newest snapshot as a CSV file for people and programs: every ramp and the period in which it lies."""

from __future__ import annotations

import asyncio
import io
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog
from fsspec.core import split_protocol, url_to_fs

from rtexp.settings import masked_url
from rtexp.store import csv_text
from rtexp.store.whole_file import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import FilteringBoundLogger

    from rtexp.records import snapshot as wire
    from rtexp.settings import Settings

NAME = "ramped_groups.csv"
INTERVAL_MS = 5 * 60_000
REMINDER_MS = 60_000
PATIENCE_SECONDS = 5.0
"""How long a poll waits for a file system; it goes on writing while polls go on."""


class RampedGroup(NamedTuple):
    """One line of the file: an increase of a group's share, and the period in which it lies."""

    experiment: str
    group: str
    ramped_at_ms: int
    period_start_ms: int
    period_end_ms: int


def ramped_groups(taken: wire.Snapshot) -> Iterator[RampedGroup]:
    """Yield one line for every ramp, in the order of the snapshot."""
    for experiment in taken.experiments:
        for ramp in experiment.ramps:
            period = next(p for p in experiment.periods if p.start_ms <= ramp.at_ms < p.end_ms)
            yield RampedGroup(experiment.name, ramp.group, ramp.at_ms, period.start_ms, period.end_ms)


class SnapshotFile:
    """Written every five minutes; what goes wrong is logged each minute and tried again at every poll."""

    def __init__(self, place: Path | str) -> None:
        self._place = place
        self._due_ms = 0
        self._told_ms: int | None = None
        self._writing: asyncio.Task[None] | None = None
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)

    async def keep(self, taken: wire.Snapshot, now_ms: int) -> None:
        """Write the file if it is due, waiting `PATIENCE_SECONDS` at most; it raises nothing."""
        if now_ms < self._due_ms or (self._writing and not self._writing.done()):
            return
        self._writing = asyncio.create_task(self._write(taken, now_ms))
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._writing), PATIENCE_SECONDS)

    async def _write(self, taken: wire.Snapshot, now_ms: int) -> None:
        try:
            await asyncio.to_thread(write_csv, self._place, taken)
        except Exception as error:  # noqa: BLE001 - every file system has its own; none may end the worker
            if self._told_ms is None or now_ms >= self._told_ms + REMINDER_MS:
                self._told_ms = now_ms
                place = masked_url(str(self._place))
                self._log.warning("csv_not_written", place=place, error=masked_url(repr(error)))
        else:
            self._due_ms = now_ms + INTERVAL_MS
            self._told_ms = None


def csv_place(settings: Settings) -> Path | str:
    """Return where the file goes: to ``metadata.csv_url``, or into it where it is a directory, or the data directory.

    A path is on this machine, a text an fsspec URL of somewhere else.
    """
    url = settings.metadata.csv_url
    if not url:
        return settings.data.directory / NAME
    protocol, path = split_protocol(url)
    if protocol in {None, "file", "local"}:
        return Path(path) / NAME if path.endswith("/") or Path(path).is_dir() else Path(path)
    return f"{url}{NAME}" if url.endswith("/") else url


def write_csv(place: Path | str, taken: wire.Snapshot) -> None:
    """Replace the file at once: a reader sees the old lines or the new, never some of both.

    So does an object store, which is handed all of it in one piece; other file systems behind a URL may not.
    """
    text = io.StringIO()
    csv_text.write_csv(text, RampedGroup._fields, ramped_groups(taken))
    if isinstance(place, Path):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as file:
            file.write(text.getvalue())
        return
    files, path = url_to_fs(place)
    if files.isdir(path):
        path = f"{path.rstrip('/')}/{NAME}"
    files.pipe_file(path, text.getvalue().encode())
