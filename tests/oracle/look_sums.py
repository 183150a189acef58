"""What a look may count, recomputed from the whole list of records: written from the rules, not from the code.

A look at a time t is frozen at the record that carries the watermark past t + settle. It counts every delta up to
and with that record whose bucket ends by t; the look at the period's end counts all of them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple


class Delta(NamedTuple):
    experiment: str
    period_start_ms: int
    group: str
    event: str
    bucket_ms: int
    counts: tuple[int, int, int, int, int]
    """Volume, actors, sum of squares, exposures, multiple exposures."""


class Record(NamedTuple):
    source: int
    watermark_ms: int
    deltas: tuple[Delta, ...]


class Frozen(NamedTuple):
    """Sums of one look: by (group, event) and, where there are exposures, by (bucket, group)."""

    sums: dict[tuple[str, str], tuple[int, ...]]
    exposures: dict[tuple[int, str], tuple[int, int]]


LookTime = tuple[str, int, int]
"""(experiment, start of the period, time of the look)."""


def watermarks(records: list[Record], sources: int) -> list[int]:
    """Return the watermark of all sources after each record; 0 until each of them has spoken."""
    newest: dict[int, int] = {}
    found = []
    for record in records:
        newest[record.source] = max(newest.get(record.source, 0), record.watermark_ms)
        found.append(min(newest.values()) if len(newest) == sources else 0)
    return found


def frozen_looks(
    records: list[Record], *, sources: int, bucket_ms: int, period_ms: int, settle_ms: int
) -> dict[LookTime, Frozen]:
    """Return all that is ever frozen: at each whole bucket of a period that isn't due yet when the period is met."""
    after = watermarks(records, sources)
    first_met: dict[tuple[str, int], int] = {}
    for i, record in enumerate(records):
        for delta in record.deltas:
            first_met.setdefault((delta.experiment, delta.period_start_ms), i)
    looks: dict[LookTime, Frozen] = {}
    for (experiment, start_ms), met in first_met.items():
        known_ms = after[met - 1] if met else 0
        for at_ms in range(start_ms + bucket_ms, start_ms + period_ms + 1, bucket_ms):
            due = next((i for i, now_ms in enumerate(after) if now_ms - settle_ms >= at_ms), None)
            if due is None or known_ms - settle_ms >= at_ms:
                continue
            deltas = [
                delta
                for record in records[: due + 1]
                for delta in record.deltas
                if (delta.experiment, delta.period_start_ms) == (experiment, start_ms)
            ]
            looks[experiment, start_ms, at_ms] = _counted(
                deltas, at_ms, bucket_ms, is_last=at_ms == start_ms + period_ms
            )
    return looks


def _counted(deltas: list[Delta], at_ms: int, bucket_ms: int, *, is_last: bool) -> Frozen:
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * 5)
    exposures: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
    for delta in deltas:
        in_time = is_last or delta.bucket_ms + bucket_ms <= at_ms
        for i in range(5):
            sums[delta.group, delta.event][i] += delta.counts[i] if in_time else 0
        if in_time and any(delta.counts[3:]):
            for i in range(2):
                exposures[delta.bucket_ms, delta.group][i] += delta.counts[3 + i]
    return Frozen(
        {key: tuple(counts) for key, counts in sums.items()},
        {key: (counts[0], counts[1]) for key, counts in exposures.items()},
    )
