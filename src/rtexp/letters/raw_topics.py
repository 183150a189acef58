"""What raw topics take, and how far ingest is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from rtexp.core.arrivals import watermark_of
from rtexp.letters.reading import partition_counts
from rtexp.local.unreachable import no_topic, unreachable
from rtexp.records import letters
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtexp.settings import Settings

DEFAULT_MAX_BYTES = 1_048_588
"""Of brokers; taken where they don't say."""


class RawTopic(NamedTuple):
    """A raw topic as it is now."""

    partitions: int
    max_bytes: int
    """The largest batch of records that it takes."""
    watermarks_ms: Mapping[int, int]
    """By partition, as ingest has committed them; none where it has committed nothing yet."""


async def raw_topics(settings: Settings) -> dict[str, RawTopic]:
    """Return both raw topics by name; UsageError if one is missing, or `replayed`. StoreUnavailable."""
    kafka = settings.kafka
    names = [settings.activations.topic, settings.actions.topic]
    client = AIOKafkaAdminClient(**client_options(kafka))
    try:
        await client.start()
        known = await partition_counts(client)
        for name in (*names, kafka.topic(letters.REPLAYED_TOPIC)):
            if name not in known:
                raise no_topic(name)
        limits = await _max_bytes(client, names)
        watermarks = await _watermarks_ms(client, f"{kafka.prefix}-ingest", names)
    except (KafkaError, TimeoutError) as exc:
        raise await unreachable(kafka, exc, doing="looking at the raw topics") from exc
    finally:
        await client.close()
    return {name: RawTopic(known[name], limits[name], watermarks[name]) for name in names}


async def _max_bytes(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    key = "max.message.bytes"
    found = dict.fromkeys(names, DEFAULT_MAX_BYTES)
    for response in await client.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name, {key: None}) for name in names]
    ):
        for _code, _message, _kind, name, entries in response.resources:
            found[name] = next((int(entry[1]) for entry in entries if entry[0] == key), found[name])
    return found


async def _watermarks_ms(
    client: AIOKafkaAdminClient, group: str, names: Sequence[str]
) -> dict[str, dict[int, int]]:
    try:
        offsets = await client.list_consumer_group_offsets(group)
    except GroupCoordinatorNotAvailableError:
        offsets = {}  # a new broker, where nobody has committed any
    watermarks: dict[str, dict[int, int]] = {name: {} for name in names}
    for tp, kept in offsets.items():
        if tp.topic in watermarks and kept.offset >= 0:
            watermarks[tp.topic][tp.partition] = watermark_of(kept.metadata or "")
    return watermarks
