"""Raw records on their way to the raw topics, and the partition that each goes to."""

from __future__ import annotations

from typing import Literal, NamedTuple
from zlib import crc32

Kind = Literal["actions", "activations"]
KINDS: tuple[Kind, ...] = ("activations", "actions")
"""In the order in which records of equal time are sent."""


class RawRecord(NamedTuple):
    """One record to send; its Kafka record time is ``arrival_ms``."""

    arrival_ms: int
    kind: Kind
    key: bytes | None
    """The user, in UTF-8; None where a bad record doesn't tell."""
    value: bytes | None


def partition_of(key: bytes | None, partitions: int) -> int:
    """Return where a key goes: by crc32, as Python's own hash differs from run to run."""
    return crc32(key or b"") % partitions
