from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.unit.alerts.told import START_MS, alert, notice

from rtexp.alerts.notices import of_alert, of_condition
from rtexp.records.conditions import condition


def test_an_alert_says_what_where_by_how_much_and_how_sure() -> None:
    told = notice()
    assert told.headline == "A drop in search propensity: \u22128.4% under treatment in heavier-page"
    users = "with 14,702 users and 14,685 in control"
    assert told.body.splitlines() == [
        "Lift \u22128.4%, interval \u221213.0 to \u22123.4%.",
        "This harms, by the direction that the plan declares.",
        f"Crossed the boundary at look 9, 9 hours after the ramp, {users}; always-valid p 0.0031.",
        "This holds however often the page was read.",
    ]


def test_the_link_leads_to_the_comparison_whatever_it_is_called() -> None:
    told = notice("https://ab.example.org/rtexp", experiment="a/b ?&#<x>", event="é", group="T+1")
    link = urlsplit(told.link)
    assert f"{link.scheme}://{link.netloc}{link.path}" == (
        "https://ab.example.org/rtexp/experiments/a%2Fb%20%3F%26%23%3Cx%3E"
    )
    assert parse_qs(link.query) == {
        "period": [str(START_MS)],
        "event": ["é"],
        "metric": ["propensity"],
        "group": ["T+1"],
    }
    assert notice("").link == ""


def test_without_a_lift_the_difference_is_told() -> None:
    told = notice(lift=None, lift_low=None, lift_high=None)
    assert told.headline.startswith("A drop in search propensity: \u22120.0312 per user under")
    assert "Difference per user \u22120.0312, interval \u22120.05 to \u22120.0124." in told.body


@pytest.mark.parametrize(
    ("kind", "means", "is_critical", "said"),
    [
        ("significant_drop", "bad", True, "harms"),
        ("significant_drop", "good", False, "helps"),
        ("significant_drop", None, True, "doesn't declare"),
        ("significant_gain", "good", False, "helps"),
        ("significant_gain", "bad", True, "harms"),
        ("significant_gain", None, False, "doesn't declare"),
        ("guardrail", "bad", True, "an alarm, not a verdict"),
    ],
)
def test_harm_and_what_may_be_harm_is_critical(
    kind: str, means: str | None, *, is_critical: bool, said: str
) -> None:
    told = notice(kind=kind, means=means)
    assert told.is_critical is is_critical
    assert said in told.body


def test_a_broken_split_withholds_the_verdict_and_says_where_to_look() -> None:
    none: dict[str, Any] = dict.fromkeys(
        ("group", "event", "metric", "effect", "interval_low", "interval_high", "lift", "p_always_valid"),
    )
    told = notice(kind="srm", srm_p=0.0002, means=None, users_control=None, users_treatment=None, **none)
    assert told.headline == "No verdict: the groups of heavier-page are not split as planned"
    assert "p 0.0002" in told.body
    assert "assignment, logging" in told.body
    assert told.is_critical
    assert told.users is None
    assert told.link.endswith(f"/experiments/heavier-page?period={START_MS}")


@pytest.mark.parametrize("kind", ["significant_gain", "significant_drop", "guardrail", "srm", "of-later"])
def test_no_words_claim_more_than_was_shown(kind: str) -> None:
    told = notice(kind=kind)
    text = f"{told.headline} {told.body}".lower()
    for word in ("winner", "equal", "same", "no effect", "proven", "trending", "almost", "confidence of"):
        assert word not in text


def test_an_alert_of_a_version_before_is_told_with_what_it_has() -> None:
    before = alert(users_control=None, users_treatment=None, lift_low=None, lift_high=None, means=None)
    told = of_alert(before, "")
    assert told.users is None
    assert "interval \u22120.05 to \u22120.0124" in told.body


@pytest.mark.parametrize("is_over", [False, True])
@pytest.mark.parametrize(("kind", "job"), [("stopped", "results"), ("stale", "aggregate"), ("store", "")])
def test_what_is_wrong_with_the_pipeline_and_that_it_is_over_are_told_apart(
    kind: str, job: str, *, is_over: bool
) -> None:
    made = condition(kind, job, START_MS, START_MS + 900_000, is_over=is_over, input_="t/3")  # type: ignore[arg-type]
    told = of_condition(made, "https://ab.example.org")
    assert told.is_critical
    assert told.link == "https://ab.example.org/state"
    assert told.kind == (f"{kind}_over" if is_over else kind)
    assert ("22:28" if is_over else "22:13") in told.headline
    assert ("again" in told.headline) is is_over


def test_the_end_of_a_condition_has_an_id_of_its_own_and_so_has_its_return() -> None:
    ids = {
        condition("stale", "aggregate", since, 9, is_over=over).id
        for since in (1, 2)
        for over in (True, False)
    }
    assert len(ids) == 4
    assert condition("stale", "aggregate", 1, 9, is_over=True).id in ids
