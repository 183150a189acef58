from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri
from tests.unit.statistics.golden import Z_95, actors, printed, sums
from tests.unit.statistics.repeated_looks import chance_to_cross

from rtexp.statistics.bayesian import (
    PEEKING_ERRORS,
    SKEPTICAL,
    Belief,
    BetaPrior,
    GammaPrior,
    NormalBelief,
    NormalPrior,
    beta_higher,
    gamma_higher,
    normal,
    propensity,
    volume_rate_higher,
)
from rtexp.statistics.counts import Counts, recounted
from rtexp.statistics.effects import Effect, Lift, Metric, effect, lift
from rtexp.statistics.undefined import Reason, Undefined


def believed(control: tuple[int, int], treatment: tuple[int, int]) -> Belief:
    belief = propensity(actors(*control), actors(*treatment))
    assert isinstance(belief, Belief)
    return belief


def believed_lift(
    metric: Metric, control: Counts, treatment: Counts, prior: NormalPrior | None
) -> NormalBelief:
    found = effect(metric, control, treatment)
    assert isinstance(found, Effect)
    relative = lift(found, Z_95)
    assert isinstance(relative, Lift)
    result = normal(relative.value, relative.std_error**2, prior)
    assert isinstance(result, NormalBelief)
    return result


# Recomputed with mpmath at 50 digits.
@pytest.mark.parametrize(
    ("control", "treatment", "higher", "keep", "ship"),
    [
        ((0, 0), (1, 1), ".666666666667", ".25000000000", ".0833333333333"),
        ((49, 100), (51, 100), ".61077052268784", ".0387243043393", ".0191164612021"),
        ((120, 1000), (150, 1000), ".97506783681214", ".0300842976156", ".000144177855112"),
        ((1000, 20000), (1080, 20000), ".9641734860749", ".004031204928959", ".00003160488896257"),
    ],
)
def test_shares_are_compared_by_their_beta_posteriors(
    control: tuple[int, int], treatment: tuple[int, int], higher: str, keep: str, ship: str
) -> None:
    belief = believed(control, treatment)
    assert belief.treatment_higher == printed(higher)
    assert belief.loss_keep_control == printed(keep)
    assert belief.loss_ship_treatment == printed(ship)


def test_equal_posteriors_leave_it_open() -> None:
    belief = believed((700, 9000), (700, 9000))
    assert belief.treatment_higher == pytest.approx(0.5, rel=1e-12)
    assert belief.loss_keep_control == pytest.approx(belief.loss_ship_treatment, rel=1e-12)


def test_beyond_a_hundred_thousand_actors_the_normal_form_takes_over_without_a_jump() -> None:
    exact, approximate = (believed((50_000, 400_000), (treated, 400_000)) for treated in (50_000, 50_001))
    assert beta_higher(50_001, 350_001, 50_002, 350_000) == pytest.approx(
        approximate.treatment_higher, abs=1e-5
    )
    assert approximate.treatment_higher == pytest.approx(exact.treatment_higher, abs=2e-3)
    assert approximate.loss_keep_control == pytest.approx(exact.loss_keep_control, rel=5e-3)


def test_the_normal_form_of_a_share_is_good_to_four_digits() -> None:
    # Posterior means and variances of 1000/20000 against 1080/20000 in the normal form.
    (a_c, b_c), (a_t, b_t) = (1001, 19001), (1081, 18921)
    n = 20002
    variance = (a_c * b_c + a_t * b_t) / n**2 / (n + 1)
    result = normal((a_t - a_c) / n, variance, None)
    assert isinstance(result, NormalBelief)
    assert result.belief.treatment_higher == printed(".964139")


def test_certainty_is_a_probability_of_zero_or_one() -> None:
    assert believed((10, 50_000), (40_000, 50_000)).treatment_higher == pytest.approx(1.0, rel=1e-12)
    hopeless = believed((40_000, 50_000), (10, 50_000))
    assert (hopeless.treatment_higher, hopeless.loss_keep_control) == (0.0, 0.0)
    assert hopeless.loss_ship_treatment == pytest.approx(0.7998, abs=1e-4)


def test_gamma_posteriors_are_compared_by_rate() -> None:
    assert gamma_higher(101, 1000, 121, 1000) == printed(".910809214686")
    assert gamma_higher(121, 1000, 121, 1000) == pytest.approx(0.5, rel=1e-11)


