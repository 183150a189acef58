"""A finished A/B test of 90,189 users, published as "Cookie Cats" (Kaggle, mobile-games-ab-testing-cookie-cats).

The numbers are totals of its cookie_cats.csv (md5 523afdb367a328bdbcaedab4cbde9528): gate_30 is control, gate_40
treatment; retention_1 and retention_7 are whether a user came back, sum_gamerounds is a volume.
"""

from __future__ import annotations

import math

import pytest
from tests.unit.statistics.golden import Z_95, actors, printed

from rtexp.statistics import bayesian, bonferroni, confidence_sequence, srm
from rtexp.statistics.counts import Counts
from rtexp.statistics.effects import Effect, Lift, LiftMethod, Metric, effect, information, interval, lift
from rtexp.statistics.levels import two_sided_p

USERS = 44_700, 45_489
DAY_1 = actors(20_034, USERS[0]), actors(20_119, USERS[1])
DAY_7 = actors(8_502, USERS[0]), actors(8_279, USERS[1])
ROUNDS = Counts(USERS[0], 2_344_795, 3_068_811_771, 42_763), Counts(USERS[1], 2_333_530, 605_052_202, 43_432)
ROUNDS_TO_100 = (
    Counts(USERS[0], 1_444_714, 100_301_968, 42_763),
    Counts(USERS[1], 1_469_180, 103_115_056, 43_432),
)
ROUNDS_TO_1000 = (
    Counts(USERS[0], 2_277_572, 533_461_050, 42_763),
    Counts(USERS[1], 2_312_932, 549_756_448, 43_432),
)


def compared(metric: Metric, groups: tuple[Counts, Counts]) -> Effect:
    found = effect(metric, *groups)
    assert isinstance(found, Effect)
    return found


def lifted(found: Effect) -> Lift:
    result = lift(found, Z_95)
    assert isinstance(result, Lift)
    assert result.method is LiftMethod.DELTA
    return result


def sequence(found: Effect) -> tuple[float, float]:
    """Half-width and p of the confidence sequence at its narrowest."""
    rho = confidence_sequence.rho_squared(0.05, sum(USERS))
    return (
        confidence_sequence.half_width(found.variance, sum(USERS), rho, 0.05),
        confidence_sequence.p_look(found.difference, found.variance, sum(USERS), rho),
    )


def believed(groups: tuple[Counts, Counts]) -> bayesian.Belief:
    belief = bayesian.propensity(*groups)
    assert isinstance(belief, bayesian.Belief)
    return belief


def test_the_split_raises_no_alarm() -> None:
    assert (evidence := srm.log_e(USERS, (1, 1))) == printed("1.15672141")
    assert srm.p_value(evidence) == printed(".31451566")
    assert srm.p_value(srm.log_e(USERS, (1, 1), 100)) == printed(".95871198")
    assert srm.p_value(srm.log_e(USERS, (1, 1), 10_000)) == printed(".14163000")
    assert srm.chi_square_p(USERS, (1, 1)) == printed(".0086079878")


def test_day_1_retention_differs_by_less_than_chance_may() -> None:
    found = compared(Metric.PROPENSITY, DAY_1)
    assert (found.difference, found.z) == (printed("-.0059051698"), printed("-1.7840862248"))
    assert found.p_value == printed(".0744096553")
    unpooled = found.difference / found.std_error
    assert (unpooled, two_sided_p(unpooled)) == (printed("-1.7840972718"), printed(".0744078605"))
    assert interval(found, Z_95) == (printed("-.0123924394"), printed(".0005820999"))
    result = lifted(found)
    assert (result.value, result.std_error) == (printed("-.0131756559"), printed(".0073360752"))
    assert (result.low, result.high) == (printed("-.0275540990"), printed(".0012027873"))
    assert information(Metric.PROPENSITY, *DAY_1) == printed("72375.068291")
    assert sequence(found) == (printed(".0100462148"), printed(".72734676"))


def test_day_1_retention_as_a_belief() -> None:
    belief = believed(DAY_1)
    assert belief.treatment_higher == printed(".0372060252")
    assert belief.loss_keep_control == printed(".0000491771796416")  # mpmath, 50 digits
    assert belief.loss_ship_treatment == printed(".00595412755")
    relative = lifted(compared(Metric.PROPENSITY, DAY_1))
    skeptic = bayesian.normal(relative.value, relative.std_error**2)
    assert isinstance(skeptic, bayesian.NormalBelief)
    assert skeptic.belief.treatment_higher == printed(".0377854414")


