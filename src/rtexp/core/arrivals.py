"""Arrival: when a raw record came, as one partition's reader tells it, and the watermark that follows.

Per partition one number suffices, the **watermark**: no record still to come may arrive below it. It is the
newest arrival so far less what records may go back (``out_of_order_ms``), or what a marker or a heartbeat has
announced if that is more. It never falls, so taking its maximum with the newest arrival less
``out_of_order_ms`` again and again is the same as keeping both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtexp.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_METADATA = re.compile(r"1:(\d{1,18})")


class Arrivals(NamedTuple):
    """What the records of one batch did to their partition's clock; columns of int64, epoch ms."""

    arrivals_ms: NDArray[np.int64]
    watermarks_ms: NDArray[np.int64]
    """The watermark just before each record: no arrival from that record on lies below it."""
    watermark_ms: int
    """The watermark after the last record."""


def arrivals_of(
    timestamps_ms: NDArray[np.int64],
    *,
    watermark_ms: int,
    now_ms: int,
    out_of_order_ms: int,
    markers_ms: Mapping[int, int | None],
) -> Arrivals:
    """Tell the arrivals of a partition's next records, bad ones and markers among them.

    A record arrives at its time stamp, at most ``now_ms``, and at least at the watermark before it.
    ``markers_ms`` has, by position, the watermark that a marker announces, None for a marker that is to be
    ignored; a marker's own arrival means nothing.

    >>> newest, sixty_back = 100_000, 40_000
    >>> arrivals_of(np.array([newest, sixty_back]), watermark_ms=0, now_ms=200_000,
    ...             out_of_order_ms=2_000, markers_ms={}).arrivals_ms.tolist()
    [100000, 98000]
    """
    raised = np.minimum(timestamps_ms, now_ms) - out_of_order_ms
    for position, marker_ms in markers_ms.items():
        raised[position] = 0 if marker_ms is None else marker_ms
    after = np.maximum.accumulate(np.concatenate(([watermark_ms], raised)))
    before = after[:-1]
    return Arrivals(np.maximum(np.minimum(timestamps_ms, now_ms), before), before, int(after[-1]))


def metadata_of(watermark_ms: int) -> str:
    """Return what a committed offset keeps of the clock, so that a restart changes no arrival."""
    return f"1:{watermark_ms}"


def watermark_of(metadata: str) -> int:
    """Read what `metadata_of` wrote; "" gives 0: whoever resets offsets by hand leaves no metadata.

    StateError for anything else.
    """
    if not metadata:
        return 0
    if not (found := _METADATA.fullmatch(metadata)):
        raise StateError(
            f"an offset was committed with metadata {metadata!r}, which this version of rtexp didn't write: "
            "upgrade this worker, or reset the offsets of its consumer group"
        )
    return int(found[1])
