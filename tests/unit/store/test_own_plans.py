"""What a definition may say of its plan, and what the message says where it contradicts itself or the settings."""

from __future__ import annotations

import json
import re

import pytest

from rtexp.errors import StateError, UsageError
from rtexp.settings import ActionSettings, PipelineSettings, Settings, StatisticsSettings
from rtexp.statistics.plans import DecisionMetric, Guardrail
from rtexp.store.definitions import parse_definitions
from rtexp.store.own_plans import OwnPlan, decoded, encoded

SETTINGS = Settings(actions=ActionSettings(tracked=("search", "click")))


def plan_of(body: str, settings: Settings = SETTINGS) -> str:
    text = f"experiments:\n  - name: feed\n    control: c\n    groups: [c, t]\n{body}"
    return parse_definitions(text, settings).experiments[0].plan


def refusal(body: str, settings: Settings = SETTINGS) -> str:
    with pytest.raises(UsageError) as caught:
        plan_of(body, settings)
    line, _, told = str(caught.value).partition(": ")
    assert re.fullmatch(r"line [0-9]+", line)
    return told


def test_what_is_declared_is_kept() -> None:
    text = plan_of(
        "    decision: [{event: search, metric: propensity}]\n"
        "    guardrails: [{event: click, metric: volume, harm: drop}]\n"
        "    good: {search: up}\n"
        "    method: bonferroni\n"
        "    alpha: 0.01\n"
    )
    assert decoded("feed", text) == OwnPlan(
        (DecisionMetric("search", "propensity"),),
        (Guardrail("click", "volume", "drop"),),
        {"search": "up"},
        {"method": "bonferroni", "alpha": 0.01},
    )


def test_an_experiment_that_declares_nothing_keeps_nothing() -> None:
    assert plan_of("") == ""
    assert encoded(OwnPlan()) == ""
    assert decoded("feed", "") == OwnPlan()


def test_that_nothing_decides_is_a_declaration() -> None:
    assert json.loads(plan_of("    decision: []")) == {"decision": []}
    assert plan_of("    decision: null") == ""


def test_the_same_plan_in_another_order_is_the_same_text() -> None:
    there = plan_of("    alpha: 0.01\n    good: {search: up, click: down}\n    power: 0.9\n")
    back = plan_of("    power: 0.9\n    good: {click: down, search: up}\n    alpha: 0.01\n")
    assert there == back


def test_the_same_number_written_otherwise_is_the_same_text() -> None:
    assert plan_of("    srm_prior: 5") == plan_of("    srm_prior: 5.0")


def test_a_small_number_without_a_dot_which_yaml_takes_for_text_is_a_number() -> None:
    assert json.loads(plan_of("    min_spend: 1e-12")) == {"statistics": {"min_spend": 1e-12}}


