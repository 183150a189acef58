"""Bounds against published ones, exact ones and the plain recursion; tolerances are those of the sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from rtexp.statistics.boundaries import GroupSequentialTest
from rtexp.statistics.spending import spent, total_for
from rtexp.statistics.surviving import SurvivingDensity
from rtexp.statistics.undefined import Reason

if TYPE_CHECKING:
    from rtexp.statistics.spending import Sides, Spending

OBF = {
    1: [1.95996398],
    2: [2.96258804, 1.96859564],
    3: [3.71030287, 2.51142748, 1.99304748],
    4: [4.33263365, 2.96313160, 2.35904429, 2.01409014],
    5: [4.87688495, 3.35701192, 2.68028006, 2.28981677, 2.03103204],
    10: [
        6.99135171,
        4.87688515,
        3.92968230,
        3.36707908,
        2.98932983,
        2.71480895,
        2.50407728,
        2.33582904,
        2.19750329,
        2.08117575,
    ],
    12: [
        7.67610034,
        5.36655777,
        4.33308302,
        3.71655417,
        3.30082266,
        2.99812879,
        2.76557798,
        2.57983602,
        2.42709678,
        2.29863375,
        2.18863523,
        2.09306480,
    ],
}
POCOCK = {
    1: [1.95996398],
    2: [2.15699922, 2.20097696],
    3: [2.27942824, 2.29491113, 2.29593836],
    4: [2.36832770, 2.36752429, 2.35816773, 2.35002954],
    5: [2.43797669, 2.42681386, 2.41019384, 2.39664540, 2.38598457],
    10: [
        2.65511005,
        2.62324195,
        2.58963668,
        2.56207798,
        2.53974387,
        2.52139474,
        2.50606755,
        2.49306599,
        2.48188706,
        2.47216185,
    ],
    12: [
        2.71183760,
        2.67695455,
        2.64035983,
        2.61002953,
        2.58519342,
        2.56460275,
        2.54726789,
        2.53246331,
        2.51965890,
        2.50846205,
        2.49857686,
        2.48977646,
    ],
}
ONE_SIDED_POCOCK_12 = [2.71183760, 2.67695455, 2.64035985, 2.61002996, 2.58519567, 2.56460906]
ONE_SIDED_POCOCK_12 += [2.54728088, 2.53248560, 2.51969298, 2.50851018, 2.49864109, 2.48985862]


def equal(looks: int) -> Any:
    return [k / looks for k in range(1, looks + 1)]


def evaluated(
    spending: Spending,
    t: list[float],
    information: list[float] | None = None,
    *,
    alpha: float = 0.05,
    sides: Sides = 2,
) -> Any:
    test = GroupSequentialTest(alpha=alpha, spending=spending, sides=sides)
    return [test.add(*look, 0.0) for look in zip(t, t if information is None else information, strict=True)]


def bounds(*args: Any, **kwargs: Any) -> Any:
    return [look.bound for look in evaluated(*args, **kwargs)]


def near(values: Any, tolerance: float = 1e-7) -> Any:
    return pytest.approx(values, abs=tolerance, rel=0)


@pytest.mark.parametrize("looks", OBF)
@pytest.mark.parametrize("spending", ["obf", "pocock"])
def test_equal_looks_have_the_published_bounds(spending: Spending, looks: int) -> None:
    # gsDesign prints 4.8769 3.3570 2.6803 2.2898 2.0310, ldbounds 2.4380 2.4268 2.4101 2.3966 2.3859 for 5 looks.
    assert bounds(spending, equal(looks)) == near({"obf": OBF, "pocock": POCOCK}[spending][looks], 2e-8)


@pytest.mark.parametrize(
    ("spending", "t", "information", "expected"),
    [
        pytest.param(
            "obf",
            [0.15, 0.35, 0.5, 0.85, 1],
            None,
            [5.66966960, 3.61279355, 2.97291801, 2.18219587, 2.04262285],
            id="uneven",
        ),
        pytest.param(
            "pocock",
            [0.15, 0.35, 0.5, 0.85, 1],
            None,
            [2.52816903, 2.43933367, 2.46510773, 2.30984263, 2.39346228],
            id="uneven pocock",
        ),
        pytest.param(
            "obf",
            [0.1, 0.33, 1],
            None,
            [6.99135171, 3.73066529, 1.96053637],
            id="ldbounds 6.9913 3.7308 1.9605",
        ),
        pytest.param(
            "obf",
            equal(4),
            [0.1, 0.3, 0.6, 1],
            [4.33263365, 2.96357124, 2.37310517, 2.05164454],
            id="two clocks",
        ),
        pytest.param(
            "pocock",
            equal(4),
            [0.1 * 7777, 0.3 * 7777, 0.6 * 7777, 7777],
            [2.36832770, 2.41137054, 2.43479221, 2.45065297],
            id="two clocks in another unit",
        ),
        pytest.param("obf", [0.25, 0.75, 1], None, [4.33263365, 2.33981566, 2.01179319], id="a look missed"),
        pytest.param(
            "pocock", [0.25, 0.75, 1], None, [2.36832770, 2.20491050, 2.31578623], id="a look missed, pocock"
        ),
    ],
)
def test_looks_at_any_time_have_the_expected_bounds(
    spending: Spending, t: list[float], information: list[float] | None, expected: list[float]
) -> None:
    assert bounds(spending, t, information) == near(expected, 2e-8)


@pytest.mark.parametrize(
    ("spending", "alpha", "sides", "expected"),
    [
        ("obf", 0.025, 2, [5.46332614, 3.78005299, 3.02695909, 2.58792248, 2.29596698]),
        ("pocock", 0.025, 2, [2.67897171, 2.68279796, 2.67584677, 2.66924955, 2.66394461]),
        ("obf", 0.01, 2, [6.16800092, 4.28671694, 3.44357480, 2.94698046, 2.61531080]),
        ("obf", 0.025, 1, [4.87688495, 3.35701192, 2.68028006, 2.28981677, 2.03103204]),
        ("pocock", 0.025, 1, [2.43797669, 2.42681386, 2.41019414, 2.39664927, 2.38599965]),
        ("obf", 0.05, 1, [4.22919506, 2.88813655, 2.29809028, 1.96182147, 1.73970450]),
        ("pocock", 0.05, 1, [2.17621145, 2.14374771, 2.11328526, 2.08959918, 2.07099838]),
        ("pocock", 0.025, 1, ONE_SIDED_POCOCK_12),
    ],
)
def test_other_levels_and_sides_have_the_expected_bounds(
    spending: Spending, alpha: float, sides: Sides, expected: list[float]
) -> None:
    assert bounds(spending, equal(len(expected)), alpha=alpha, sides=sides) == near(expected, 2e-8)


@pytest.mark.parametrize(
    ("spending", "hours", "expected"),
    [
        (
            "obf",
            [6, 12, 18, 24, 30, 36, 48, 60, 72],
            [7.676100, 5.382011, 4.377414, 3.783431, 3.379997, 3.083091, 2.667463, 2.384494, 2.175918],
        ),
        (
            "pocock",
            [1, 6, 12, 18, 24, 36, 48, 60, 72],
            [3.243856, 3.060724, 2.930921, 2.849609, 2.792037, 2.713795, 2.661847, 2.624225, 2.595435],
        ),
    ],
)
def test_hourly_looks_have_the_expected_bounds(
    spending: Spending, hours: list[int], expected: list[float]
) -> None:
    found = evaluated(spending, equal(72))
    assert [found[hour - 1].bound for hour in hours] == near(expected, 5e-7)


def test_the_first_five_hours_of_obf_have_nothing_to_spend() -> None:
    assert [look.deferred for look in evaluated("obf", equal(72))[:6]] == [Reason.NOTHING_TO_SPEND] * 5 + [
        None
    ]


def spends(increments: Any, information: list[float], sides: Sides = 2) -> Any:
    density = SurvivingDensity(sides)
    return [density.solve(tau, spend) for tau, spend in zip(information, increments, strict=True)]


def test_linear_spending_on_one_side_agrees_with_rpact() -> None:
    t = [0.2, 0.4, 1]
    assert spends(np.diff([0, *(0.03 * x for x in t)]), t, sides=1) == near(
        [2.51214433, 2.42287468, 2.02803917], 2e-8
    )


@pytest.mark.parametrize(
    ("rho", "expected"),
    [
        (1, [2.57582930, 2.49196921, 2.41082510, 2.33914283, 2.27551345]),
        (3, [3.54008380, 2.97431065, 2.60451421, 2.30635678, 2.04547984]),
    ],
)
def test_the_power_family_has_the_published_bounds(rho: int, expected: list[float]) -> None:
    assert spends(0.05 * np.diff([0, *(x**rho for x in equal(5))]), equal(5)) == near(expected, 2e-8)


def crossing(found: list[float], information: list[float], drift: float = 0.0, sides: Sides = 2) -> Any:
    """Return the probability of crossing at any look."""
    density, total = SurvivingDensity(sides), 0.0
    for tau, bound in zip(information, found, strict=True):
        total += density.pass_by(tau, bound).probability(drift)
    return total


@pytest.mark.parametrize(
    ("power", "looks", "expected"),
    [
        *(
            (0, k, c)
            for k, c in ((2, 2.1782721), (3, 2.2894781), (4, 2.3612979), (5, 2.4131762), (10, 2.5550128))
        ),
        *(
            (0.5, k, c)
            for k, c in ((2, 1.9774310), (3, 2.0040356), (4, 2.0242955), (5, 2.0400732), (10, 2.0865022))
        ),
    ],
)
def test_constant_and_falling_bounds_of_error_5_percent_are_the_published_ones(
    power: float, looks: int, expected: list[float]
) -> None:
    t = equal(looks)
    found = brentq(lambda c: crossing([c / x**power for x in t], t) - 0.05, 1, 4, xtol=1e-12)
    assert found == near(expected, 6e-8)


@pytest.mark.parametrize(
    ("spending", "hour", "expected"),
    [
        ("obf", 1, 2.378e-80),
        ("obf", 5, 3.616e-17),
        ("obf", 6, 1.640047e-14),
        ("obf", 12, 8.025351e-8),
        ("obf", 24, 0.0002070114),
        ("obf", 36, 0.0030506455),
        ("obf", 48, 0.0120967783),
        ("obf", 60, 0.0281507746),
        ("obf", 72, 0.05),
        ("pocock", 1, 0.0011792353),
        ("pocock", 6, 0.0066911367),
        ("pocock", 24, 0.0226416213),
        ("pocock", 48, 0.0381691258),
        ("pocock", 72, 0.05),
    ],
)
def test_spending_is_right_to_the_last_digit_far_in_the_tail(
    spending: Spending, hour: int, expected: list[float]
) -> None:
    digits = len(f"{expected:e}".split("e")[0].rstrip("0")) - 2
    assert float(f"{spent(spending, hour / 72, 0.05):.{digits}e}") == pytest.approx(expected, rel=10**-digits)
    assert spent(spending, hour / 72, total_for(spending, hour / 72, 1e-9)) == pytest.approx(1e-9, rel=1e-12)


def test_looks_report_what_has_been_spent_in_all() -> None:
    found = evaluated("obf", equal(5))
    spent_by = [1.07774253e-6, 0.0007883, 0.00761613, 0.02442358, 0.05]
    assert [look.alpha_spent for look in found] == near(spent_by, 6e-9)
    nominal = [2 * ndtr(-look.bound) for look in found]
    assert nominal == near([1.08e-6, 0.0007879, 0.00735606, 0.02203194, 0.04225174], 5e-8)


def test_the_worked_sequence_crosses_at_hour_54() -> None:
    looks = [
        (18 / 72, 256.41025641, 0.64051262),
        (36 / 72, 728.16091954, 2.16390109),
        (54 / 72, 1307.26159230, 3.34897841),
        (1, 1843.49639742, 3.07362385),
    ]
    cases: list[tuple[Spending, float, list[float]]] = [
        ("obf", 0.05, [4.33263365, 2.96352462, 2.36847362, 2.02587005]),
        ("pocock", 0.05, [2.36832770, 2.40690979, 2.41439575, 2.39556925]),
        ("obf", 0.025, [4.85994019, 3.34488195, 2.67631652, 2.28994374]),
    ]
    for spending, alpha, expected in cases:
        test = GroupSequentialTest(alpha=alpha, spending=spending)
        found = [test.add(*look) for look in looks]
        assert [look.bound for look in found] == near(expected, 2e-8)
        assert [look.crossed for look in found] == [False, False, True, True]
    test = GroupSequentialTest(alpha=0.05, spending="obf")
    found = [test.add(*look) for look in (looks[0], looks[1], looks[3])]
    assert found[-1].bound == near(1.97229792, 2e-8)


def test_a_deferred_look_leaves_no_trace_but_its_alpha() -> None:
    with_deferred = GroupSequentialTest(alpha=0.05, spending="pocock")
    without = GroupSequentialTest(alpha=0.05, spending="pocock")
    assert with_deferred.add(0.25, 100.0, 0.0) == without.add(0.25, 100.0, 0.0)
    for information in (100.1, 60.0, 0.0, float("nan")):
        assert with_deferred.add(0.5, information, 9.0) == (
            Reason.NO_INFORMATION_GROWTH,
            spent("pocock", 0.25, 0.05),
            None,
            False,
        )
    assert with_deferred.add(0.25, 150.0, 9.0).deferred is Reason.NOTHING_TO_SPEND
    assert with_deferred.add(1, 300.0, 0.0) == without.add(1, 300.0, 0.0)


def test_one_side_is_crossed_in_the_direction_of_harm_only() -> None:
    test = GroupSequentialTest(alpha=0.025, spending="pocock", sides=1)
    assert not test.add(0.25, 1, -9.0).crossed
    assert test.add(0.5, 2, 9.0).crossed


@pytest.mark.parametrize("spending", ["obf", "pocock"])
@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("alpha", [1e-320, 1e-300, 1e-14, 1e-12, 0.999, 1.0])
def test_no_level_overflows(spending: Spending, sides: Sides, alpha: float) -> None:
    with np.errstate(all="raise", under="ignore"):
        found = evaluated(spending, equal(72), [1.3**k for k in range(72)], alpha=alpha, sides=sides)
    assert all(look.bound is None or -9 <= look.bound <= 9 for look in found)


@pytest.mark.parametrize("values", [{"alpha": 0.0}, {"alpha": 1.1}, {"min_growth": 0.0}, {"min_spend": 0.0}])
def test_levels_and_thresholds_out_of_range_are_refused(values: dict[str, float]) -> None:
    options: Any = {"alpha": 0.05, "spending": "obf"} | values
    with pytest.raises(ValueError, match="must be in"):
        GroupSequentialTest(**options)


def plain_bounds(tau: list[float], increments: Any, nodes: int = 48) -> list[float]:
    """Solve two-sided bounds by the recursion as the books write it, from scratch: panels, full range, Brent."""
    gx, gw = np.polynomial.legendre.leggauss(nodes)
    z = [-ndtri(increments[0] / 2)]
    x = w = f = np.empty(0)

    def excess(c: float, sd: float, spend: float) -> float:
        return float(w @ (f * (ndtr((-c - x) / sd) + ndtr((x - c) / sd))) - spend)

    for k in range(1, len(increments)):
        sd = np.sqrt(tau[k] - tau[k - 1])
        before = np.sqrt(tau[k - 1] - tau[k - 2]) if k > 1 else np.sqrt(tau[0])
        c = min(z[-1], 9) * np.sqrt(tau[k - 1])
        ends = np.linspace(-c, c, max(1, int(np.ceil(2 * c / (6 * min(sd, before))))) + 1)
        half, middle = np.diff(ends) / 2, (ends[1:] + ends[:-1]) / 2
        xn, wn = (middle[:, None] + half[:, None] * gx).ravel(), (half[:, None] * gw).ravel()
        scale = np.sqrt(2 * np.pi) * before
        f = (
            np.exp(-(xn**2) / (2 * tau[0])) / scale
            if k == 1
            else (np.exp(-((xn[:, None] - x) ** 2) / (2 * before**2)) / scale) @ (w * f)
        )
        x, w = xn, wn
        s = np.sqrt(tau[k])
        z.append(brentq(excess, 0, 40 * s, args=(sd, increments[k]), xtol=1e-14 * s) / s)
    return z


@pytest.mark.parametrize("alpha", [0.9, 0.05, 1e-4, 1e-9])
@pytest.mark.parametrize("growth", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("spending", ["obf", "pocock"])
def test_few_nodes_give_what_the_plain_recursion_with_many_gives(
    spending: Spending, growth: float, alpha: float
) -> None:
    steps = np.random.default_rng(7).exponential(1, 24) ** growth
    tau = np.cumsum(steps).tolist()
    looks = [
        (spending_by.alpha_spent, x, spending_by.bound)
        for spending_by, x in zip(evaluated(spending, equal(24), tau, alpha=alpha), tau, strict=True)
        if spending_by.bound is not None
    ]
    increments = np.diff([0.0, *(by for by, _, _ in looks)])
    assert [bound for *_, bound in looks] == near(plain_bounds([x for _, x, _ in looks], increments), 1e-12)
