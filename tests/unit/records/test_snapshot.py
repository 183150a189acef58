"""Snapshots: workers of before and after plans came into them read each other's."""

from __future__ import annotations

import msgspec
import pytest

from rtexp.errors import StateError, UnsupportedVersion
from rtexp.records.snapshot import VERSION, FrozenPlan, Snapshot, decode, encode

PLANNED = Snapshot(
    VERSION, 7, [], [FrozenPlan("feed", 5, "0123456789abcdef", msgspec.Raw(b'{"alpha":0.05}'))]
)


class Before(msgspec.Struct):
    """A snapshot as readers knew it before it had plans."""

    version: int
    as_of_ms: int
    experiments: list[object]


def test_a_snapshot_is_read_back_as_it_was_sent() -> None:
    assert decode(encode(PLANNED)) == PLANNED


def test_a_plan_travels_as_the_bytes_that_its_hash_is_of() -> None:
    assert b'"plan":{"alpha":0.05}' in encode(PLANNED)
    assert bytes(decode(encode(PLANNED)).plans[0].plan) == b'{"alpha":0.05}'


def test_a_worker_of_before_reads_a_snapshot_with_plans() -> None:
    found = msgspec.json.decode(encode(PLANNED), type=Before)
    assert (found.version, found.as_of_ms, found.experiments) == (1, 7, [])


def test_a_snapshot_of_before_has_no_plans() -> None:
    assert decode(b'{"version":1,"as_of_ms":7,"experiments":[]}') == Snapshot(1, 7, [])


def test_a_newer_version_and_damage_are_refused() -> None:
    with pytest.raises(UnsupportedVersion):
        decode(b'{"version":2}')
    with pytest.raises(StateError):
        decode(b'{"version":1,"as_of_ms":7,"experiments":[],"plans":[{}]}')
