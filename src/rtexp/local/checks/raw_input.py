"""What stands in users' own topics, read by the configured field paths: a wrong path is told before a worker starts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from rtexp.agents.raw_decoders import action_decoder, activation_decoder
from rtexp.errors import ContractError
from rtexp.local.checks.findings import Finding
from rtexp.local.unreachable import unreachable
from rtexp.records.raw import MARKER_HEADER
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtexp.records.raw import RawDecoder
    from rtexp.settings import Settings

NEWEST = 20
"""Records of each partition that are looked at."""
MOST_PARTITIONS = 50
READ_SECONDS = 4.0
_EVENTS_TOLD = 5


class Input(NamedTuple):
    """A raw topic, and how the configuration reads it."""

    section: str
    topic: str
    decoder: RawDecoder
    tracked: frozenset[str] | None
    """Events that count; None where records have none."""


async def raw_input(settings: Settings, partitions: Mapping[str, int]) -> list[Finding]:
    """Judge the newest records of both raw topics, as far as ``partitions`` (by topic) has them."""
    inputs = [found for found in _inputs(settings) if found.topic in partitions]
    if not inputs:
        return []  # told by who looks for topics
    cut = {found.topic: min(partitions[found.topic], MOST_PARTITIONS) for found in inputs}
    try:
        newest = await _newest(settings, [TopicPartition(t, p) for t in cut for p in range(cut[t])])
    except (KafkaError, OSError, TimeoutError) as error:
        return [
            Finding(
                "input", "fail", str(await unreachable(settings.kafka, error, doing="reading your topics"))
            )
        ]
    return [judge_input(found, newest.get(found.topic, ()), settings) for found in inputs]


def judge_input(raw: Input, records: Sequence[Any], settings: Settings) -> Finding:
    """Return what is said of ``records`` (with value, key, headers, timestamp, partition and offset) of one topic."""
    where = f"{raw.topic} ([{raw.section}] topic)"
    records = [record for record in records if not _is_marker(record)]
    if not records:
        waits = settings.pipeline.clock == "records"  # for a replay
        act = "" if waits else ": see whether that is its name, and whether somebody sends"
        return Finding("input", "ok" if waits else "warn", f"{where} has no records yet{act}")
    events: list[str] = []
    faults: list[str] = []
    for record in records:
        try:
            texts, _ = raw.decoder.judge(record.value, record.timestamp)
        except ContractError as error:
            faults.append(f"{record.topic}/{record.partition} at {record.offset}: {error}")
        else:
            events.append(texts[1])
    share = f"{len(faults)} of the newest {len(records)} records of {where} are bad input"
    if len(faults) > settings.pipeline.dead_letter_ratio * len(records):
        act = f"compare paths and time_format of [{raw.section}] with what is sent, or correct the producer"
        return Finding("input", "fail", f"{share}, the last {faults[-1]}: {act}")
    if raw.tracked is not None and raw.tracked.isdisjoint(events):
        text = f"none of the newest {len(records)} records of {where} has an event of [actions] tracked"
        return Finding("input", "warn", f"{text}, but {_names(events)}: nothing else is counted")
    if faults:
        return Finding("input", "ok", f"{share}, the last {faults[-1]}")
    return Finding("input", "ok", f"the newest {len(records)} records of {where} can be read")


def _names(events: Sequence[str]) -> str:
    names = sorted(set(events))
    more = f" and {len(names) - _EVENTS_TOLD} more" if len(names) > _EVENTS_TOLD else ""
    return ", ".join(f"`{name}`" for name in names[:_EVENTS_TOLD]) + more


def _inputs(settings: Settings) -> list[Input]:
    actions, activations = settings.actions, settings.activations
    return [
        Input("actions", actions.topic, action_decoder(settings), frozenset(actions.tracked)),
        Input("activations", activations.topic, activation_decoder(settings), None),
    ]


def _is_marker(record: Any) -> bool:
    return (
        record.key is None
        and record.value is None
        and any(name == MARKER_HEADER for name, _ in record.headers)
    )


async def _newest(settings: Settings, tps: Sequence[TopicPartition]) -> dict[str, list[Any]]:
    """Return the newest records by topic, oldest first; fewer where time is short or transactions left marks."""
    consumer = AIOKafkaConsumer(
        enable_auto_commit=False, isolation_level="read_committed", **client_options(settings.kafka)
    )
    found: dict[str, list[Any]] = {}
    try:
        async with asyncio.timeout(READ_SECONDS):
            await consumer.start()
            starts = await consumer.beginning_offsets(tps)
            ends = await consumer.end_offsets(tps)
            unread = [tp for tp in tps if ends[tp] > starts[tp]]
            if not unread:
                return found
            consumer.assign(unread)
            for tp in unread:
                consumer.seek(tp, max(starts[tp], ends[tp] - NEWEST))
            while unread := [tp for tp in unread if await consumer.position(tp) < ends[tp]]:
                for tp, records in (await consumer.getmany(*unread, timeout_ms=200)).items():
                    found.setdefault(tp.topic, []).extend(r for r in records if r.offset < ends[tp])
    except TimeoutError:
        if not found:
            raise
    finally:
        await consumer.stop()
    return {topic: sorted(records, key=lambda record: record.timestamp) for topic, records in found.items()}
