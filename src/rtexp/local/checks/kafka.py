"""Kafka: whether it answers, at addresses that lead to it from here, and has what rtexp asks of it."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import ApiVersionRequest

from rtexp.local.checks.database import judge_clock
from rtexp.local.checks.findings import Finding
from rtexp.local.checks.quorum import controller_clock_ms
from rtexp.local.checks.raw_input import raw_input
from rtexp.local.checks.topics import TRANSACTIONS, described, judge_topics, judge_transactions
from rtexp.local.topics import topics_of
from rtexp.local.unreachable import unreachable
from rtexp.settings import client_options
from rtexp.settings.binding import is_loopback
from rtexp.settings.values import is_loopback_broker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from rtexp.settings import KafkaSettings, Settings

BOOTSTRAP_SECONDS = 7.0
CONNECT_SECONDS = 2.5
"""One that doesn't answer must leave time for the next."""
ASK_SECONDS = 5.0
_NEEDED = {
    0: ("Produce", 3),
    1: ("Fetch", 4),
    22: ("InitProducerId", 0),
    24: ("AddPartitionsToTxn", 0),
    26: ("EndTxn", 0),
}
"""By key of Kafka's requests the version that brings transactions: that of Kafka 0.11."""


class Node(NamedTuple):
    """A broker by the address that it gives to clients."""

    id: int
    host: str
    port: int

    def __str__(self) -> str:
        return f"broker {self.id} at {self.host}:{self.port}"


async def kafka(
    settings: Settings, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
) -> list[Finding]:
    """Judge brokers and topics."""
    try:
        nodes = await _nodes(settings.kafka)
    except (KafkaError, OSError, TimeoutError) as error:
        return [Finding("kafka", "fail", str(await unreachable(settings.kafka, error, doing="connecting")))]
    found = [Finding("kafka", "ok", f"answers at {', '.join(settings.kafka.brokers)}; brokers: {len(nodes)}")]
    faults = await asyncio.gather(*map(_connect, nodes))
    listeners = judge_listeners(settings.kafka.brokers, dict(zip(nodes, faults, strict=True)))
    found += listeners
    if len(nodes) < (wanted := settings.kafka.replication):
        text = f"[kafka] replication is {wanted}, there are {len(nodes)} brokers: set it to at most that"
        found.append(Finding("kafka", "fail", text))
    if any(finding.level == "fail" for finding in listeners):
        return [*found, Finding("topics", "fail", "not looked at, as not all brokers can be reached")]
    try:
        async with asyncio.timeout(ASK_SECONDS), _admin(settings.kafka) as admin:
            asked, partitions = await _ask(admin, settings, nodes, now_ms)
    except (KafkaError, OSError, TimeoutError) as error:
        fault = await unreachable(settings.kafka, error, doing="describing topics")
        return [*found, Finding("topics", "fail", str(fault))]
    return [*found, *asked, *await raw_input(settings, partitions)]


def judge_listeners(bootstrap: Iterable[str], faults: Mapping[Node, str]) -> list[Finding]:
    """Judge the addresses that brokers give to clients; ``faults`` has why one can't be reached, empty where it can."""
    found = [
        Finding(
            "listeners",
            "fail",
            f"{node} can't be reached from here ({fault}), although [kafka] brokers can. Clients are sent to the "
            "address that a broker gives as its own: set its advertised.listeners to one that leads there from here",
        )
        for node, fault in faults.items()
        if fault
    ]
    elsewhere = not all(is_loopback_broker(broker) for broker in bootstrap)
    found += [
        Finding(
            "listeners",
            "warn",
            f"{node}: that address is every machine's own, so workers elsewhere won't find it: set "
            "advertised.listeners of the broker to a name that they know",
        )
        for node, fault in faults.items()
        if elsewhere and not fault and is_loopback(node.host)
    ]
    return found or [Finding("listeners", "ok", ", ".join(map(str, faults)) + " can be reached from here")]


