"""The settings that decide what counts, as the state machine of users sees them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """What an action or an activation means. Two states compare only if they were made under equal rules."""

    tracked: tuple[str, ...]
    """Events that count, 1 to 256 distinct names; all others are ignored."""
    bucket_ms: int
    dedup_ms: int
    """Width of the arrival slots within which, and between neighbours of which, repeats are recognised."""
    cap_per_hour: int
    """How many kept actions of a user count in an hour of arrival; 0: no cap."""
    join_delay_ms: int
    """An activation may arrive this much later than an action and still count for it."""
    grace_ms: int
    """After a period's end, for what arrives late."""
    period_ms: int
    lg_k: int
    """Sketches have 2**lg_k registers."""