def test_a_lift_with_a_flat_prior_has_the_frequentist_interval() -> None:
    result = believed_lift(Metric.PROPENSITY, actors(49, 100), actors(51, 100), None)
    assert (result.mean, result.std) == (printed(".0408163265"), printed(".1472525457"))
    assert (result.low, result.high) == (printed("-.2477933598"), printed(".3294260128"))
    assert result.belief.treatment_higher == printed(".6091813096")
    assert result.belief.loss_keep_control == printed(".0813958492")
    assert result.belief.loss_ship_treatment == printed(".0405795226")


def test_a_prior_pulls_the_lift_of_a_mean() -> None:
    averages = sums(10, 100, 1002.25), sums(10, 105, 1111.5)
    flat = believed_lift(Metric.VOLUME, *averages, None).belief
    assert flat.treatment_higher == printed(".9192339082")
    assert (flat.loss_keep_control, flat.loss_ship_treatment) == (
        printed(".0513098172"),
        printed(".0013098172"),
    )
    pulled = believed_lift(Metric.VOLUME, *averages, NormalPrior(0.1, 0.1))
    assert (pulled.mean, pulled.belief.treatment_higher) == (printed(".0506297789"), printed(".9231499086"))
    assert (pulled.low, pulled.high) == (printed("-.0189298307"), printed(".1201893885"))


def test_a_skeptic_believes_half_of_a_surprising_lift() -> None:
    result = believed_lift(Metric.PROPENSITY, actors(1000, 20000), actors(1080, 20000), SKEPTICAL)
    assert (result.mean, result.std) == (printed(".0431987835"), printed(".0339122104"))
    assert result.belief.treatment_higher == printed(".8986402162")
    assert result.belief.loss_keep_control == printed(".0448306190")
    assert result.belief.loss_ship_treatment == printed(".0016318355")


@pytest.mark.parametrize("threshold", PEEKING_ERRORS)
def test_whoever_peeks_at_probabilities_errs_as_often_as_the_caution_says(threshold: float) -> None:
    for looks, error in PEEKING_ERRORS[threshold].items():
        assert chance_to_cross(float(ndtri(threshold)), looks) == printed(f"{error:.3f}")


def test_actions_that_are_no_poisson_process_have_no_rate() -> None:
    prior = GammaPrior(1, 1.0)
    poisson = recounted(np.random.default_rng(7).poisson(0.9, 2000).tolist())
    more = recounted(np.random.default_rng(8).poisson(1.0, 2000).tolist())
    probability = volume_rate_higher(poisson, more, prior)
    assert isinstance(probability, float)
    assert probability == pytest.approx(gamma_higher(1 + poisson.s1, 2001, 1 + more.s1, 2001))
    assert volume_rate_higher(poisson, Counts(2000, 2000, 20_000, 400), prior) == Undefined(
        Reason.NOT_POISSON
    )
    assert volume_rate_higher(Counts(9, 9, 9, 9), poisson, prior) == Undefined(Reason.NOT_POISSON)
    assert volume_rate_higher(Counts(0, 0, 0, 0), poisson, prior) == Undefined(Reason.EMPTY_GROUP)
    assert volume_rate_higher(Counts(1, 1, 2, 1), poisson, prior) == Undefined(Reason.INCONSISTENT_COUNTS)


def test_rates_of_many_actions_are_compared_by_the_normal_form_without_a_jump() -> None:
    control, treatment = Counts(40_000, 50_000, 112_500, 30_000), Counts(40_000, 50_300, 113_500, 30_000)
    probability = volume_rate_higher(control, treatment, GammaPrior(1, 1.0))
    assert probability == pytest.approx(gamma_higher(50_001, 40_001, 50_301, 40_001), abs=1e-5)


def test_figures_without_a_value_say_why() -> None:
    assert propensity(Counts(3, 4, 4, 4), actors(1, 3)) == Undefined(Reason.INCONSISTENT_COUNTS)
    assert normal(0.1, 0.0) == Undefined(Reason.ZERO_VARIANCE)


def test_priors_that_are_none_are_refused() -> None:
    for make in (
        lambda: BetaPrior(0, 1.0),
        lambda: BetaPrior(1, 0.0),
        lambda: GammaPrior(0, 1.0),
        lambda: GammaPrior(1, 0.0),
        lambda: NormalPrior(0.0, 0.0),
        lambda: normal(0.1, -1.0),
        lambda: normal(0.1, 1.0, credibility=1.0),
    ):
        with pytest.raises(ValueError, match=r"0 or more|above 0"):
            make()