def test_day_7_retention_dropped() -> None:
    found = compared(Metric.PROPENSITY, DAY_7)
    assert (found.difference, found.z) == (printed("-.0082012983"), printed("-3.1643589127"))
    assert found.p_value == printed(".0015542500")
    unpooled = found.difference / found.std_error
    assert (unpooled, two_sided_p(unpooled)) == (printed("-3.1640640401"), printed(".0015558256"))
    assert interval(found, Z_95) == (printed("-.0132815524"), printed("-.0031210442"))
    result = lifted(found)
    assert (result.value, result.std_error) == (printed("-.0431190349"), printed(".0133296032"))
    assert (result.low, result.high) == (printed("-.0692445770"), printed("-.0169934928"))
    half, p_value = sequence(found)
    assert (half, p_value) == (printed(".0078673042"), printed(".035068891"))
    assert (found.difference - half, found.difference + half) == (
        printed("-.0160686025"),
        printed("-.0003339941"),
    )


def test_day_7_retention_as_a_belief() -> None:
    belief = believed(DAY_7)
    assert belief.treatment_higher == printed(".000777338664576")
    assert belief.loss_keep_control == printed("5.4781316064e-7")  # mpmath, 50 digits
    assert belief.loss_ship_treatment == printed(".00820172596")


def test_day_7_retention_dropped_even_as_one_of_twelve_tests() -> None:
    found = compared(Metric.PROPENSITY, DAY_7)
    assert bonferroni.adjusted_p([found.p_value], looks=12) == printed(".0186509997")
    bound = bonferroni.critical_z(0.05, looks=12)
    assert bound == printed("2.8652602385")
    assert interval(found, bound) == (printed("-.0156280930"), printed("-.0007745036"))


def test_rounds_a_user_are_too_uneven_to_tell() -> None:
    found = compared(Metric.VOLUME, ROUNDS)
    assert (found.mean_control, found.mean_treatment) == (printed("52.4562639821"), printed("51.2987755281"))
    deviations = [
        math.sqrt(v * n)
        for v, n in zip((found.variance_control, found.variance_treatment), USERS, strict=True)
    ]
    assert deviations == [printed("256.7164231160"), printed("103.2944162165")]
    assert (found.difference, found.std_error) == (printed("-1.1574884540"), printed("1.3072504173"))
    assert found.difference / found.std_error == printed("-.8854374331")
    assert (found.dof, found.p_value) == (printed("58595.481423"), printed(".3759243841"))
    assert found.z == printed("-.8854306937")
    assert interval(found, Z_95) == (printed("-3.7197051165"), printed("1.4047282086"))
    result = lifted(found)
    assert (result.value, result.std_error) == (printed("-.0220657814"), printed(".0244470810"))
    assert (result.low, result.high) == (printed("-.0699821695"), printed(".0258506067"))
    assert sequence(found) == (printed("3.9677782193"), 1.0)


def test_users_who_played_at_all_do_not_differ() -> None:
    found = compared(Metric.PROPENSITY, ROUNDS)
    assert (found.difference, found.z) == (printed("-.0018863901"), printed("-1.3767978756"))
    assert found.p_value == printed(".1685747478")
    assert interval(found, Z_95) == (printed("-.0045712873"), printed(".0007985071"))


@pytest.mark.parametrize(
    ("groups", "t", "dof", "p_value"),
    [
        pytest.param(ROUNDS_TO_100, "-.0981237834", "90182.020584", ".9218342203", id="capped at 100"),
        pytest.param(ROUNDS_TO_1000, "-.1646660928", "90179.865799", ".8692071757", id="capped at 1000"),
    ],
)
def test_capped_rounds_do_not_differ_at_all(
    groups: tuple[Counts, Counts], t: str, dof: str, p_value: str
) -> None:
    found = compared(Metric.VOLUME, groups)
    assert found.difference / found.std_error == printed(t)
    assert (found.dof, found.p_value) == (printed(dof), printed(p_value))


def test_without_its_one_extreme_user_the_difference_in_rounds_is_gone() -> None:
    extreme = 49_854
    control, treatment = ROUNDS
    without = Counts(control.n - 1, control.s1 - extreme, control.s2 - extreme**2, control.a - 1)
    found = compared(Metric.VOLUME, (without, treatment))
    assert extreme**2 / control.s2 == pytest.approx(0.81, abs=0.005)
    assert found.difference / found.std_error == printed("-.0633742631")
    assert found.p_value == printed(".9494686215")
