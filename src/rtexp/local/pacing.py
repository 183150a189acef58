"""Raw records on their way at a pace, with markers so that everything behind them can be counted."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from rtexp.local.raw_records import RawRecord

CHUNK_ROWS = 2000
MARK_ROWS = 20_000
"""Records between two markers, at full speed. Actions wait for them, so it is small beside a flush."""
TICK_SECONDS = 0.1


class Writer(Protocol):
    """What `rtexp.local.raw_writer.RawWriter` does."""

    async def send(self, records: Iterable[RawRecord]) -> None: ...  # noqa: D102
    async def mark(self, watermark_ms: int) -> None: ...  # noqa: D102
    async def flush(self) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Sent:
    """How far a stream has got."""

    rows: int
    newest_ms: int | None
    """Record time of the last one; None before it."""


async def stream(
    records: Iterator[RawRecord],
    writer: Writer,
    *,
    speed: float | None = None,
    progress: Callable[[Sent], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Sent:
    """Send all records, which must come in order of their times, until they end or ``stopping`` says so.

    Args:
        records: May be infinite, if something stops it. What has been taken from it is sent, in any case.
        writer: Gets the records, and markers on the way; the last one is the caller's to send.
        speed: How much faster than their own times records go; None: as fast as can be.
        progress: Told often, at least each tick.
        stopping: Asked often; what has been sent then is all there is.
        clock: Real time in seconds.
        sleep: Waits for real time to pass.
    """
    sent = Sent(0, None)
    upcoming = next(records, None)
    if upcoming is None:
        return sent
    start_ms, start = upcoming.arrival_ms, clock()
    marked_rows = 0
    while upcoming is not None and not stopping():
        if speed is None:
            chunk = [upcoming, *itertools.islice(records, CHUNK_ROWS - 1)]
            upcoming = next(records, None)
        else:
            due_ms = start_ms + int((clock() - start) * 1000 * speed)
            chunk = []
            while upcoming is not None and upcoming.arrival_ms <= due_ms and len(chunk) < CHUNK_ROWS:
                chunk.append(upcoming)
                upcoming = next(records, None)
        await writer.send(chunk)
        if chunk:
            sent = Sent(sent.rows + len(chunk), chunk[-1].arrival_ms)
        progress(sent)
        is_early = speed is not None and len(chunk) < CHUNK_ROWS
        if is_early or sent.rows - marked_rows >= MARK_ROWS:
            # What is due has gone, so nothing earlier follows, even where the stream is silent. After its
            # end, which is the end of what we know, another one may follow.
            await writer.mark(due_ms if is_early and upcoming is not None else sent.newest_ms or start_ms)
            marked_rows = sent.rows
        if is_early:
            await writer.flush()
        await sleep(TICK_SECONDS if is_early else 0)
    if upcoming is not None:
        await writer.send([upcoming])
        sent = Sent(sent.rows + 1, upcoming.arrival_ms)
    return sent
