"""Whether the raw topics keep what a replay sends, as it is sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from rtexp.errors import UsageError
from rtexp.local.unreachable import unreachable
from rtexp.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rtexp.settings import KafkaSettings

_DAY_MS = 24 * 3600 * 1000
_ASKED = ("cleanup.policy", "retention.ms", "message.timestamp.type")


def unfit(topic: str, config: Mapping[str, str], oldest_ms: int, now_ms: int) -> str | None:
    """Return why a topic can't take records of such times, and what to do; None if it can.

    What ``config`` doesn't tell is taken for right: not everybody may read it.
    """
    if config.get("message.timestamp.type") == "LogAppendTime":
        return (
            f"{topic} gives records the time at which they come, but a replay has times of its own: set "
            "message.timestamp.type=CreateTime for it with your Kafka's tools"
        )
    retention_ms = int(config.get("retention.ms", -1))
    if (
        "delete" not in config.get("cleanup.policy", "")
        or retention_ms < 0
        or oldest_ms >= now_ms - retention_ms
    ):
        return None
    oldest = datetime.fromtimestamp(oldest_ms / 1000, UTC).isoformat(timespec="seconds")
    return (
        f"{topic} keeps records for {retention_ms / _DAY_MS:g} days, but the oldest row is of {oldest}: it would be "
        "deleted before it is counted; set retention.ms=-1 for it with your Kafka's tools, or give --now"
    )


async def refuse_unfit(kafka: KafkaSettings, oldest_ms: Mapping[str, int], now_ms: int) -> None:
    """Raise UsageError if one of these topics can't take records as old as that.

    A topic that doesn't exist is passed over. StoreUnavailable if no broker answers.
    """
    client = AIOKafkaAdminClient(**client_options(kafka))
    try:
        await client.start()
        # All are listed: asking for one by name would make it, on a broker that creates topics by itself.
        present = {topic["topic"] for topic in await client.describe_topics()}
        configs = await _configs(client, [name for name in oldest_ms if name in present])
    except KafkaError as exc:
        raise await unreachable(kafka, exc, doing="reading the topics' configuration") from exc
    finally:
        await client.close()
    for topic, config in configs.items():
        if problem := unfit(topic, config, oldest_ms[topic], now_ms):
            raise UsageError(problem)


async def _configs(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    keys = dict.fromkeys(_ASKED)
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, keys) for name in names]
    return {
        name: dict(_known(entries))
        for response in await client.describe_configs(asked)
        for _code, _message, _kind, name, entries in response.resources
    }


def _known(entries: Sequence[Sequence[str]]) -> Iterator[tuple[str, str]]:
    for key, value, *_ in entries:
        if key in _ASKED and value is not None:
            yield key, value
