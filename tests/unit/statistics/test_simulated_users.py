"""Simulated users: their counts are those that the counting rules give, and rates don't depend on how runs are cut."""

from __future__ import annotations

import numpy as np
import pytest

from rtexp.statistics.counts import FIRST_EXPOSURE, Counts, acted, total, violation
from rtexp.statistics.effects import Effect, Metric, effect, information
from rtexp.statistics.gamblers_ruin import RuinDesign
from rtexp.statistics.simulation.decisions import Decider, Look, looks_of
from rtexp.statistics.simulation.rates import Experiment, Tally, tally
from rtexp.statistics.simulation.scenarios import DECIDERS, POWER, SCENARIOS, violations, weak
from rtexp.statistics.simulation.users import Behaviour, counted, cumulative_counts

SOME = Behaviour(Metric.PROPENSITY, 0.3, is_final=True)


def test_bucket_by_bucket_the_counts_are_those_of_the_counting_rules() -> None:
    rng = np.random.default_rng(8)
    arrival = rng.random(30)
    user = np.sort(rng.integers(0, 30, 120))
    at = arrival[user] + (1 - arrival[user]) * rng.random(120)
    at = at[np.lexsort((at, user))]
    found = counted(arrival, user, at, buckets=6)
    for bucket, row in enumerate(found.tolist(), 1):
        changes = [FIRST_EXPOSURE for when in arrival if when < bucket / 6]
        so_far = [0] * 30
        for who, when in zip(user.tolist(), at.tolist(), strict=True):
            if when < bucket / 6:
                changes.append(acted(so_far[who]))
                so_far[who] += 1
        assert Counts(*row) == total(changes)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_simulated_counts_are_consistent_and_only_grow(scenario: object) -> None:
    assert isinstance(scenario, type(SCENARIOS[0]))
    found = cumulative_counts(np.random.default_rng(1), scenario.behaviour, 2_000, 12)
    assert all(violation(Counts(*row)) is None for row in found.tolist())
    assert (np.diff(found, axis=0) >= 0).all()
    assert found[-1, 0] == 2_000
    if scenario.behaviour.all_at_start:
        assert (found[:, 0] == 2_000).all()


@pytest.mark.parametrize(
    ("behaviour", "actors", "actions"),
    [
        pytest.param(SOME, 0.3, 0.3, id="a share of users, at exposure"),
        pytest.param(
            Behaviour(Metric.PROPENSITY, 2, is_final=False, all_at_start=True),
            1 - np.exp(-2),
            1 - np.exp(-2),
            id="first actions at a rate",
        ),
        # Users come evenly, so that they have half of the window on average.
        pytest.param(Behaviour(Metric.VOLUME, 3, is_final=False), None, 1.5, id="actions at a rate"),
        pytest.param(Behaviour(Metric.VOLUME, 3, is_final=True), 1 - np.exp(-3), 3, id="actions at exposure"),
        # Negative binomial of shape 1/2 and mean 3: P(0) = (1 + 3 / (1/2)) ** -(1/2).
        pytest.param(
            Behaviour(Metric.VOLUME, 3, is_final=True, differs=True), 1 - 7**-0.5, 3, id="rates differ"
        ),
    ],
)
def test_users_act_as_often_as_they_should(
    behaviour: Behaviour, actors: float | None, actions: float
) -> None:
    n, s1, _, a = cumulative_counts(np.random.default_rng(3), behaviour, 200_000, 4)[-1] / 200_000
    assert n == 1
    assert s1 == pytest.approx(actions, rel=0.02)
    assert actors is None or a == pytest.approx(actors, rel=0.01)


def test_a_lift_multiplies_what_users_do() -> None:
    rng = np.random.default_rng(4)
    assert cumulative_counts(rng, SOME, 200_000, 1, lift=0.5)[-1, 3] == pytest.approx(90_000, rel=0.01)


def test_looks_below_the_gates_have_nothing_to_test() -> None:
    control, treatment = (
        np.array([[99, 40, 40, 40], [100, 40, 40, 40], [200, 90, 90, 90]]),
        np.array([[200, 50, 50, 50], [200, 39, 39, 39], [200, 50, 50, 50]]),
    )
    found = looks_of(Metric.PROPENSITY, control, treatment)
    assert [look.effect is None for look in found] == [True, True, False]
    one, other = Counts(*control[2].tolist()), Counts(*treatment[2].tolist())
    assert found[2] == Look(
        1.0,
        one,
        other,
        information(Metric.PROPENSITY, one, other),
        effect(Metric.PROPENSITY, one, other),  # type: ignore[arg-type]
    )


def path(*scores: float) -> list[Look]:
    """Return looks with these scores, of groups in which information grows evenly."""
    found = []
    for k, z in enumerate(scores, 1):
        counts = Counts(1000 * k, 100 * k, 100 * k, 100 * k)
        variance = 2 * 0.1 * 0.9 / (1000 * k)
        one = Effect(
            z * variance**0.5, variance, 0.5, z, None, 0.1, 0.1, variance / 2, variance / 2, variance
        )
        found.append(Look(k / len(scores), counts, counts, float(k), one))
    return found