async def _nodes(kafka: KafkaSettings) -> list[Node]:
    """Return all brokers as the first that answers names them, whether they can be reached or not."""
    client = AIOKafkaClient(request_timeout_ms=int(CONNECT_SECONDS * 1000), **client_options(kafka))
    try:
        async with asyncio.timeout(BOOTSTRAP_SECONDS):
            await client.bootstrap()
        return sorted(Node(node.nodeId, node.host, node.port) for node in client.cluster.brokers())
    finally:
        await client.close()


async def _connect(node: Node) -> str:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(node.host, node.port)
    except TimeoutError:
        return f"no answer within {CONNECT_SECONDS:g} s"
    except OSError as error:
        return error.strerror or str(error)
    with closing(writer):
        return ""


@asynccontextmanager
async def _admin(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(request_timeout_ms=int(ASK_SECONDS * 1000), **client_options(kafka))
    try:
        await client.start()
        yield client
    finally:
        await client.close()


async def _ask(
    admin: AIOKafkaAdminClient, settings: Settings, nodes: Sequence[Node], now_ms: Callable[[], int]
) -> tuple[list[Finding], dict[str, int]]:
    """Return findings, and the partitions of the raw topics that are there."""
    found = judge_versions(await _versions(admin))
    if any(finding.level == "fail" for finding in found):
        return found, {}
    wanted = topics_of(settings)
    # All are listed: asking for one by name would make it, on a broker that creates topics by itself.
    there = [topic for topic in await admin.describe_topics() if not topic["error_code"]]
    names = {topic.name for topic in wanted} | {TRANSACTIONS}
    present = [topic["topic"] for topic in there if topic["topic"] in names]
    configs = await _configs(admin, [ConfigResource(ConfigResourceType.TOPIC, name) for name in present])
    topics = described((topic for topic in there if topic["topic"] in names), configs)
    broker = await _configs(admin, [ConfigResource(ConfigResourceType.BROKER, str(nodes[0].id))])
    found += judge_topics(wanted, topics, settings, [topic["topic"] for topic in there])
    found += judge_transactions(topics.get(TRANSACTIONS), broker[str(nodes[0].id)], len(nodes))
    raw = {
        topic.name: topics[topic.name].partitions for topic in wanted if topic.raw and topic.name in topics
    }
    return [*found, await _clock(admin, now_ms)], raw


async def _versions(admin: AIOKafkaAdminClient) -> dict[int, tuple[int, int]]:
    response = await admin._send_request(ApiVersionRequest())  # noqa: SLF001 - its way to any broker
    return {key: (least, most) for key, least, most in response.api_versions}


def judge_versions(versions: Mapping[int, tuple[int, int]]) -> list[Finding]:
    """Judge what requests a broker knows, by key the lowest and highest version of each."""
    lacks = [name for key, (name, least) in _NEEDED.items() if versions.get(key, (0, -1))[1] < least]
    if not lacks:
        return []
    return [
        Finding(
            "kafka",
            "fail",
            f"the broker knows no {', '.join(lacks)} as transactions need: take Kafka 0.11 or newer",
        )
    ]


async def _configs(
    admin: AIOKafkaAdminClient, resources: list[ConfigResource]
) -> Mapping[str, Mapping[str, str]]:
    configs: defaultdict[str, dict[str, str]] = defaultdict(dict)
    if not resources:
        return configs
    for response in await admin.describe_configs(resources):
        for _code, _message, _kind, name, entries in response.resources:
            configs[name] = {entry[0]: entry[1] or "" for entry in entries}
    return configs


async def _clock(admin: AIOKafkaAdminClient, now_ms: Callable[[], int]) -> Finding:
    before = now_ms()
    try:
        said = await controller_clock_ms(admin)
    except (KafkaError, NotImplementedError):
        said = None
    if said is None:
        return Finding(
            "clocks",
            "ok",
            "Kafka's isn't known: it tells from version 3.3 on, those who may describe the cluster",
        )
    return judge_clock("Kafka's controller", said, before, now_ms())
