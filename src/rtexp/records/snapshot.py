"""`ramped-groups`: the experiments as SQL knows them at one moment, in one compacted JSON record."""

from __future__ import annotations

import msgspec

from rtexp.records.wire import json_decoder

VERSION = 1
"""Stays while what is added may be left out: readers of before skip a key that they don't know, and a record of
before lacks it. So workers of both kinds may run beside each other."""
KEY = b"snapshot"
MOST_BYTES = 64 << 20
"""Of a record before it is compressed: some 16,000 experiments of three groups and 256 events whose periods are
running, or 100,000 of which nothing runs. It goes over the wire as a hundredth of that; brokers take 8 MB."""


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


class FrozenPlan(msgspec.Struct, frozen=True):
    """How one period is judged, as it was written down when the period began."""

    experiment: str
    period_start_ms: int
    plan_hash: str
    plan: msgspec.Raw
    """`rtexp.statistics.plans.canonical`, which ``plan_hash`` is of; not decoded, as ingest has no use for it."""


class Snapshot(msgspec.Struct, frozen=True):
    """Everything that ingest needs to judge activations, and results to judge experiments."""

    version: int
    as_of_ms: int
    """Wall clock before SQL was read: what was committed by then is in it."""
    experiments: list[Experiment]
    plans: list[FrozenPlan] = []
    """Of all periods that have begun and whose counts may still change."""


encode = msgspec.json.Encoder().encode
decode = json_decoder("ramped-groups", VERSION, Snapshot)
