"""A plan: its bytes and hash, what decides by default, and when its looks are due."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.statistics.plan_samples import PLAN, plan

from rtexp.statistics.plans import (
    MAX_LOOKS,
    DecisionMetric,
    canonical,
    decoded,
    default_decision,
    look_offsets_ms,
    look_schedule_ms,
    plan_hash,
    schedule_fault,
)

MINUTE = 60_000
HOUR = 60 * MINUTE


def test_the_bytes_of_a_plan_are_json_with_sorted_keys_at_every_depth() -> None:
    text = canonical(PLAN).decode()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert json.loads(text)["guardrails"] == [{"event": "click", "harm": "drop", "metric": "volume"}]


def test_a_plan_is_read_back_as_it_was_written() -> None:
    odd = plan(
        alpha=0.1 + 0.2 - 0.05, good={"é \n": "down"}, ruin_conversions=1003, ruin_lead=71, problem="x"
    )
    assert decoded(canonical(odd)) == odd


def test_the_order_in_which_names_were_given_does_not_matter_where_they_are_keys() -> None:
    there, back = {"a": 0.25, "b": 0.75}, {"b": 0.75, "a": 0.25}
    assert plan_hash(plan(weights=there)) == plan_hash(plan(weights=back))


def test_the_hash_is_of_the_bytes_and_the_same_in_every_release() -> None:
    assert plan_hash(PLAN) == blake2b(canonical(PLAN), digest_size=8).hexdigest()
    # Stored beside every look: should this fail, old looks can no longer be told to be of their plan.
    assert plan_hash(PLAN) == "c30ac45c6dbc7321"


@pytest.mark.parametrize("field", [field.name for field in msgspec.structs.fields(PLAN)])
def test_every_field_is_in_the_hash(field: str) -> None:
    value = getattr(PLAN, field)
    other: Any = (
        7 if value is None else [] if isinstance(value, list) else {} if isinstance(value, dict) else 0
    )
    if isinstance(value, str):
        other = f"{value}."
    assert plan_hash(plan(**{field: other})) != plan_hash(PLAN)


def test_something_else_than_a_plan_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        decoded(b'{"version": 1}')


def test_by_default_both_metrics_of_up_to_twenty_events_decide() -> None:
    names = [f"e{i}" for i in range(21)]
    assert default_decision("alpha-spending", names[:1]) == [
        DecisionMetric("e0", "propensity"),
        DecisionMetric("e0", "volume"),
    ]
    assert len(default_decision("bonferroni", names[:20])) == 40
    assert default_decision("bonferroni", names) == []


def test_gamblers_ruin_decides_about_propensity_alone() -> None:
    assert {m.metric for m in default_decision("gamblers-ruin", ["a", "b"])} == {"propensity"}


@pytest.mark.parametrize("method", ["alpha-spending", "confidence-sequence", "gamblers-ruin"])
def test_looks_come_every_so_many_hours_up_to_the_end(method: Any) -> None:
    assert look_offsets_ms(plan(method=method)) == [hour * HOUR for hour in range(1, 73)]


def test_a_quarter_of_an_hour_gives_a_look_at_every_bucket() -> None:
    offsets = look_offsets_ms(plan(look_every_hours=0.25))
    assert (len(offsets), offsets[0], offsets[-1]) == (288, 15 * MINUTE, 72 * HOUR)


def test_the_last_look_is_at_the_end_even_where_the_step_does_not_fit() -> None:
    assert [at // HOUR for at in look_offsets_ms(plan(look_every_hours=50))] == [50, 72]


def test_bonferroni_has_exactly_its_number_of_looks() -> None:
    assert [at // HOUR for at in look_offsets_ms(plan(method="bonferroni"))] == list(range(6, 73, 6))


def test_a_look_of_bonferroni_within_a_bucket_waits_for_its_end() -> None:
    # 72 h / 7 = 10 h 17 min 8.57 s: the bucket that this lies in ends at 10 h 30 min.
    offsets = look_offsets_ms(plan(method="bonferroni", bonferroni_looks=7))
    assert offsets[0] == 10 * HOUR + 30 * MINUTE
    assert (len(offsets), offsets[-1]) == (7, 72 * HOUR)


@given(
    period_hours=st.integers(1, 24 * 28),
    bucket_minutes=st.sampled_from([1, 5, 10, 15, 20, 30, 60]),
    looks=st.integers(1, 288),
)
def test_bonferronis_looks_increase_on_whole_buckets_and_never_come_early(
    period_hours: int, bucket_minutes: int, looks: int
) -> None:
    shape: dict[str, Any] = {
        "period_hours": period_hours,
        "bucket_minutes": bucket_minutes,
        "look_every_hours": 1.0,
        "bonferroni_looks": looks,
    }
    assume(schedule_fault("bonferroni", **shape) is None)
    offsets = look_schedule_ms("bonferroni", **shape)
    period, bucket = period_hours * HOUR, bucket_minutes * MINUTE
    assert offsets == sorted(set(offsets))
    assert (len(offsets), offsets[-1]) == (looks, period)
    for k, at in enumerate(offsets, 1):
        assert at % bucket == 0
        assert 0 <= at * looks - period * k < bucket * looks


@given(
    period_hours=st.integers(1, 24 * 28),
    bucket_minutes=st.sampled_from([1, 5, 10, 15, 20, 30, 60]),
    every_hours=st.floats(1e-3, 100),
)
def test_a_step_that_is_not_refused_gives_increasing_looks_on_whole_buckets(
    period_hours: int, bucket_minutes: int, every_hours: float
) -> None:
    # Nearly all floats would be refused, so the nearest bucket is taken as a person would write it.
    every = float(f"{max(1, round(every_hours * 60 / bucket_minutes)) * bucket_minutes / 60:.9f}")
    shape: dict[str, Any] = {
        "period_hours": period_hours,
        "bucket_minutes": bucket_minutes,
        "look_every_hours": every,
        "bonferroni_looks": 12,
    }
    assume(schedule_fault("alpha-spending", **shape) is None)
    offsets = look_schedule_ms("alpha-spending", **shape)
    assert offsets == sorted(set(offsets))
    assert offsets[-1] == period_hours * HOUR
    assert len(offsets) <= MAX_LOOKS
    assert all(at % (bucket_minutes * MINUTE) == 0 for at in offsets)


@pytest.mark.parametrize(
    ("method", "changes", "expected"),
    [
        ("alpha-spending", {"look_every_hours": 0.25}, None),
        ("alpha-spending", {"look_every_hours": 0.1}, ("look_every_hours", "a multiple of a bucket")),
        ("alpha-spending", {"look_every_hours": 1e-9}, ("look_every_hours", "a multiple of a bucket")),
        ("alpha-spending", {"look_every_hours": 73}, ("look_every_hours", "at most a period of 72 hours")),
        (
            "alpha-spending",
            {"bucket_minutes": 1, "look_every_hours": 1 / 60},
            ("look_every_hours", "at most 1000 looks"),
        ),
        ("gamblers-ruin", {"bonferroni_looks": 289}, None),
        ("bonferroni", {"look_every_hours": 0.1}, None),
        ("bonferroni", {"bonferroni_looks": 288}, None),
        ("bonferroni", {"bonferroni_looks": 289}, ("bonferroni_looks", "at most 288")),
        ("bonferroni", {"bonferroni_looks": 5, "period_hours": 1}, ("bonferroni_looks", "at most 4, one a")),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_named_with_what_was_expected(
    method: Any, changes: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    shape = {"period_hours": 72, "bucket_minutes": 15, "look_every_hours": 1.0, "bonferroni_looks": 12}
    fault = schedule_fault(method, **(shape | changes))
    assert fault == expected or (fault and expected and fault[0] == expected[0] and expected[1] in fault[1])
