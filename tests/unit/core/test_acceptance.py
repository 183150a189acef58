from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from rtexp.core.acceptance import Acceptance, Accepted, Rejection

GRACE_MS = 10


@dataclass(frozen=True)
class Span:
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Ramp:
    group: str
    at_ms: int


@dataclass(frozen=True)
class Experiment:
    name: str = "feed"
    groups: list[str] = field(default_factory=lambda: ["control", "treatment", "idle"])
    periods: list[Span] = field(default_factory=lambda: [Span(300, 400), Span(100, 200), Span(200, 300)])
    ramps: list[Ramp] = field(
        default_factory=lambda: [
            Ramp("control", 100),
            Ramp("treatment", 130),
            Ramp("control", 150),
            Ramp("treatment", 200),
            Ramp("control", 300),
        ]
    )


def acceptance(*, as_of_ms: int = 10_000, wait_ms: int = 0) -> Acceptance:
    return Acceptance([Experiment()], as_of_ms=as_of_ms, wait_ms=wait_ms, grace_ms=GRACE_MS)


@pytest.mark.parametrize(
    ("at_ms", "period"),
    [
        pytest.param(100, (100, 200), id="at the start"),
        pytest.param(199, (100, 200), id="just before the end"),
        pytest.param(200, (200, 300), id="at the end: the next period, which begins there"),
        pytest.param(399, (300, 400), id="the last moment of the last"),
    ],
)
def test_an_activation_belongs_to_the_period_around_its_time(at_ms: int, period: tuple[int, int]) -> None:
    outcome = acceptance().judge("feed", "control", at_ms, at_ms)
    assert isinstance(outcome, Accepted)
    assert (outcome.experiment, outcome.group) == ("feed", "control")
    assert (outcome.period_start_ms, outcome.period_end_ms) == period


@pytest.mark.parametrize(
    ("experiment", "group", "at_ms", "reason"),
    [
        pytest.param("other", "control", 100, Rejection.UNKNOWN_EXPERIMENT, id="experiment"),
        pytest.param(
            "feed", "Control", 99, Rejection.UNKNOWN_GROUP, id="group, before its time is looked at"
        ),
        pytest.param("feed", "control", 99, Rejection.OUTSIDE_PERIOD, id="before the first period"),
        pytest.param("feed", "control", 400, Rejection.OUTSIDE_PERIOD, id="at the end of the last"),
    ],
)
def test_what_no_period_accepts_is_rejected(
    experiment: str, group: str, at_ms: int, reason: Rejection
) -> None:
    assert acceptance().judge(experiment, group, at_ms, 100) is reason


@pytest.mark.parametrize(
    ("group", "at_ms", "ramped_ms"),
    [
        pytest.param("control", 149, 100, id="before its second ramp"),
        pytest.param("control", 150, 150, id="at its second ramp"),
        pytest.param("control", 250, 150, id="a ramp of the period before"),
        pytest.param("treatment", 129, 100, id="before its first ramp: the period's start"),
        pytest.param("treatment", 130, 130, id="at its first ramp"),
        pytest.param("idle", 350, 300, id="never ramped: the period's start"),
    ],
)
def test_the_ramp_is_the_groups_own_last_one(group: str, at_ms: int, ramped_ms: int) -> None:
    outcome = acceptance().judge("feed", group, at_ms, at_ms)
    assert isinstance(outcome, Accepted)
    assert outcome.ramped_ms == ramped_ms


def test_an_activation_may_arrive_until_the_grace_is_over() -> None:
    judge = acceptance().judge
    assert isinstance(judge("feed", "control", 399, 400 + GRACE_MS - 1), Accepted)
    assert judge("feed", "control", 399, 400 + GRACE_MS) is Rejection.LATE_ACTIVATION


@pytest.mark.parametrize(
    ("as_of_ms", "wait_ms", "is_judged"),
    [
        pytest.param(500, 0, False, id="a snapshot as old as the arrival"),
        pytest.param(501, 0, True, id="a snapshot later than the arrival"),
        pytest.param(519, 20, False, id="not yet as much later as told to wait"),
        pytest.param(520, 20, True, id="exactly as much later as told to wait"),
    ],
)
@pytest.mark.parametrize(
    "activation",
    [("other", "control", 150), ("feed", "other", 150), ("feed", "control", 450)],
)
def test_a_rejection_waits_for_a_snapshot_later_than_the_arrival(
    as_of_ms: int, wait_ms: int, is_judged: object, activation: tuple[str, str, int]
) -> None:
    outcome = acceptance(as_of_ms=as_of_ms, wait_ms=wait_ms).judge(*activation, 500)
    assert isinstance(outcome, Rejection) if is_judged else outcome is None


def test_what_an_old_snapshot_accepts_or_finds_too_late_need_not_wait() -> None:
    judge = acceptance(as_of_ms=0, wait_ms=1_000).judge
    assert isinstance(judge("feed", "control", 150, 150), Accepted)
    assert judge("feed", "control", 150, 5_000) is Rejection.LATE_ACTIVATION


def test_names_that_nobody_knows_are_not_remembered() -> None:
    """Raw input may bring a new one with every record, for as long as there is no newer snapshot."""
    judging = acceptance()
    for number in range(100):
        assert judging.judge(f"other-{number}", "control", 150, 500) is Rejection.UNKNOWN_EXPERIMENT
        assert judging.judge("feed", f"other-{number}", 150, 500) is Rejection.UNKNOWN_GROUP
        assert isinstance(judging.judge("feed", "control", 150, 150), Accepted)
    assert list(judging._histories) == [("feed", "control")]
