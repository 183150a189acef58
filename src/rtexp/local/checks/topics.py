"""Topics as the broker has them, beside what rtexp needs; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from rtexp.local.checks.findings import Finding
from rtexp.local.topics import Existing, disagreements, unseen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rtexp.local.topics import Topic
    from rtexp.settings import Settings

HOUR_MS = 3_600_000
SHORT_MS = 24 * HOUR_MS
"""Of retention: an outage over a night must fit."""
LONG_MS = 10 * 365 * 24 * HOUR_MS
"""So far from now may lie what is replayed, and the markers that close a history."""
_TIME_LIMITS = {"message.timestamp.before.max.ms": "before", "message.timestamp.after.max.ms": "ahead of"}
_FOREVER_MS = 2**63 - 1
RECORD_BYTES = 1_000_000
"""Pages and messages are cut to less than Kafka's default limit."""
TRANSACTIONS = "__transaction_state"
_TOLD = 5
_NEAR = 3


@dataclass(frozen=True)
class Found:
    """A topic as the broker describes it."""

    partitions: int
    config: Mapping[str, str]
    replicas: int = 1
    """The fewest of a partition, and so below."""
    in_sync: int = 1
    led: bool = True


def judge_topics(
    wanted: Sequence[Topic],
    found: Mapping[str, Found],
    settings: Settings,
    all_names: Sequence[str] = (),
) -> list[Finding]:
    """Return what isn't as it should be, else one finding for all; ``all_names`` are those of the broker's topics."""
    missing = [topic.name for topic in wanted if topic.name not in found and not topic.raw]
    others = set(all_names).difference(topic.name for topic in wanted)
    findings = [
        _fail(_no_raw(topic.name, settings, others))
        for topic in wanted
        if topic.raw and topic.name not in found
    ]
    if missing:
        some = ", ".join(missing[:_TOLD]) + (
            f" and {len(missing) - _TOLD} more" if len(missing) > _TOLD else ""
        )
        findings.append(_fail(f"{some} missing: `rtexp topics create`, or `rtexp up`, makes them"))
    for topic in wanted:
        if topic.name in found:
            findings += _judge(topic, found[topic.name], settings)
    return findings or [Finding("topics", "ok", f"{len(wanted)} as rtexp needs them")]


def _no_raw(name: str, settings: Settings, others: Iterable[str]) -> str:
    """Return what is said of a topic of users' own that isn't there: most often its name is wrong."""
    section = "actions" if name == settings.actions.topic else "activations"
    near = get_close_matches(name, sorted(others), _NEAR, 0.75)
    act = f"correct that (there is {', '.join(near)})" if near else "correct that if it is another"
    return f"there is no topic {name} ([{section}] topic): {act}; `rtexp topics create`, or `rtexp up`, makes it empty"


def _judge(topic: Topic, found: Found, settings: Settings) -> Iterator[Finding]:
    existing = Existing(found.partitions, found.config.get("cleanup.policy", ""))
    yield from map(_fail, disagreements(topic, existing))
    yield from _replicas(topic.name, found, settings.kafka.replication)
    yield from _raw(topic, found, settings) if topic.raw else _own(topic, found)


def judge_transactions(found: Found | None, broker: Mapping[str, str], brokers: int) -> list[Finding]:
    """Judge where transactions are kept, before there are any by what the broker is going to make."""
    factor = _number(broker, "transaction.state.log.replication.factor", 1)
    least = _number(broker, "transaction.state.log.min.isr", 1)
    findings: list[Finding] = []
    if found is not None:
        findings += _replicas(TRANSACTIONS, found, 1)
    elif (needed := max(factor, least)) > brokers:
        text = (
            f"transactions can't be had: {TRANSACTIONS} needs {needed} brokers, there are {brokers}: set "
            "transaction.state.log.replication.factor and transaction.state.log.min.isr to at most that"
        )
        findings.append(_fail(text, "transactions"))
    return findings or [Finding("transactions", "ok", "can be had")]


