"""rtexp's topics: which there are, how they are cut and cleaned up; and making those that are missing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from rtexp.errors import StateError, StoreUnavailable
from rtexp.local.unreachable import unreachable
from rtexp.records import letters
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtexp.settings import KafkaSettings, Settings

_DAY_MS = 24 * 3600 * 1000
_MB = 1024 * 1024
_VISIBLE_SECONDS = 30.0


@dataclass(frozen=True)
class Topic:
    """A topic as it should be."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)
    raw: bool = False
    """Users' own: made only where it is missing, and left alone otherwise."""
    cut_by_setting: bool = False
    """``partitions`` is the setting of that name; otherwise the number is fixed."""


@dataclass(frozen=True)
class Existing:
    """A topic as the broker has it."""

    partitions: int
    cleanup_policy: str
    """Empty: the broker doesn't tell us."""


def topics_of(settings: Settings) -> list[Topic]:
    """Return all topics that these settings call for, the raw ones first."""
    kafka = settings.kafka
    cut = kafka.partitions
    # A replay's record times may lie years back: any finite retention would delete them at once.
    raw = {"retention.ms": "-1"} if settings.pipeline.clock == "records" else {}
    week, month = _deleted(7), _deleted(30)
    return [
        Topic(settings.actions.topic, cut, raw, raw=True),
        Topic(settings.activations.topic, cut, raw, raw=True),
        Topic(kafka.topic("ramped-groups"), 1, _compacted(16) | {"max.message.bytes": str(8 * _MB)}),
        # Inputs of the jobs that recover by reading them again: they must reach back to the last checkpoint.
        Topic(kafka.topic("filtered-actions"), cut, week, cut_by_setting=True),
        Topic(kafka.topic("filtered-activations"), cut, week, cut_by_setting=True),
        Topic(kafka.topic("partials"), 8, week),
        Topic(kafka.topic("aggregate-users-changelog"), cut, _compacted(64), cut_by_setting=True),
        # The sums of a period are one record: 70 bytes or so for each of its groups and events.
        Topic(
            kafka.topic("results-buckets-changelog"), 8, _compacted(64) | {"max.message.bytes": str(8 * _MB)}
        ),
        Topic(kafka.topic("results"), 8, _compacted(64)),
        Topic(kafka.topic("status"), 1, _compacted(16)),
        Topic(kafka.topic("alerts"), 1, month),
        Topic(kafka.topic("conditions"), 1, month),
        Topic(kafka.topic("undelivered"), 1, month),
        Topic(kafka.topic(letters.TOPIC), letters.PARTITIONS, month | {"max.message.bytes": str(2 * _MB)}),
        # Forgets nothing: whatever brings a letter back, it counts once.
        Topic(kafka.topic(letters.REPLAYED_TOPIC), 1, _compacted(16)),
    ]


def _compacted(segment_mb: int) -> dict[str, str]:
    # The segment that is written to is never compacted. By default it grows to 1 GB: a recovery would read
    # all of that, though a few MB of it still matter.
    return {
        "cleanup.policy": "compact",
        "segment.bytes": str(segment_mb * _MB),
        # Twice the age at which the engine wipes a local store, whatever the broker's own default is: a store that
        # missed tombstones would bring back what is gone.
        "delete.retention.ms": str(_DAY_MS),
    }


def _deleted(days: int) -> dict[str, str]:
    # By time alone: a broker's default limit of bytes would take what a job has yet to read.
    return {"cleanup.policy": "delete", "retention.ms": str(days * _DAY_MS), "retention.bytes": "-1"}


def missing(wanted: Sequence[Topic], existing: Mapping[str, Existing]) -> list[Topic]:
    """Return the topics to make.

    StateError, with a line for each thing, if some that exist aren't as they should be.
    """
    lines: list[str] = []
    for topic in wanted:
        if topic.name in existing:
            lines += disagreements(topic, existing[topic.name])
    if lines:
        raise StateError("\n".join(lines))
    return [topic for topic in wanted if topic.name not in existing]


