"""Topics as a broker may have them, and what is said of each difference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rtexp.local.checks.topics import TRANSACTIONS, Found, described, judge_topics, judge_transactions
from rtexp.local.topics import topics_of
from rtexp.settings import KafkaSettings, PipelineSettings, Settings

HOUR_MS = 3_600_000
LIVE = Settings(kafka=KafkaSettings(partitions=8))
RECORDS = Settings(kafka=KafkaSettings(partitions=8), pipeline=PipelineSettings(clock="records"))


def as_made(settings: Settings) -> dict[str, Found]:
    """What `rtexp topics create` makes, on a broker with Kafka's own defaults."""
    defaults = {
        "cleanup.policy": "delete",
        "retention.ms": str(7 * 24 * HOUR_MS),
        "retention.bytes": "-1",
        "max.message.bytes": "1048588",
        "min.insync.replicas": "1",
        "delete.retention.ms": str(24 * HOUR_MS),
        "message.timestamp.type": "CreateTime",
    }
    return {
        topic.name: Found(topic.partitions, {**defaults, **topic.config}) for topic in topics_of(settings)
    }


def judged(
    settings: Settings, name: str, *, config: dict[str, str] | None = None, **changes: Any
) -> list[str]:
    """What is said when one topic differs; each line with its level in front."""
    found = as_made(settings)
    there = found[name]
    found[name] = replace(there, config={**there.config, **(config or {})}, **changes)
    return [f"{f.level} {f.text}" for f in judge_topics(topics_of(settings), found, settings)]


@pytest.mark.parametrize("settings", [LIVE, RECORDS], ids=["live", "records"])
def test_topics_that_rtexp_has_made_are_well(settings: Settings) -> None:
    (finding,) = judge_topics(topics_of(settings), as_made(settings), settings)
    assert (finding.level, finding.text) == ("ok", "15 as rtexp needs them")


def test_topics_that_are_missing_are_named() -> None:
    found = as_made(LIVE)
    del found["rtexp.partials"], found["rtexp.status"]
    (finding,) = judge_topics(topics_of(LIVE), found, LIVE)
    assert (
        finding.text
        == "rtexp.partials, rtexp.status missing: `rtexp topics create`, or `rtexp up`, makes them"
    )
    *_, finding = judge_topics(topics_of(LIVE), {}, LIVE)
    assert "and 8 more missing" in finding.text


def test_a_topic_of_users_own_that_is_missing_is_told_with_the_setting_and_names_like_it() -> None:
    found = as_made(LIVE)
    del found["activations"]
    (finding,) = judge_topics(topics_of(LIVE), found, LIVE, [*found, "site.activations", "other"])
    assert (finding.level, finding.text) == (
        "fail",
        (
            "there is no topic activations ([activations] topic): correct that (there is site.activations); "
            "`rtexp topics create`, or `rtexp up`, makes it empty"
        ),
    )
    (finding,) = judge_topics(topics_of(LIVE), found, LIVE, [])
    assert "correct that if it is another" in finding.text


@pytest.mark.parametrize(
    ("topic", "change", "told"),
    [
        pytest.param(
            "rtexp.filtered-actions",
            {"partitions": 4},
            "fail rtexp.filtered-actions has 4 partitions, but [kafka] partitions is 8: set that to 4, or begin anew",
            id="partitions of the setting",
        ),
        pytest.param(
            "rtexp.partials",
            {"partitions": 4},
            "fail rtexp.partials has 4 partitions, but rtexp needs 8",
            id="others",
        ),
        pytest.param(
            "rtexp.aggregate-users-changelog",
            {"config": {"cleanup.policy": "delete"}},
            "fail rtexp.aggregate-users-changelog has cleanup.policy=delete, but rtexp needs compact",
            id="clean-up",
        ),
        pytest.param(
            "rtexp.partials",
            {"config": {"cleanup.policy": ""}},
            "fail rtexp.partials has settings that can't be seen: grant DescribeConfigs",
            id="no right to see",
        ),
        pytest.param(
            "rtexp.filtered-actions",
            {"config": {"retention.ms": str(HOUR_MS)}},
            "fail rtexp.filtered-actions keeps records for 60 minutes: what a job hasn't read when it was down for "
            "longer is lost: set retention.ms=604800000",
            id="hardly any retention",
        ),
        pytest.param(
            "rtexp.partials",
            {"config": {"retention.ms": str(72 * HOUR_MS)}},
            "warn rtexp.partials keeps records for 3 days",
            id="short retention",
        ),
        pytest.param(
            "rtexp.partials",
            {"config": {"retention.bytes": "1000000"}},
            "warn rtexp.partials keeps 1,000,000 bytes a partition, whether they have been read or not",
            id="retention by bytes",
        ),
        pytest.param(
            "rtexp.results-buckets-changelog",
            {"config": {"delete.retention.ms": "60000"}},
            "warn rtexp.results-buckets-changelog keeps tombstones for 60 seconds",
            id="tombstones",
        ),
        pytest.param(
            "rtexp.ramped-groups",
            {"config": {"max.message.bytes": "1048588"}},
            "fail rtexp.ramped-groups takes records of 1,048,588 bytes, rtexp needs 8,388,608: set max.message.bytes",
            id="records of the snapshot",
        ),
        pytest.param(
            "rtexp.partials",
            {"config": {"max.message.bytes": "100000"}},
            "fail rtexp.partials takes records of 100,000 bytes, rtexp needs 1,000,000",
            id="records",
        ),
        pytest.param(
            "rtexp.partials",
            {"config": {"min.insync.replicas": "2"}},
            "fail rtexp.partials takes no writes: 1 of its replicas are in sync, min.insync.replicas is 2",
            id="too few in sync",
        ),
        pytest.param(
            "rtexp.partials",
            {"config": {"min.insync.replicas": "2"}, "replicas": 2, "in_sync": 2},
            "warn rtexp.partials stops when one broker does, as all 2 replicas must have each write: set min.insync.r",
            id="all must be in sync",
        ),
        pytest.param(
            "rtexp.partials",
            {"led": False},
            "fail rtexp.partials has a partition without a leader",
            id="no leader",
        ),
        pytest.param(
            "actions",
            {"config": {"cleanup.policy": "compact,delete"}},
            "warn actions is compacted",
            id="raw and compacted",
        ),
        pytest.param(
            "actions",
            {"config": {"retention.ms": "60000"}},
            "warn actions keeps records for 60 seconds: what comes while ingest is down for longer is lost",
            id="raw and short",
        ),
    ],
)
def test_a_topic_that_differs_is_told_with_what_to_do(topic: str, change: dict[str, Any], told: str) -> None:
    (line,) = judged(LIVE, topic, **change)
    assert line.startswith(told)


