from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rtexp.engine.config import EngineConfig
from rtexp.errors import StateError
from rtexp.local.topics import Existing, missing, topics_of
from rtexp.settings import KafkaSettings, PipelineSettings, Settings

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(kafka=KafkaSettings(prefix="p", partitions=6))
TOPICS = {topic.name: topic for topic in topics_of(SETTINGS)}
AS_THEY_SHOULD_BE = {
    name: Existing(topic.partitions, topic.config.get("cleanup.policy", "delete"))
    for name, topic in TOPICS.items()
}


def test_partitions_and_clean_up_are_those_of_the_contract() -> None:
    found = {name: (topic.partitions, topic.config.get("cleanup.policy")) for name, topic in TOPICS.items()}
    assert found == {
        "actions": (6, None),
        "activations": (6, None),
        "p.ramped-groups": (1, "compact"),
        "p.filtered-actions": (6, "delete"),
        "p.filtered-activations": (6, "delete"),
        "p.partials": (8, "delete"),
        "p.aggregate-users-changelog": (6, "compact"),
        "p.results-buckets-changelog": (8, "compact"),
        "p.results": (8, "compact"),
        "p.status": (1, "compact"),
        "p.alerts": (1, "delete"),
        "p.conditions": (1, "delete"),
        "p.undelivered": (1, "delete"),
        "p.dead-letters": (4, "delete"),
        "p.replayed": (1, "compact"),
    }


def test_a_changelog_keeps_tombstones_twice_as_long_as_a_store_may_be_old(tmp_path: Path) -> None:
    oldest_s = EngineConfig("group", ("broker:1",), tmp_path).store_max_age
    for name in ("p.aggregate-users-changelog", "p.results-buckets-changelog"):
        assert int(TOPICS[name].config["delete.retention.ms"]) >= 2 * oldest_s * 1000


def test_inputs_of_jobs_are_deleted_by_their_age_alone() -> None:
    for name in ("p.filtered-actions", "p.filtered-activations", "p.partials"):
        assert TOPICS[name].config["retention.bytes"] == "-1"


@pytest.mark.parametrize(("clock", "config"), [("records", {"retention.ms": "-1"}), ("live", {})])
def test_raw_topics_keep_records_of_long_ago_only_for_a_replay(clock: str, config: dict[str, str]) -> None:
    settings = Settings(pipeline=PipelineSettings.model_validate({"clock": clock}))
    assert [topic.config for topic in topics_of(settings) if topic.raw] == [config, config]


def test_what_is_missing_is_made_and_nothing_else() -> None:
    existing = {
        name: found for name, found in AS_THEY_SHOULD_BE.items() if name not in {"actions", "p.status"}
    }
    assert [topic.name for topic in missing(list(TOPICS.values()), existing)] == ["actions", "p.status"]
    assert missing(list(TOPICS.values()), AS_THEY_SHOULD_BE) == []


@pytest.mark.parametrize(
    ("name", "found", "told"),
    [
        pytest.param(
            "p.filtered-actions",
            Existing(4, "delete"),
            "p.filtered-actions has 4 partitions, but [kafka] partitions is 6: set that to 4, or begin anew with "
            "another [kafka] prefix; state can't move between partitions",
            id="cut by the setting",
        ),
        pytest.param(
            "p.partials",
            Existing(1, "delete"),
            "p.partials has 1 partitions, but rtexp needs 8: begin anew with another [kafka] prefix; "
            "state can't move between partitions",
            id="a fixed number",
        ),
        pytest.param(
            "p.aggregate-users-changelog",
            Existing(6, "delete"),
            "p.aggregate-users-changelog has cleanup.policy=delete, but rtexp needs compact: "
            "set it with your Kafka's tools before any worker runs",
            id="a changelog that would forget",
        ),
        pytest.param(
            "p.partials",
            Existing(8, ""),
            "p.partials has settings that can't be seen: grant DescribeConfigs on it to the user of [kafka] username",
            id="no right to see",
        ),
    ],
)
def test_what_disagrees_is_refused_with_both_values_and_what_to_do(
    name: str, found: Existing, told: str
) -> None:
    with pytest.raises(StateError) as caught:
        missing(list(TOPICS.values()), {**AS_THEY_SHOULD_BE, name: found})
    assert str(caught.value) == told


def test_raw_topics_are_taken_as_they_are() -> None:
    existing = {**AS_THEY_SHOULD_BE, "actions": Existing(100, "compact")}
    assert missing(list(TOPICS.values()), existing) == []
