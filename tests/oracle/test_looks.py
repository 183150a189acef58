"""The oracle of verdicts against the golden values of the specification."""

from __future__ import annotations

import pytest
from scipy.special import ndtri
from tests.oracle.looks import (
    Counts,
    Look,
    Plan,
    Point,
    alpha_spending,
    bounds,
    log_e,
    sequential_p,
    spent,
    srm_p,
    verdicts,
)

PLAN = Plan("C", ("T",), (("search", "propensity"),), ("search",), looks=4)
WORKED = [(5000, 120, 5000, 130), (9000, 320, 9100, 380), (12000, 560, 12100, 680), (14000, 800, 14100, 930)]


def look(number: int, n_c: int, a_c: int, n_t: int, a_t: int) -> Look:
    counts = {("C", "search"): Counts(n_c, a_c, a_c, a_c), ("T", "search"): Counts(n_t, a_t, a_t, a_t)}
    return Look(number, counts, {"C": (n_c, 0, 0.5), "T": (n_t, 0, 0.5)})


LOOKS = [look(i, *counts) for i, counts in enumerate(WORKED, start=1)]
KEY = ("T", "search", "propensity", "decision")


@pytest.mark.parametrize(
    ("spending", "sides", "alpha", "golden"),
    [
        ("obf", 2, 0.05, [4.33263365, 2.96313160, 2.35904429, 2.01409014]),
        ("pocock", 2, 0.05, [2.36832770, 2.36752429, 2.35816773, 2.35002954]),
        ("obf", 1, 0.025, [4.33263365, 2.96313160, 2.35904429, 2.01409014]),
    ],
)
def test_bounds_are_the_golden_ones(spending: str, sides: int, alpha: float, golden: list[float]) -> None:
    so_far = [spent(spending, k / 4, alpha, sides) for k in range(5) if k] if sides else []
    inc = [now - before for now, before in zip(so_far, [0.0, *so_far], strict=False)]
    assert bounds([0.25, 0.5, 0.75, 1.0], inc, sides) == pytest.approx(golden, abs=1e-7)


@pytest.mark.parametrize(
    ("spending", "golden"),
    [
        ("obf", [4.33263365, 2.96352462, 2.36847362, 2.02587005]),
        ("pocock", [2.36832770, 2.40690979, 2.41439575, 2.39556925]),
    ],
)
def test_the_worked_sequence_has_its_bounds(spending: str, golden: list[float]) -> None:
    plan = Plan(**{**PLAN.__dict__, "spending": spending})
    found = [verdicts(plan, LOOKS[:k])[KEY] for k in (1, 2, 3, 4)]
    assert [one.boundary for one in found] == pytest.approx(golden, abs=1e-7)
    assert [one.state for one in found] == ["no_difference_yet"] * 2 + ["significant_gain"] * 2
    assert [one.z for one in found] == pytest.approx(
        [0.64051262, 2.16390109, 3.34897841, 3.07362385], abs=1e-8
    )


def test_the_worked_interval_is_the_golden_one() -> None:
    assert verdicts(PLAN, LOOKS[:3])[KEY].interval == pytest.approx((0.0027946797, 0.0162686812), abs=1e-9)


def test_a_missed_look_rolls_its_error_over() -> None:
    assert verdicts(PLAN, [LOOKS[0], LOOKS[1], LOOKS[3]])[KEY].boundary == pytest.approx(1.97229792, abs=1e-7)


@pytest.mark.parametrize(
    ("spending", "z", "golden"),
    [
        ("obf", (1, 2.6, 1), 0.04187897),
        ("pocock", (1, 2.6, 1), 0.02267660),
        ("obf", (1, 2, 2.5), 0.01297508),
        ("pocock", (1, 2, 2.5), 0.03033931),
        ("obf", (0, 0, 1.96), 0.05418740),
    ],
)
def test_sequential_p_is_the_golden_one(spending: str, z: tuple[float, ...], golden: float) -> None:
    path = [Point(k, k / 3, k / 3, z[k - 1], 0.5, 1, 1.0, 0.1, 0, 0) for k in (1, 2, 3)]
    assert sequential_p(PLAN, path, spending, 2) == pytest.approx(golden, abs=1e-7)


def test_what_is_too_little_to_spend_rolls_over() -> None:
    path = [Point(k, k / 72, k / 72, 0.0, 1.0, 1, 1.0, 0.0, 0, 0) for k in range(1, 13)]
    found = alpha_spending(PLAN, path, 0.05, "obf", 2)
    assert [one.deferred for one in found] == ["nothing_to_spend"] * 5 + [None] * 7
    assert (found[5].bound, found[11].bound) == pytest.approx((7.676100, 5.382011), abs=1e-6)
    assert found[5].bound == pytest.approx(float(-ndtri(1.640047e-14 / 2)), abs=1e-6)


def test_the_evidence_of_a_split_is_the_golden_one() -> None:
    assert log_e([5000, 5300], [1, 1], 1000) == pytest.approx(2.77049215, abs=1e-8)
    assert log_e([9350, 650], [19, 1], 1000) == pytest.approx(18.58133198, abs=1e-8)
    running = [(500, 520), (1000, 1100), (2000, 2250), (4000, 4420)]
    looks = [look(k, a, 1, b, 1) for k, (a, b) in enumerate(running, start=1)]
    found = [srm_p(PLAN, looks[:k], first_only=False) for k in (1, 2, 3, 4)]
    assert found == pytest.approx([1, 0.35069677, 0.0059375934, 0.00026243268], rel=1e-7)
