"""`conditions` and `undelivered`: what people are told of the pipeline itself, and what a target didn't take."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import msgspec

from rtexp.records.wire import json_decoder

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = 1

ConditionKind = Literal["stale", "stopped", "store"]


class Condition(msgspec.Struct, frozen=True):
    """Something that is wrong with the pipeline began, or is over; each told once.

    ``stale``: counts are complete only to a time long ago. ``stopped``: no worker of a job reports. ``store``: SQL
    can't be read.
    """

    version: int
    id: str
    """The same for the same fact, as that of an alert."""
    kind: ConditionKind
    is_over: bool
    job: str
    """Of which no worker reports, or which is furthest behind; empty for ``store``."""
    since_ms: int
    """Since when it holds, or held."""
    at_ms: int
    """When it was noticed."""
    input: str = ""
    """Where it is ``stale``, the topic and partition that are furthest behind."""


class Undelivered(msgspec.Struct, frozen=True):
    """An alert that a target didn't take and isn't offered again."""

    version: int
    target: str
    id: str
    kind: str
    experiment: str
    """Empty for a condition of the pipeline."""
    reason: str
    attempts: int
    at_ms: int


def condition(
    kind: ConditionKind, job: str, since_ms: int, at_ms: int, *, is_over: bool, input_: str = ""
) -> Condition:
    """Return a condition that began, or is over, with its id."""
    identity = msgspec.json.encode([kind, job, since_ms, is_over])
    id_ = hashlib.blake2b(identity, digest_size=16).hexdigest()
    return Condition(VERSION, id_, kind, is_over, job, since_ms, at_ms, input_)


encode: Callable[[Condition | Undelivered], bytes] = msgspec.json.Encoder().encode
decode_condition = json_decoder("conditions", VERSION, Condition)
decode_undelivered = json_decoder("undelivered", VERSION, Undelivered)
