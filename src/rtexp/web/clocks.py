"""What pages take for now, and when a look was: with clock = "records" both are times of the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.web.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.settings import Settings
    from rtexp.store.looks import LookRow
    from rtexp.store.newest import Step
    from rtexp.store.operations import PipelineRow


class PageClock(NamedTuple):
    """By which a page tells how far a period is, and what has happened in it."""

    now_ms: int
    is_live: bool

    def of_look(self, look: Step | LookRow) -> int:
        """Return when a look was: live when it was evaluated; else when it was due, as a replay evaluates any time."""
        return look.evaluated_ms if self.is_live else look.scheduled_ms


def page_clock(rows: Iterable[PipelineRow], settings: Settings, *, now_ms: int) -> PageClock:
    """Return the wall clock, or with clock = "records" the time up to which all has been counted.

    Until a job has said how far that is, it is the wall clock too.
    """
    if settings.pipeline.clock == "live":
        return PageClock(now_ms, is_live=True)
    complete = progress(rows, settings, now_ms=now_ms)
    return PageClock(min(complete.until_ms, now_ms) if complete else now_ms, is_live=False)
