"""What is said of the newest records in users' own topics."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from rtexp.agents.raw_decoders import action_decoder, activation_decoder
from rtexp.local.checks.raw_input import Input, judge_input
from rtexp.settings import PipelineSettings, Settings

LIVE = Settings.model_validate(
    {"actions": {"topic": "site.events", "user": "who.id", "tracked": ("search",)}}
)
NOW_MS = 1_795_681_800_000
GOOD = {"who": {"id": 1}, "event": "search", "ts": NOW_MS}
WITHOUT = {"who": {"key": 1}, "event": "search", "ts": NOW_MS}
OTHER = {**GOOD, "event": "view"}


def records(*values: Any) -> list[Any]:
    return [
        SimpleNamespace(
            topic="site.events",
            partition=2,
            offset=at,
            key=None,
            headers=(),
            timestamp=NOW_MS,
            value=None if value is None else msgspec.json.encode(value),
        )
        for at, value in enumerate(values)
    ]


def judged(found: list[Any], settings: Settings = LIVE) -> tuple[str, str]:
    raw = Input("actions", "site.events", action_decoder(settings), frozenset(settings.actions.tracked))
    finding = judge_input(raw, found, settings)
    assert finding.check == "input"
    return finding.level, finding.text


def test_records_that_can_be_read_are_well() -> None:
    expected = "the newest 2 records of site.events ([actions] topic) can be read"
    assert judged(records(GOOD, OTHER)) == ("ok", expected)


def test_a_path_that_leads_nowhere_is_told_with_the_record_and_what_to_compare() -> None:
    assert judged(records(WITHOUT, WITHOUT)) == (
        "fail",
        (
            "2 of the newest 2 records of site.events ([actions] topic) are bad input, the last site.events/2 at 1: "
            "missing-field: who.id is absent: compare paths and time_format of [actions] with what is sent, or correct "
            "the producer"
        ),
    )


def test_a_few_bad_records_are_told_and_fail_only_above_dead_letter_ratio() -> None:
    level, text = judged(records(GOOD, None))
    assert (level, text.startswith("1 of the newest 2 records")) == ("ok", True)
    strict = LIVE.model_copy(update={"pipeline": PipelineSettings(dead_letter_ratio=0.4)})
    assert judged(records(GOOD, None), strict)[0] == "fail"


def test_events_of_which_none_is_tracked_are_named() -> None:
    level, text = judged(records(OTHER, OTHER))
    assert level == "warn"
    assert "has an event of [actions] tracked, but `view`: nothing else is counted" in text


@pytest.mark.parametrize(("clock", "level"), [("live", "warn"), ("records", "ok")])
def test_an_empty_topic_is_as_it_should_be_before_a_replay_only(clock: Any, level: str) -> None:
    settings = LIVE.model_copy(update={"pipeline": PipelineSettings(clock=clock)})
    assert judged([], settings)[0] == level


def test_marks_of_the_watermark_are_no_records() -> None:
    (mark,) = records(None)
    mark.headers = (("rtexp-watermark", b"1"),)
    assert judged([mark])[1].startswith("site.events ([actions] topic) has no records yet")


def test_activations_have_no_events_to_be_tracked() -> None:
    raw = Input("activations", "site.events", activation_decoder(LIVE), None)
    value = {"user_id": "u", "experiment": "feed", "group": "treatment", "ts": NOW_MS}
    assert judge_input(raw, records(value), LIVE).level == "ok"