def test_raw_topics_may_be_cut_and_kept_as_people_like() -> None:
    for change in ({"partitions": 3}, {"config": {"retention.bytes": "5", "max.message.bytes": "100"}}):
        assert judged(LIVE, "actions", **change) == ["ok 15 as rtexp needs them"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"retention.ms": "604800000"}, "fail actions keeps records for 7 days by their own time"),
        (
            {"message.timestamp.type": "LogAppendTime"},
            "fail actions gives records the broker's time, but clock = ",
        ),
    ],
)
def test_a_replay_needs_raw_topics_that_keep_its_times(config: dict[str, str], told: str) -> None:
    (line,) = judged(RECORDS, "actions", config=config)
    assert line.startswith(told)
    assert judged(LIVE, "actions", config=config) == ["ok 15 as rtexp needs them"]


def test_a_raw_topic_whose_settings_cannot_be_seen_is_a_warning() -> None:
    (actions,) = [topic for topic in topics_of(LIVE) if topic.name == "actions"]
    (finding,) = judge_topics([actions], {"actions": Found(8, {})}, LIVE)
    assert finding.level == "warn"
    assert finding.text.startswith("actions has settings that can't be seen")


def test_fewer_replicas_than_configured_are_a_warning() -> None:
    three = Settings(kafka=KafkaSettings(partitions=8, replication=3))
    found = {name: replace(topic, replicas=3, in_sync=3) for name, topic in as_made(three).items()}
    found["rtexp.partials"] = replace(found["rtexp.partials"], replicas=1, in_sync=1)
    (finding,) = judge_topics(topics_of(three), found, three)
    assert finding.text.startswith("rtexp.partials has 1 replicas, [kafka] replication is 3")


DEFAULTS = {"transaction.state.log.replication.factor": "3", "transaction.state.log.min.isr": "2"}


def test_transactions_need_as_many_brokers_as_their_log_is_to_have() -> None:
    (finding,) = judge_transactions(None, DEFAULTS, brokers=1)
    assert finding.level == "fail"
    assert "needs 3 brokers, there are 1" in finding.text
    assert [f.level for f in judge_transactions(None, DEFAULTS, brokers=3)] == ["ok"]
    ones = dict.fromkeys(DEFAULTS, "1")
    assert [f.level for f in judge_transactions(None, ones, brokers=1)] == ["ok"]


def test_the_log_of_transactions_must_take_writes() -> None:
    log = Found(50, {"min.insync.replicas": "2"}, replicas=3, in_sync=1)
    (finding,) = judge_transactions(log, DEFAULTS, brokers=3)
    assert (finding.check, finding.level) == ("transactions", "fail")
    assert finding.text.startswith(f"{TRANSACTIONS} takes no writes")
    assert [f.level for f in judge_transactions(replace(log, in_sync=3), DEFAULTS, brokers=3)] == ["ok"]


def test_a_topic_is_described_by_its_worst_partition() -> None:
    topic = {
        "topic": "x",
        "partitions": [
            {"replicas": [1, 2, 3], "isr": [1, 2, 3], "leader": 1},
            {"replicas": [1, 2], "isr": [2], "leader": -1},
        ],
    }
    assert described([topic, {"topic": "y", "partitions": []}], {"x": {"a": "b"}}) == {
        "x": Found(2, {"a": "b"}, replicas=2, in_sync=1, led=False)
    }