def disagreements(topic: Topic, found: Existing) -> list[str]:
    """Return a line for each thing that isn't as it should be, with what to do."""
    if topic.raw:
        return []
    lines = []
    if found.partitions != topic.partitions:
        needs, remedy = "rtexp needs", ""
        if topic.cut_by_setting:
            needs, remedy = "[kafka] partitions is", f"set that to {found.partitions}, or "
        lines.append(
            f"{topic.name} has {found.partitions} partitions, but {needs} {topic.partitions}: {remedy}"
            "begin anew with another [kafka] prefix; state can't move between partitions"
        )
    policy = topic.config["cleanup.policy"]
    if not found.cleanup_policy:
        lines.append(unseen(topic.name))
    elif found.cleanup_policy != policy:
        # A changelog that is deleted after a week forgets users; inputs that are compacted lose rows.
        lines.append(
            f"{topic.name} has cleanup.policy={found.cleanup_policy}, but rtexp needs {policy}: "
            "set it with your Kafka's tools before any worker runs"
        )
    return lines


def unseen(name: str) -> str:
    """Return what to do about a topic whose settings the broker doesn't tell us."""
    return (
        f"{name} has settings that can't be seen: grant DescribeConfigs on it to the user of [kafka] username"
    )


async def create_topics(settings: Settings) -> dict[str, bool]:
    """Make the topics that are missing; return all by name, each with whether it was made now.

    Nothing is made if any that exists disagrees: StateError. StoreUnavailable if the broker refuses, or
    doesn't answer.
    """
    wanted = topics_of(settings)
    client = AIOKafkaAdminClient(**client_options(settings.kafka))
    try:
        await client.start()
        to_make = missing(wanted, await _existing(client, [topic.name for topic in wanted]))
        made = await _make(client, to_make, settings.kafka)
        # Whoever made some at the same time may have had other settings.
        missing(wanted, await _visible(client, wanted))
    except (KafkaError, TimeoutError) as exc:
        raise await unreachable(settings.kafka, exc, doing="making topics") from exc
    finally:
        await client.close()
    return {topic.name: topic.name in made for topic in wanted}


async def _make(client: AIOKafkaAdminClient, topics: Sequence[Topic], kafka: KafkaSettings) -> set[str]:
    """Return the names of those that were made now, and not by someone else in the meantime."""
    if not topics:
        return set()
    # Of three copies, two must have a write before it counts: then one broker may be lost, and nothing else.
    durable = {"min.insync.replicas": str(max(1, kafka.replication - 1))}
    response = await client.create_topics(
        [
            NewTopic(
                topic.name, topic.partitions, kafka.replication, topic_configs={**durable, **topic.config}
            )
            for topic in topics
        ]
    )
    made = set()
    for name, code, message in response.topic_errors:
        error = for_code(code)
        if code == 0:
            made.add(name)
        elif error is not TopicAlreadyExistsError:
            raise StoreUnavailable(f"topic {name} can't be made: {message or error.__name__}")
    return made


async def _existing(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Existing]:
    # All topics are listed: asking for one by name would make it, on a broker that creates topics by itself.
    found = {topic["topic"]: topic for topic in await client.describe_topics()}
    present = [name for name in names if name in found]
    policies = await _policies(client, present)
    return {name: Existing(len(found[name]["partitions"]), policies[name]) for name in present}


async def _policies(client: AIOKafkaAdminClient, names: Sequence[str]) -> Mapping[str, str]:
    policies: defaultdict[str, str] = defaultdict(str)
    if not names:
        return policies
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, {"cleanup.policy": None}) for name in names]
    for response in await client.describe_configs(asked):
        for _code, _message, _kind, name, entries in response.resources:
            policies[name] = next((entry[1] for entry in entries if entry[0] == "cleanup.policy"), "")
    return policies


async def _visible(client: AIOKafkaAdminClient, wanted: Sequence[Topic]) -> dict[str, Existing]:
    """Wait until every broker's metadata may have the topics: a worker that looks earlier would miss some."""
    names = [topic.name for topic in wanted]
    async with asyncio.timeout(_VISIBLE_SECONDS):
        # Nothing tells when the metadata has come to the broker: it has to be asked.
        while not _all_led(await client.describe_topics(), names):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return await _existing(client, names)


def _all_led(described: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bool:
    led = {
        topic["topic"]
        for topic in described
        if topic["partitions"] and all(partition["leader"] >= 0 for partition in topic["partitions"])
    }
    return led.issuperset(names)
