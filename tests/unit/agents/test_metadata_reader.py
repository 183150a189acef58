from __future__ import annotations

from typing import Any

import pytest
from tests.unit.agents.raw_records import Raw

from rtexp.agents.metadata_reader import follow_snapshots
from rtexp.errors import UnsupportedVersion
from rtexp.records.snapshot import KEY, Snapshot, encode


class LogOver(Exception):  # noqa: N818 - no error: the scripted log has no more
    pass


class ScriptedConsumer:
    """Hands over one list of records per fetch, then fails like a client that lost its broker."""

    def __init__(self, *fetches: list[Raw]) -> None:
        self._fetches = iter(fetches)
        self.options: dict[str, Any] = {}
        self.assigned: list[tuple[str, int]] = []
        self.is_running = False

    def __call__(self, **options: Any) -> ScriptedConsumer:
        self.options = options
        return self

    async def start(self) -> None:
        self.is_running = True

    async def stop(self) -> None:
        self.is_running = False

    def assign(self, partitions: list[tuple[str, int]]) -> None:
        self.assigned = [(topic, partition) for topic, partition in partitions]

    async def getmany(self, *, timeout_ms: int) -> dict[tuple[str, int], list[Raw]]:  # noqa: ARG002 - the client's
        records = next(self._fetches, None)
        if records is None:
            raise LogOver
        return {self.assigned[0]: records} if records else {}


def snapshot_at(as_of_ms: int, *, version: int = 1, key: bytes = KEY) -> Raw:
    return Raw(as_of_ms, 0, encode(Snapshot(version, as_of_ms, [])), key)


async def follow(consumer: ScriptedConsumer) -> list[int]:
    taken: list[int] = []
    with pytest.raises(LogOver):
        await follow_snapshots(
            {"bootstrap_servers": "b:1"},
            "rtexp.ramped-groups",
            lambda taken_now: taken.append(taken_now.as_of_ms),
            make_consumer=consumer,
        )
    return taken


async def test_it_reads_the_whole_topic_outside_any_group_and_then_follows_it() -> None:
    consumer = ScriptedConsumer([snapshot_at(1), snapshot_at(2)], [], [snapshot_at(3)])
    assert await follow(consumer) == [2, 3]
    assert consumer.assigned == [("rtexp.ramped-groups", 0)]
    assert consumer.options == {
        "bootstrap_servers": "b:1",
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
    }
    assert not consumer.is_running


async def test_tombstones_and_other_keys_are_passed_over() -> None:
    records = [snapshot_at(1), Raw(2, 0, None, KEY), snapshot_at(3, key=b"other")]
    assert await follow(ScriptedConsumer(records)) == [1]


async def test_a_snapshot_of_a_newer_version_ends_it() -> None:
    consumer = ScriptedConsumer([snapshot_at(1, version=99)])
    with pytest.raises(UnsupportedVersion):
        await follow_snapshots({}, "rtexp.ramped-groups", print, make_consumer=consumer)
    assert not consumer.is_running
