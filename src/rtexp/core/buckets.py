"""How time is cut: buckets of event time, slots and hours of arrival. Epoch ms, UTC; all are half open."""

from __future__ import annotations

HOUR_MS = 3_600_000


def bucket_start_ms(at_ms: int, bucket_ms: int) -> int:
    """Return the start of the bucket that ``at_ms`` lies in.

    >>> bucket_start_ms(900_000, 900_000), bucket_start_ms(899_999, 900_000)
    (900000, 0)
    """
    return at_ms // bucket_ms * bucket_ms


def slot_of(arrival_ms: int, dedup_ms: int) -> int:
    """Return the number of the slot of arrival within which repeats are recognised."""
    return arrival_ms // dedup_ms


def oldest_slot(watermark_ms: int, dedup_ms: int) -> int:
    """Return the oldest slot that an arrival at or after ``watermark_ms`` can still be compared with.

    >>> oldest_slot(watermark_ms=600_000, dedup_ms=300_000)
    1
    """
    return slot_of(watermark_ms, dedup_ms) - 1


def hour_of(arrival_ms: int) -> int:
    """Return the number of the hour of arrival within which a user's actions are capped."""
    return arrival_ms // HOUR_MS