@pytest.mark.parametrize(
    ("decider", "expected"),
    [
        # Bounds of 4 looks: OBF 4.33 2.96 2.36 2.01, Pocock 2.368 2.368 2.358 2.350, Bonferroni 2.498.
        (Decider("obf", 4), 0.75),
        (Decider("pocock", 4), 0.5),
        (Decider("pocock", 4, elapsed=True), 0.5),
        (Decider("pocock", 2), 0.5),
        (Decider("obf", 2), 1.0),
        (Decider("bonferroni", 4), None),
        (Decider("confidence-sequence", 4), None),
        (Decider("unadjusted", 4), 0.25),
    ],
)
def test_each_rule_crosses_at_the_look_that_its_bound_says(decider: Decider, expected: float | None) -> None:
    assert decider.first_crossing(path(2.0, 2.4, -2.45, 2.4)) == expected


def test_gamblers_ruin_crosses_at_a_lead_of_either_group() -> None:
    counts = [Counts(1000, a, a, a) for a in (40, 60, 80)]
    looks = [Look((k + 1) / 3, counts[0], counts[k], 1.0, None) for k in range(3)]
    assert Decider("gamblers-ruin", 3, ruin=RuinDesign(200, 20)).first_crossing(looks) == pytest.approx(2 / 3)
    # Beyond the plan's conversions nothing counts any more.
    assert Decider("gamblers-ruin", 3, ruin=RuinDesign(110, 40)).first_crossing(looks) is None
    with pytest.raises(ValueError, match="conversions and lead"):
        Decider("gamblers-ruin", 3).first_crossing(looks)


def test_looks_that_do_not_divide_the_buckets_are_refused() -> None:
    with pytest.raises(ValueError, match="3 looks don't divide 4 buckets"):
        Decider("obf", 3).first_crossing(path(0, 0, 0, 0))


def test_any_cut_of_the_runs_gives_the_same_tally() -> None:
    experiment = Experiment(SOME, (400, 400), buckets=12, lift=0.2)
    deciders = {"a": Decider("pocock", 12), "b": Decider("unadjusted", 4)}
    whole = tally(experiment, deciders, range(30), seed=(5, 0))
    parts = [tally(experiment, deciders, part, seed=(5, 0)) for part in ([0, 7], range(1, 7), range(8, 30))]
    for name, one in whole.items():
        summed = Tally().plus(parts[0][name]).plus(parts[1][name]).plus(parts[2][name])
        assert (summed.runs, summed.crossed) == (one.runs, one.crossed) == (30, one.crossed)
        assert summed.sum_t == pytest.approx(one.sum_t)
    assert 0 < whole["a"].crossed < whole["b"].crossed


def test_a_few_runs_of_a_final_outcome_err_as_they_should_and_peeking_fails() -> None:
    """The nightly simulation in small: 300 runs of the first scenario, with 12 looks."""
    experiment = Experiment(SOME, (1_000, 1_000), buckets=12)
    names = {"obf": Decider("obf", 12), "pocock": Decider("pocock", 12), "peeking": Decider("unadjusted", 12)}
    found = tally(experiment, names, range(300), seed=(2,))
    assert found["obf"].rate == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 300))
    assert found["pocock"].rate == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 300))
    assert found["peeking"].rate > 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


RIGHT = dict.fromkeys(DECIDERS, 0.045) | {"1.96 at 72": 0.3}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param({}, None, id="all as it should be"),
        pytest.param({"OBF 72": 0.08}, "OBF 72 errs in 0.080", id="too often"),
        pytest.param({"Pocock 12": 0.02}, "not in 0.05", id="too seldom for final outcomes"),
        pytest.param({"Bonferroni 12": 0.07}, "more than 0.05", id="no strict bound"),
        pytest.param({"1.96 at 72": 0.05}, "nothing is proved", id="peeking passes"),
        pytest.param({"OBF 72, elapsed": 0.5}, None, id="what nobody uses"),
    ],
)
def test_rates_that_may_not_be_are_named(wrong: dict[str, float], message: str | None) -> None:
    found = violations(SCENARIOS[0], RIGHT | wrong, runs=5_000)
    assert bool(found) == (message is not None)
    assert message is None or any(message in line for line in found)


def test_powers_that_may_not_be_are_named() -> None:
    assert weak(POWER, runs=2_000) == []
    assert weak(POWER | {"OBF 72": 0.5}, runs=2_000) == ["power of OBF 72 is 0.500, not 0.66"]


@pytest.mark.parametrize(("metric", "mean"), [("propensity", 1.0), ("propensity", 0.0), ("volume", -1.0)])
def test_means_that_no_users_have_are_refused(metric: str, mean: float) -> None:
    with pytest.raises(ValueError, match="a mean of"):
        Behaviour(Metric(metric), mean, is_final=True)
