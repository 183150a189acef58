"""What it costs to read raw records, by where their fields lie: nested ones must cost no more than flat ones."""

from __future__ import annotations

import gc
import json
import time
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtexp.records.raw import RawDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rtexp.settings import TimeFormat

RECORDS = 10_000
"""About as many as a fetch brings."""
ROUNDS = 15
BYTES = 240
"""Of each record of each shape, so that only the shape differs."""
START_MS = 1_420_416_000_000
_EPOCH = datetime.fromtimestamp(0, UTC)
_FLAT = {"user": "user_id", "event": "event", "time": "ts"}
_NESTED = {"user": "context.user.id", "event": "event.name", "time": "context.sent.at"}


class DecodeFigures(NamedTuple):
    """CPU microseconds a record of one shape."""

    shape: str
    record_bytes: int
    us_a_record: float
    times_flat: float
    """What it costs in parts of a flat record with the time in ms: the median over rounds, in which both took turns."""


class _Shape(NamedTuple):
    name: str
    paths: Mapping[str, str]
    time_format: TimeFormat
    document: Callable[[str, str, int], dict[str, object]]


def measure_decode(records: int = RECORDS, rounds: int = ROUNDS) -> list[DecodeFigures]:
    """Measure all shapes in turn, again and again: what else runs on the machine meets them alike."""
    inputs = [_records(shape, records) for shape in _SHAPES]
    decoders = [_decoder(shape) for shape in _SHAPES]
    arrivals_ms = np.full(records, START_MS + records)
    seconds: list[list[float]] = [[] for _ in _SHAPES]
    for _ in range(rounds):
        for decoder, values, took in zip(decoders, inputs, seconds, strict=True):
            gc.collect()
            began = time.process_time()
            decoded = decoder.decode(values, arrivals_ms)
            took.append(time.process_time() - began)
            assert len(decoded.positions) == records, "a record was refused"
    return [
        DecodeFigures(
            shape.name,
            BYTES,
            us_a_record=median(took) / records * 1e6,
            times_flat=median(np.divide(took, seconds[0]).tolist()),
        )
        for shape, took in zip(_SHAPES, seconds, strict=True)
    ]


def _flat(user: str, event: str, at_ms: int) -> dict[str, object]:
    return {"user_id": user, "event": event, "ts": at_ms, "page": ""}


def _nested(user: str, event: str, at_ms: int, *, as_text: bool = False) -> dict[str, object]:
    at = (_EPOCH + timedelta(milliseconds=at_ms)).isoformat() if as_text else at_ms
    return {"context": {"user": {"id": user}, "sent": {"at": at}}, "event": {"name": event}, "page": ""}


def _with_text(user: str, event: str, at_ms: int) -> dict[str, object]:
    return _nested(user, event, at_ms, as_text=True)


_SHAPES = (
    _Shape("flat", _FLAT, "ms", _flat),
    _Shape("nested", _NESTED, "ms", _nested),
    _Shape("nested, iso8601", _NESTED, "iso8601", _with_text),
)


def _records(shape: _Shape, records: int) -> list[bytes]:
    made = []
    for number in range(records):
        document = shape.document(f"user-{number % 997}", ("search", "click")[number % 2], START_MS + number)
        bare = len(json.dumps(document))
        made.append(json.dumps(document | {"page": "x" * (BYTES - bare)}).encode())
    return made


def _decoder(shape: _Shape) -> RawDecoder:
    return RawDecoder(
        shape.paths, time_format=shape.time_format, max_message_bytes=65_536, max_ahead_ms=300_000
    )
