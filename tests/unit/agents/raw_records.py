"""Raw records as a Kafka client hands them over, and what becomes of them, for tests of ingest."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rtexp.records.filtered import decode_actions, decode_activations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rtexp.engine.api import Output

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000
NOW_MS = START_MS + 1_000 * HOUR_MS


@dataclass(frozen=True)
class Raw:
    """A raw record; it came when it happened unless `timestamp` says otherwise."""

    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = b"key"
    headers: tuple[tuple[str, bytes], ...] = ()


def action(
    offset: int,
    user: str = "u1",
    event: str = "search",
    *,
    at_ms: int = START_MS,
    arrival_ms: int | None = None,
) -> Raw:
    value = json.dumps({"user_id": user, "event": event, "ts": at_ms}).encode()
    return Raw(offset, at_ms if arrival_ms is None else arrival_ms, value)


def activation(
    offset: int,
    user: str = "u1",
    experiment: str = "feed",
    group: str = "control",
    *,
    at_ms: int = START_MS,
    arrival_ms: int | None = None,
) -> Raw:
    value = json.dumps({"user_id": user, "experiment": experiment, "group": group, "ts": at_ms}).encode()
    return Raw(offset, at_ms if arrival_ms is None else arrival_ms, value)


def marker(offset: int, watermark_ms: int) -> Raw:
    return Raw(offset, START_MS, None, None, (("rtexp-watermark", str(watermark_ms).encode()),))


def bad(offset: int, *, arrival_ms: int = START_MS) -> Raw:
    return Raw(offset, arrival_ms, b"{not JSON")


class Row(NamedTuple):
    """A filtered row as its reader sees it; `name` is its event or its kind."""

    offset: int
    user: str
    name: Any
    at_ms: int
    arrival_ms: int


class Told(NamedTuple):
    """A segment without its columns."""

    first_offset: int
    next_offset: int
    watermark_ms: int
    log_start: int


@dataclass
class Reader:
    """What one target partition was sent, by source partition; asserts what every reader relies on."""

    sources: int = 0
    rows: dict[int, list[Row]] = field(default_factory=dict)
    told: dict[int, list[Told]] = field(default_factory=dict)
    drops: dict[int, list[tuple[int, str]]] = field(default_factory=dict)

    def read(self, topic: str, value: bytes) -> None:
        is_actions = topic.endswith("actions")
        record: Any = decode_actions(value) if is_actions else decode_activations(value)
        names = record.events if is_actions else record.kinds
        self.sources = record.sources
        for segment in record.segments:
            told = self.told.setdefault(segment.source, [])
            rows = self.rows.setdefault(segment.source, [])
            drops = self.drops.setdefault(segment.source, [])
            known = max((before.next_offset for before in told), default=segment.first_offset)
            assert segment.first_offset <= known, "a gap"
            told.append(
                Told(segment.first_offset, segment.next_offset, segment.watermark_ms, segment.log_start)
            )
            columns = zip(
                np.frombuffer(segment.offsets, "<u4").tolist(),
                segment.users,
                np.frombuffer(segment.index, "<u4").tolist(),
                np.frombuffer(segment.times, "<i8").tolist(),
                np.frombuffer(segment.arrivals, "<i8").tolist(),
                strict=True,
            )
            for offset, user, place, at_ms, arrival_ms in columns:
                assert segment.first_offset + offset < segment.next_offset
                if segment.first_offset + offset >= known:
                    rows.append(Row(segment.first_offset + offset, user, names[place], at_ms, arrival_ms))
            reasons = np.frombuffer(segment.dropped_reasons, "u1").tolist()
            offsets = np.frombuffer(segment.dropped_offsets, "<u4").tolist()
            for offset, reason in zip(offsets, reasons, strict=True):
                assert segment.first_offset + offset < segment.next_offset
                if segment.first_offset + offset >= known:
                    drops.append((segment.first_offset + offset, record.reasons[reason]))


def read_all(outputs: Iterable[Output], targets: int, into: Sequence[Reader] | None = None) -> list[Reader]:
    """Let every target partition's reader read what was sent to it."""
    readers = list(into) if into is not None else [Reader() for _ in range(targets)]
    for output in outputs:
        if not output.topic.endswith("dead-letters"):
            assert output.value is not None
            readers[output.partition].read(output.topic, output.value)
    return readers