def _own(topic: Topic, found: Found) -> Iterator[Finding]:
    name = topic.name
    needed = int(topic.config.get("max.message.bytes", RECORD_BYTES))
    if (most := _number(found.config, "max.message.bytes", needed)) < needed:
        act = _set("max.message.bytes", needed)
        yield _fail(f"{name} takes records of {most:,} bytes, rtexp needs {needed:,}: {act}")
    if topic.config["cleanup.policy"] == "compact":
        wanted_ms = int(topic.config["delete.retention.ms"])
        if (kept_ms := _number(found.config, "delete.retention.ms", wanted_ms)) < wanted_ms:
            yield _warn(
                f"{name} keeps tombstones for {_duration(kept_ms)}: a worker that was down for longer may bring "
                f"back what is gone: {_set('delete.retention.ms', wanted_ms)}"
            )
        return
    wanted_ms = int(topic.config["retention.ms"])
    if 0 <= (kept_ms := _number(found.config, "retention.ms", wanted_ms)) < wanted_ms:
        text = (
            f"{name} keeps records for {_duration(kept_ms)}: what a job hasn't read when it was down for longer is "
            f"lost: {_set('retention.ms', wanted_ms)}"
        )
        yield _fail(text) if kept_ms < SHORT_MS else _warn(text)
    if (kept := _number(found.config, "retention.bytes", -1)) >= 0:
        act = _set("retention.bytes", -1)
        yield _warn(f"{name} keeps {kept:,} bytes a partition, whether they have been read or not: {act}")


def _raw(topic: Topic, found: Found, settings: Settings) -> Iterator[Finding]:
    name = topic.name
    if not found.config:
        yield _warn(unseen(name))
    if "compact" in found.config.get("cleanup.policy", ""):
        yield _warn(
            f"{name} is compacted: of records with the same key only the newest may be there to be counted"
        )
    kept_ms = _number(found.config, "retention.ms", -1)
    if settings.pipeline.clock == "live":
        if 0 <= kept_ms < SHORT_MS:
            yield _warn(
                f"{name} keeps records for {_duration(kept_ms)}: what comes while ingest is down for longer is "
                f"lost: {_set('retention.ms', 7 * SHORT_MS)}"
            )
        return
    if kept_ms >= 0:
        yield _fail(
            f"{name} keeps records for {_duration(kept_ms)} by their own time, and those of a replay are older: "
            f"{_set('retention.ms', -1)}"
        )
    if found.config.get("message.timestamp.type", "CreateTime") != "CreateTime":
        yield _fail(
            f'{name} gives records the broker\'s time, but clock = "records" goes by their own: '
            f"{_set('message.timestamp.type', 'CreateTime')}"
        )
    for key, which in _TIME_LIMITS.items():
        if (most_ms := _number(found.config, key, LONG_MS)) < LONG_MS:
            yield _warn(
                f"{name} refuses records more than {_duration(most_ms)} {which} the broker's clock, as those of a "
                f"replay may be: {_set(key, _FOREVER_MS)}"
            )


def _replicas(name: str, found: Found, wanted: int) -> Iterator[Finding]:
    least = _number(found.config, "min.insync.replicas", 1)
    check = "transactions" if name == TRANSACTIONS else "topics"
    if not found.led:
        yield _fail(f"{name} has a partition without a leader: see the brokers' logs", check)
    elif found.in_sync < least:
        yield _fail(
            f"{name} takes no writes: {found.in_sync} of its replicas are in sync, min.insync.replicas is {least}: "
            "start the brokers that are down, or lower that",
            check,
        )
    elif found.replicas > 1 and found.replicas == least:
        act = _set("min.insync.replicas", least - 1)
        yield _warn(
            f"{name} stops when one broker does, as all {least} replicas must have each write: {act}", check
        )
    if found.replicas < wanted:
        act = "reassign its partitions, or set that to what is so"
        yield _warn(f"{name} has {found.replicas} replicas, [kafka] replication is {wanted}: {act}", check)


def _set(key: str, value: object) -> str:
    return f"set {key}={value}"


def _number(config: Mapping[str, str], key: str, default: int) -> int:
    text = config.get(key)
    return int(text) if text and text.lstrip("-").isdigit() else default


def _duration(ms: int) -> str:
    for unit, size_ms in (("days", 24 * HOUR_MS), ("hours", HOUR_MS), ("minutes", 60_000)):
        if ms >= 2 * size_ms:
            return f"{ms / size_ms:.3g} {unit}"
    return f"{ms / 1000:g} seconds"


def _warn(text: str, check: str = "topics") -> Finding:
    return Finding(check, "warn", text)


def _fail(text: str, check: str = "topics") -> Finding:
    return Finding(check, "fail", text)


def described(
    topics: Iterable[Mapping[str, object]], configs: Mapping[str, Mapping[str, str]]
) -> dict[str, Found]:
    """Return topics from the client's description of them, those without partitions left out."""
    found = {}
    for topic in topics:
        partitions = topic["partitions"]
        if not isinstance(partitions, list) or not partitions:
            continue
        name = str(topic["topic"])
        found[name] = Found(
            len(partitions),
            configs.get(name, {}),
            min(len(p["replicas"]) for p in partitions),
            min(len(p["isr"]) for p in partitions),
            led=all(p["leader"] >= 0 for p in partitions),
        )
    return found
