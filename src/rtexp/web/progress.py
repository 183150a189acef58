"""How complete the numbers are: up to when all that arrived has been counted, and what holds the rest back."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

from rtexp.records import partials

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rtexp.settings import Settings
    from rtexp.store.operations import PipelineRow

_COUNTING = frozenset({"aggregate", "results"})
"""The jobs that numbers pass through; ingest's positions are in what aggregate says."""
_PATIENCE_SECONDS = 60
"""Beyond what is waited for by design; then the numbers are called late."""


class Progress(NamedTuple):
    """Of the whole pipeline, or of the partition that one experiment's results are in."""

    until_ms: int
    """All that arrived before has been counted."""
    behind_ms: int
    """From there to the clock; with clock = "records" always 0, as records don't follow it."""
    is_late: bool
    slowest: PipelineRow
    """What holds the rest back."""
    held: int
    """Rows that wait for other input or for metadata; none of them is lost."""
    rewinding: Sequence[PipelineRow]
    """Partitions that are still coming back to where they were."""


def progress(
    rows: Iterable[PipelineRow], settings: Settings, *, now_ms: int, experiment: str | None = None
) -> Progress | None:
    """Return what these rows say together: the slowest that an experiment's numbers pass through decides."""
    mine = None if experiment is None else zlib.crc32(experiment.encode()) % partials.PARTITIONS
    known = [
        row
        for row in rows
        if row.job in _COUNTING
        and row.watermark_ms > 0
        and (mine is None or row.job != "results" or row.partition == mine)
    ]
    if not known:
        return None
    slowest = min(known, key=lambda row: row.watermark_ms)
    live = settings.pipeline.clock == "live"
    behind_ms = max(now_ms - slowest.watermark_ms, 0) if live else 0
    return Progress(
        slowest.watermark_ms,
        behind_ms,
        behind_ms > 1000 * (_waited_seconds(settings) + _PATIENCE_SECONDS),
        slowest,
        sum(row.held for row in known),
        [row for row in known if row.rewind_done < row.rewind_total],
    )


def _waited_seconds(settings: Settings) -> float:
    """Return what lies between arrival and being counted by design."""
    return settings.pipeline.join_delay_seconds + settings.pipeline.out_of_order_seconds
