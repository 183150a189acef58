from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.unit.alerts.told import HOUR_MS, START_MS, notice

from rtexp.alerts.notices import of_condition
from rtexp.alerts.timing import Do, QuietHours, RetryPace, Rules, Users
from rtexp.records.conditions import condition
from rtexp.settings import AlertSettings


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def quiet(hours: str, zone: str = "UTC") -> QuietHours:
    return QuietHours.of(AlertSettings(quiet=hours, time_zone=zone))


@pytest.mark.parametrize(
    ("hours", "at", "holds"),
    [
        ("22:00-07:00", "2026-11-25T21:59:59", False),
        ("22:00-07:00", "2026-11-25T22:00:00", True),
        ("22:00-07:00", "2026-11-26T03:00:00", True),
        ("22:00-07:00", "2026-11-26T06:59:59", True),
        ("22:00-07:00", "2026-11-26T07:00:00", False),
        ("12:00-13:30", "2026-11-26T12:00:00", True),
        ("12:00-13:30", "2026-11-26T13:30:00", False),
        ("12:00-13:30", "2026-11-26T03:00:00", False),
        ("", "2026-11-26T00:00:00", False),
    ],
)
def test_quiet_hours_begin_and_end_to_the_second_over_midnight_too(
    hours: str, at: str, *, holds: bool
) -> None:
    assert quiet(hours).holds(utc(at)) is holds


@pytest.mark.parametrize(
    ("at", "holds"),
    [
        # Berlin, 2026-10-25: at 01:00 UTC clocks go back from 03:00 to 02:00. 22:00-07:00 is one hour longer.
        ("2026-10-24T19:59:00", False),
        ("2026-10-24T20:00:00", True),
        ("2026-10-25T05:59:00", True),
        ("2026-10-25T06:00:00", False),
        # 2026-03-29: at 01:00 UTC they go on from 02:00 to 03:00. One hour shorter.
        ("2026-03-28T20:59:00", False),
        ("2026-03-28T21:00:00", True),
        ("2026-03-29T04:59:00", True),
        ("2026-03-29T05:00:00", False),
    ],
)
def test_quiet_hours_follow_the_clock_on_the_wall_over_changes_of_summer_time(
    at: str, *, holds: bool
) -> None:
    assert quiet("22:00-07:00", "Europe/Berlin").holds(utc(at)) is holds


def test_an_hour_that_comes_twice_is_quiet_twice_and_one_that_is_left_out_never() -> None:
    half_past_two = quiet("02:00-02:30", "Europe/Berlin")
    autumn = [m for m in range(0, 240, 10) if half_past_two.holds(utc("2026-10-25T00:00:00") + m * 60_000)]
    assert autumn == [0, 10, 20, 60, 70, 80], "minutes after 00:00 UTC, which is 02:00 and then 02:00 again"
    assert not any(half_past_two.holds(utc("2026-03-29T00:00:00") + m * 60_000) for m in range(240))


NIGHT, DAY = utc("2026-11-26T03:00:00"), utc("2026-11-26T12:00:00")


def rules(**changes: object) -> Rules:
    return Rules.of(AlertSettings.model_validate({"quiet": "22:00-07:00", **changes}))


@pytest.mark.parametrize(
    ("passes", "kind", "at_ms", "do"),
    [
        ("critical", "guardrail", NIGHT, Do.SEND),
        ("critical", "significant_gain", NIGHT, Do.WAIT),
        ("nothing", "guardrail", NIGHT, Do.WAIT),
        ("nothing", "guardrail", DAY, Do.SEND),
        ("critical", "significant_gain", DAY, Do.SEND),
    ],
)
def test_at_night_only_what_is_critical_passes_or_nothing(passes: str, kind: str, at_ms: int, do: Do) -> None:
    told = notice(kind=kind, means="bad" if kind == "guardrail" else "good")
    assert rules(quiet_passes=passes).decide(told, at_ms, None) is do


def test_alerts_of_a_young_period_wait_until_it_is_old_enough() -> None:
    young = Rules.of(AlertSettings(minimum_age_hours=6.0))
    assert young.decide(notice(), START_MS + 6 * HOUR_MS - 1, None) is Do.WAIT
    assert young.decide(notice(), START_MS + 6 * HOUR_MS, None) is Do.SEND
    down = of_condition(condition("stopped", "ingest", 1, 2, is_over=False), "")
    assert young.decide(down, START_MS, None) is Do.SEND, "the pipeline has no age"


@pytest.mark.parametrize(
    ("users", "do"),
    [
        (None, Do.WAIT),
        (Users(29_387, is_final=False), Do.WAIT),
        (Users(40_000, is_final=False), Do.SEND),
        (Users(39_999, is_final=True), Do.LEAVE),
        (Users(40_000, is_final=True), Do.SEND),
    ],
)
def test_alerts_with_too_few_users_wait_for_a_look_that_has_them(users: Users | None, do: Do) -> None:
    few = Rules.of(AlertSettings(minimum_users=40_000))
    assert few.lacks_users(notice())
    assert few.decide(notice(), DAY, users) is do


def test_what_has_enough_users_or_is_about_no_comparison_asks_nobody() -> None:
    enough = Rules.of(AlertSettings(minimum_users=29_387))
    assert enough.decide(notice(), DAY, None) is Do.SEND
    assert enough.decide(notice(users_control=None), DAY, None) is Do.SEND


def test_retries_slow_down_to_a_limit_and_no_two_senders_keep_step() -> None:
    delays = {RetryPace().delay_s(6) for _ in range(50)}
    assert all(16.0 <= delay <= 32.0 for delay in delays)
    assert len(delays) > 40
    assert 150.0 <= RetryPace().delay_s(100_000) <= 300.0


def test_a_receiver_may_ask_for_more_patience_but_not_for_ever() -> None:
    assert RetryPace().delay_s(1, asked_s=120.0) == 120.0
    assert RetryPace().delay_s(1, asked_s=10.0**9) == 3600.0
    assert RetryPace(random=lambda: 1.0).delay_s(9, asked_s=1.0) == 256.0
