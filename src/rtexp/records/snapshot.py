"""`ramped-groups`: the experiments as SQL knows them at one moment, in one compacted JSON record."""

from __future__ import annotations

import msgspec

from rtexp.records.wire import json_decoder

VERSION = 1
KEY = b"snapshot"


class Period(msgspec.Struct, frozen=True):
    """Half open: ``start_ms <= t < end_ms``."""

    start_ms: int
    end_ms: int


class Allocation(msgspec.Struct, frozen=True):
    """A group's share from ``at_ms`` on; allocations stand in order of time, then of id."""

    group: str
    percent: float
    at_ms: int


class Ramp(msgspec.Struct, frozen=True):
    """An increase of a group's allocation."""

    group: str
    at_ms: int


class Experiment(msgspec.Struct, frozen=True):
    """One experiment with its whole history of periods."""

    name: str
    control: str
    groups: list[str]
    periods: list[Period]
    ramps: list[Ramp]
    allocations: list[Allocation]


class Snapshot(msgspec.Struct, frozen=True):
    """Everything that ingest needs to judge activations."""

    version: int
    as_of_ms: int
    """Wall clock before SQL was read: what was committed by then is in it."""
    experiments: list[Experiment]


encode = msgspec.json.Encoder().encode
decode = json_decoder("ramped-groups", VERSION, Snapshot)
