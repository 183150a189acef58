"""Records of `filtered-actions` and `filtered-activations` from plain rows, for tests of their reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtexp.records.filtered import (
    VERSION,
    FilteredActions,
    FilteredActivations,
    Kind,
    Segment,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Row(NamedTuple):
    """An action or an activation; ``name`` is the index of its event or kind in the record's list."""

    offset: int
    user: str
    name: int
    at_ms: int
    arrival_ms: int


def segment(
    rows: Sequence[Row] = (),
    *,
    first: int,
    following: int,
    source: int = 0,
    watermark_ms: int = 0,
    log_start: int = 0,
    dropped: Sequence[tuple[int, int]] = (),
) -> Segment:
    """Return a segment; ``dropped`` are (offset, index of the reason)."""
    return Segment(
        source=source,
        first_offset=first,
        next_offset=following,
        log_start=log_start,
        watermark_ms=watermark_ms,
        offsets=np.array([row.offset - first for row in rows], "<u4").tobytes(),
        users=[row.user for row in rows],
        index=np.array([row.name for row in rows], "<u4").tobytes(),
        times=np.array([row.at_ms for row in rows], "<i8").tobytes(),
        arrivals=np.array([row.arrival_ms for row in rows], "<i8").tobytes(),
        dropped_offsets=np.array([offset - first for offset, _ in dropped], "<u4").tobytes(),
        dropped_reasons=np.array([reason for _, reason in dropped], "u1").tobytes(),
    )


def actions(
    *segments: Segment,
    events: Sequence[str] = ("search", "click"),
    reasons: Sequence[str] = (),
    sources: int = 1,
) -> bytes:
    """Return an encoded record of actions."""
    return encode(FilteredActions(VERSION, sources, list(events), list(reasons), list(segments)))


def activations(
    *segments: Segment, kinds: Sequence[Kind], reasons: Sequence[str] = (), sources: int = 1
) -> bytes:
    """Return an encoded record of activations."""
    return encode(FilteredActivations(VERSION, sources, list(kinds), list(reasons), list(segments)))