@pytest.mark.parametrize("key", StatisticsSettings.model_fields.keys() - {"settle_seconds"})
def test_every_other_key_of_the_statistics_may_be_declared(key: str) -> None:
    value = getattr(StatisticsSettings(), key)
    assert json.loads(plan_of(f"    {key}: {value!r}")) == {"statistics": {key: value}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param("alpha: 0.5", "alpha: expected less than 0.5, found `0.5`", id="level of one half"),
        pytest.param("alpha: 0", "alpha: expected more than 0.0, found `0`", id="level of nothing"),
        pytest.param("srm_alpha: 0.7", "srm_alpha: expected less than 0.5, found `0.7`", id="SRM's level"),
        pytest.param("guardrail_alpha: 1", "guardrail_alpha: expected less than 0.5", id="guardrails' level"),
        pytest.param("alpha: .nan", "alpha: expected ", id="not a number"),
        pytest.param("alpha: 'small'", "alpha: expected a number, found `small`", id="no number"),
        pytest.param("alpha: true", "alpha: expected a number, found `True`", id="truth is no number"),
        pytest.param("method: t-test", "method: expected 'alpha-spending', 'bonferroni'", id="method"),
        pytest.param("bonferroni_looks: 0", "bonferroni_looks: expected at least 1", id="no looks"),
        pytest.param("bonferroni_looks: 289", "bonferroni_looks: expected at most 288", id="many looks"),
        pytest.param(
            "look_every_hours: 0.1",
            "look_every_hours: expected look_every_hours to be a multiple of a bucket of 15 minutes, "
            "such as 0.25, found 0.1",
            id="a look within a bucket",
        ),
        pytest.param("minimum_lift: 0", "minimum_lift: expected at least 0.01", id="a lift of nothing"),
        pytest.param(
            "decision: [{event: buy, metric: volume}]",
            "decision[0].event: `buy` is not tracked: expected one of [actions] tracked, which are search, click",
            id="decision on an untracked event",
        ),
        pytest.param(
            "guardrails: [{event: buy, metric: volume, harm: drop}]",
            "guardrails[0].event: `buy` is not tracked",
            id="guardrail on an untracked event",
        ),
        pytest.param("good: {buy: up}", "good: `buy` is not tracked", id="direction of an untracked event"),
        pytest.param(
            "decision: [{event: search, metric: users}]",
            "decision[0].metric: expected one of propensity, volume, found `users`",
            id="no such metric",
        ),
        pytest.param(
            "guardrails: [{event: search, metric: volume, harm: up}]",
            "guardrails[0].harm: expected one of drop, rise, found `up`",
            id="no such harm",
        ),
        pytest.param(
            "guardrails: [{event: search, metric: volume}]",
            "guardrails[0]: expected the key `harm`, which is missing",
            id="no harm",
        ),
        pytest.param(
            "good: {search: yes}", "good: expected one of up, down for each event", id="no direction"
        ),
        pytest.param(
            "decision: [{event: search, metric: volume}, {event: search, metric: volume}]",
            "decision[1]: `search, volume` is there already, as experiments[0].decision[0]",
            id="decision twice",
        ),
        pytest.param(
            "decision: [{event: search, metric: volume, harm: drop}]",
            "decision[0].harm: there is no such key; known are event, metric",
            id="a guardrail among decisions",
        ),
        pytest.param(
            "method: gamblers-ruin\n    decision: [{event: search, metric: volume}]",
            "decision[0].metric: expected propensity, found volume: gamblers-ruin counts each user once",
            id="gambler's ruin on a volume",
        ),
        pytest.param(
            "guardrails: [{event: search, metric: volume, harm: drop}, {event: search, metric: volume, harm: rise}]",
            "guardrails[1]: `search, volume` is there already, as experiments[0].guardrails[0]",
            id="a guardrail to both sides",
        ),
        pytest.param(
            "settle_seconds: 5",
            "settle_seconds: expected in [statistics] alone",
            id="a key of all experiments",
        ),
        pytest.param("alhpa: 0.01", "alhpa: there is no such key; did you mean `alpha`?", id="misspelt key"),
    ],
)
def test_a_contradiction_is_refused_with_its_place(body: str, message: str) -> None:
    assert refusal(f"    {body}").startswith(f"experiments[0]{'' if message[0] == ':' else '.'}{message}")


def test_a_key_is_judged_together_with_the_settings_that_it_stands_on() -> None:
    short = Settings(pipeline=PipelineSettings(period_hours=2))
    assert refusal("    method: bonferroni", short) == (
        "experiments[0].method: expected bonferroni_looks to be at most 8, one a bucket and 288 in all, found 12"
    )
    assert plan_of("    method: bonferroni\n    bonferroni_looks: 8", short)
    ruin = Settings(statistics=StatisticsSettings(method="gamblers-ruin"))
    assert "gamblers-ruin counts each user once" in refusal(
        "    decision: [{event: click, metric: volume}]", ruin
    )


@pytest.mark.parametrize("text", ["{", '{"decision": 5}', '{"colour": "red"}', "[]"])
def test_a_stored_plan_that_cannot_be_read_says_what_to_do(text: str) -> None:
    with pytest.raises(
        StateError, match=r"experiment `feed` in SQL can't be read .*: load its definition again"
    ):
        decoded("feed", text)
