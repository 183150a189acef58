"""`dead-letters` and `replayed`: bad input with its origin and reason, and what has been sent again.

A dead letter is the original bytes; all else stands in headers. Its key is the origin, ``topic/partition/offset``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import msgspec

from rtexp.errors import StateError, UnsupportedVersion
from rtexp.records.wire import json_decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    class KafkaRecord(Protocol):
        """A record as Kafka's client has it."""

        @property
        def timestamp(self) -> int: ...  # noqa: D102
        @property
        def key(self) -> bytes | None: ...  # noqa: D102
        @property
        def value(self) -> bytes | None: ...  # noqa: D102
        @property
        def headers(self) -> Sequence[tuple[str, bytes]]: ...  # noqa: D102


TOPIC = "dead-letters"
VERSION = 1
"""Stays while what is added may be left out: ``key`` is absent in letters of before."""
PARTITIONS = 4
MAX_VALUE_BYTES = 900_000
"""A larger value would be refused by the broker, and would end the worker again and again: it is cut."""
MAX_KEY_BYTES = 10_000
"""A larger key is left out, as value and headers must fit the record together."""

REPLAYED_TOPIC = "replayed"
REPLAYED_VERSION = 1
REPLAYED_HEADER = "rtexp-replayed"
"""Of a raw record that was sent again: the origin of the dead letter."""


class Origin(NamedTuple):
    """Where a raw record stood."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def read(cls, text: str) -> Origin | None:
        """Return what `str` gave; None if it is no origin.

        >>> Origin.read("clicks/3/42")
        Origin(topic='clicks', partition=3, offset=42)
        """
        topic, *numbers = text.split("/")
        if not topic or len(numbers) != len(("partition", "offset")):
            return None
        if not all(number.isascii() and number.isdigit() and len(number) <= 18 for number in numbers):  # noqa: PLR2004
            return None
        partition, offset = map(int, numbers)
        return cls(topic, partition, offset)


class Letter(NamedTuple):
    """A dead letter."""

    origin: Origin
    reason: str
    detail: str
    time_ms: int
    """The raw record's own time stamp."""
    refused_ms: int
    """When ingest sent the letter."""
    key: bytes | None
    """The raw record's; None as well where it was too large, or the letter is from before keys were kept."""
    value: bytes | None
    original_bytes: int
    """Size of the raw value; more than ``value`` has where that was cut."""

    @property
    def is_cut(self) -> bool:
        """Tell whether the letter has only the beginning of the value."""
        return self.value is not None and len(self.value) < self.original_bytes


class Replayed(msgspec.Struct, frozen=True):
    """That a dead letter has been sent again; the record's key is the letter's origin."""

    version: int
    at_ms: int
    sent_to: str
    """Where it stands now, written like an origin."""


def partition_of_letter(key: bytes) -> int:
    """Return the partition of `dead-letters` in which all letters with this key stand."""
    return crc32(key) % PARTITIONS


def decode_letter(record: KafkaRecord) -> Letter:
    """Read a dead letter; UnsupportedVersion for a newer one, StateError for what is none."""
    headers = dict(record.headers)
    try:
        if (version := int(headers["version"])) != VERSION:
            raise UnsupportedVersion(TOPIC, version, VERSION)
        origin = Origin(headers["topic"].decode(), int(headers["partition"]), int(headers["offset"]))
        size = int(headers.get("original-bytes", len(record.value or b"")))
        return Letter(
            origin, headers["reason"].decode(), headers["detail"].decode(), int(headers["time"]),
            record.timestamp, headers.get("key"), record.value, size,
        )  # fmt: skip
    except (KeyError, ValueError) as exc:
        raise StateError(f"{TOPIC} holds a record that rtexp didn't write: {exc!r}") from exc


encode_replayed: Callable[[Replayed], bytes] = msgspec.json.Encoder().encode
decode_replayed = json_decoder(REPLAYED_TOPIC, REPLAYED_VERSION, Replayed)
