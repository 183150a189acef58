"""Verdicts of a period, recomputed at each look from the whole list of counts: from the specification, not the code.

Slow and plain: every bound is solved from scratch, and nothing is carried from one look to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, copysign, exp, log, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy import stats
from scipy.optimize import brentq
from scipy.special import gammaln, ndtr, ndtri

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LEAST_P = 1e-300


class Counts(NamedTuple):
    n: int
    s1: int
    s2: int
    a: int


@dataclass(frozen=True)
class Plan:
    control: str
    treatments: tuple[str, ...]
    decision: tuple[tuple[str, str], ...]
    events: tuple[str, ...]
    looks: int
    guardrails: tuple[tuple[str, str, str], ...] = ()
    method: str = "alpha-spending"
    alpha: float = 0.05
    spending: str = "obf"
    expected_users: int = 10_000
    conversions: int = 0
    lead: int = 0
    guardrail_alpha: float = 0.025
    srm_alpha: float = 0.001
    srm_prior: float = 1000.0
    min_users: int = 100
    min_actors: int = 40
    min_growth: float = 0.002
    min_spend: float = 1e-15
    problem: str = ""


class Look(NamedTuple):
    number: int
    """Of ``Plan.looks`` at equal distances."""
    counts: dict[tuple[str, str], Counts]
    """By group and event; n is the group's."""
    split: dict[str, tuple[int, int, float]]
    """By group users, of these exposed to another group before, and planned weight: one stretch."""


@dataclass
class Verdict:
    state: str
    reason: str | None
    crossed: bool
    withheld: bool
    final: bool
    reversed_: bool
    level: float | None = None
    """None where the specification leaves open what it is."""
    boundary: float | None = None
    alpha_spent: float | None = None
    effect: float | None = None
    z: float | None = None
    p: float | None = None
    interval: tuple[float, float] | None = None


class Point(NamedTuple):
    """A look that passed the gates."""

    number: int
    t: float
    tau: float
    z: float
    p: float
    users: int
    variance: float
    effect: float
    control: int
    treatment: int


# -- section 2 ----------------------------------------------------------------------------------------------------


def inconsistent(c: Counts) -> bool:
    return not (
        0 <= c.a <= c.n
        and c.a <= c.s1 <= c.s2
        and c.s1**2 <= c.a * c.s2
        and (c.s1 - c.s2) % 2 == 0
        and (c.a > 0 or c.s1 == c.s2 == 0)
    )


def compared(metric: str, c: Counts, t: Counts) -> tuple[float, float, float, float | None] | str:
    """Return (effect, unpooled variance, p, degrees of freedom), or why there is none."""
    if min(c.n, t.n) == 0:
        return "empty_group"
    if metric == "propensity":
        p_c, p_t, pooled = c.a / c.n, t.a / t.n, (c.a + t.a) / (c.n + t.n)
        if pooled in (0, 1):
            return "zero_variance"
        z = (p_t - p_c) / sqrt(pooled * (1 - pooled) * (1 / c.n + 1 / t.n))
        variance = p_c * (1 - p_c) / c.n + p_t * (1 - p_t) / t.n
        return p_t - p_c, variance, max(2 * float(stats.norm.sf(abs(z))), LEAST_P), None
    if min(c.n, t.n) < 2:
        return "group_too_small"
    a_c, a_t = ((x.n * x.s2 - x.s1**2) / (x.n * (x.n - 1)) / x.n for x in (c, t))
    if a_c + a_t == 0:
        return "zero_variance"
    delta = t.s1 / t.n - c.s1 / c.n
    dof = (a_c + a_t) ** 2 / (a_c**2 / (c.n - 1) + a_t**2 / (t.n - 1))
    p = max(2 * float(stats.t.sf(abs(delta) / sqrt(a_c + a_t), dof)), LEAST_P)
    return delta, a_c + a_t, p, dof


def information(metric: str, c: Counts, t: Counts) -> float:
    if metric == "volume":
        return float(c.s2 + t.s2)
    n, a = c.n + t.n, c.a + t.a
    return a / (1 - a / n) if a < n else float(n * a)


# -- section 3a ---------------------------------------------------------------------------------------------------


def spent(spending: str, t: float, alpha: float, sides: int) -> float:
    if spending == "pocock":
        return alpha * log(1 + (exp(1) - 1) * t)
    return float(2 * sides * ndtr(ndtri(alpha / (2 * sides)) / sqrt(t)))


def bounds(tau: Sequence[float], inc: Sequence[float], sides: int = 2, m: int = 24) -> list[float]:
    """Return the bound of each look, as the specification's reference code does; one-sided without a lower one."""
    gx, gw = leggauss(m)
    z: list[float] = []
    x = w = f = np.zeros(0)
    for k, d in enumerate(inc):
        s = sqrt(tau[k])
        growth = tau[k] - (tau[k - 1] if k else 0.0)
        zk = float(-ndtri(d / sides)) if k == 0 else _solved((x, w * f), s, sqrt(growth), d, sides=sides)
        z.append(zk)
        if k + 1 < len(inc):
            c = min(zk, 9.0) * s
            least = -c if sides == 2 else -9.0 * s
            panels = max(1, ceil((c - least) / (6 * sqrt(min(tau[k + 1] - tau[k], growth)))))
            edges = np.linspace(least, c, panels + 1)
            half, mid = (edges[1:] - edges[:-1]) / 2, (edges[1:] + edges[:-1]) / 2
            xn, wn = (mid[:, None] + half[:, None] * gx).ravel(), (half[:, None] * gw).ravel()
            if k == 0:
                f = np.exp(-(xn**2) / (2 * tau[0])) / np.sqrt(2 * np.pi * tau[0])
            else:
                blur = np.exp(-((xn[:, None] - x) ** 2) / (2 * growth)) / np.sqrt(2 * np.pi * growth)
                f = blur @ (w * f)
            x, w = xn, wn
    return z


def _solved(
    density: tuple[np.ndarray, np.ndarray], scale: float, deviation: float, spend: float, *, sides: int
) -> float:
    x, mass = density

    def excess(c: float) -> float:
        out = ndtr((x - c * scale) / deviation)
        if sides == 2:
            out = out + ndtr((-c * scale - x) / deviation)
        return float(mass @ out - spend)

    low = 0.0 if sides == 2 else -9.0
    return float(brentq(excess, low, 40.0, xtol=1e-13)) if excess(low) > 0 else low


class Spent(NamedTuple):
    deferred: str | None
    bound: float | None
    alpha_spent: float


def alpha_spending(plan: Plan, path: Sequence[Point], level: float, spending: str, sides: int) -> list[Spent]:
    """Return what each look of a path got, bounds of all solved together."""
    found: list[Spent] = []
    taus: list[float] = []
    incs: list[float] = []
    so_far = 0.0
    for point in path:
        now = spent(spending, point.t, level, sides)
        if point.tau < (1 + plan.min_growth) * (taus[-1] if taus else 0.0) or point.tau == 0:
            found.append(Spent("no_information_growth", None, so_far))
        elif now - so_far < plan.min_spend:
            found.append(Spent("nothing_to_spend", None, so_far))
        else:
            taus.append(point.tau)
            incs.append(now - so_far)
            so_far = now
            found.append(Spent(None, 0.0, so_far))
    solved = iter(bounds(taus, incs, sides))
    return [one if one.deferred else one._replace(bound=next(solved)) for one in found]


def sequential_p(plan: Plan, path: Sequence[Point], spending: str, sides: int) -> float:
    """Return the least level at which the path crosses, by bisection on its logarithm; 1 above 0.2."""

    def crosses(level: float) -> bool:
        return first_crossing(plan, path, level, spending, sides) != 0

    if not path or not crosses(0.2):
        return 1.0
    low, high = log(1e-14), log(0.2)
    for _ in range(34):
        middle = (low + high) / 2
        low, high = (low, middle) if crosses(exp(middle)) else (middle, high)
    return exp(high)


def first_crossing(plan: Plan, path: Sequence[Point], level: float, spending: str, sides: int) -> int:
    """Return the sign of the first look beyond its bound, 0 if there is none."""
    for point, one in zip(path, alpha_spending(plan, path, level, spending, sides), strict=True):
        if one.bound is not None and (abs(point.z) if sides == 2 else point.z) >= one.bound:
            return int(copysign(1, point.z))
    return 0


# -- sections 3b, 3c, 3e ------------------------------------------------------------------------------------------


def direction(plan: Plan, path: Sequence[Point], level: float) -> int:
    """Return the sign of the first crossing of a two-sided test by the plan's method, 0 if there is none."""
    crosses: Callable[[Point], bool]
    match plan.method:
        case "alpha-spending":
            return first_crossing(plan, path, level, plan.spending, 2)
        case "bonferroni":
            crosses = lambda point: point.p < level / plan.looks  # noqa: E731
        case "confidence-sequence":
            crosses = lambda point: sequence_p(plan, point) <= level  # noqa: E731
        case _:
            crosses = lambda point: (  # noqa: E731
                point.control + point.treatment <= plan.conversions
                and abs(point.treatment - point.control) >= plan.lead
            )
    return next((int(copysign(1, point.effect)) for point in path if crosses(point)), 0)


def rho_squared(plan: Plan) -> float:
    return (-2 * log(plan.alpha) + log(-2 * log(plan.alpha) + 1)) / plan.expected_users


def sequence_p(plan: Plan, point: Point) -> float:
    if point.variance == 0:
        return 1.0
    kappa = point.users * rho_squared(plan)
    return min(1.0, sqrt(kappa + 1) * exp(-kappa * point.effect**2 / (2 * point.variance * (kappa + 1))))


# -- section 3f ---------------------------------------------------------------------------------------------------


def log_e(users: Sequence[int], weights: Sequence[float], k: float) -> float:
    n, total = sum(users), sum(weights)
    shares = [w / total for w in weights]
    terms = [
        gammaln(k * share + u) - gammaln(k * share) - u * log(share)
        for u, share in zip(users, shares, strict=True)
    ]
    return float(gammaln(k) - gammaln(k + n) + sum(terms))


def srm_p(plan: Plan, looks: Sequence[Look], *, first_only: bool) -> float:
    p = 1.0
    for look in looks:
        if is_impossible(look):
            continue
        users = [n - (again if first_only else 0) for n, again, _ in look.split.values()]
        p = min(p, exp(-max(0.0, log_e(users, [w for *_, w in look.split.values()], plan.srm_prior))))
    return p


def is_impossible(look: Look) -> bool:
    return any(not 0 <= again <= n for n, again, _ in look.split.values())


# -- section 4 ----------------------------------------------------------------------------------------------------

Key = tuple[str, str, str, str]
"""(treatment, event, metric, role)."""


@dataclass
class _Memory:
    """What the looks so far say of one comparison."""

    path: list[Point] = field(default_factory=list)
    reason: str | None = None
    effect: float | None = None
    z: float | None = None
    p: float | None = None
    variance: float | None = None
    dof: float | None = None


def verdicts(plan: Plan, looks: Sequence[Look]) -> dict[Key, Verdict]:
    """Return the verdict of every comparison as of the last of ``looks``, whichever were missed before."""
    found: dict[Key, Verdict] = {}
    alarm = min(srm_p(plan, looks, first_only=False), srm_p(plan, looks, first_only=True)) < plan.srm_alpha
    for treatment in plan.treatments:
        deciding = [(treatment, event, metric, "decision") for event, metric in plan.decision]
        crossings = _holm_over_time(plan, looks, deciding)
        for key in comparisons(plan, treatment):
            memory = _remember(plan, looks, key)
            role = key[3]
            if role == "decision":
                sign, level = crossings[key]
            elif role == "guardrail":
                level = plan.guardrail_alpha
                towards = _towards(plan, key)
                sign = towards * first_crossing(plan, memory.path, level, "pocock", 1)
            else:
                level = plan.alpha / len(plan.treatments)
                sign = direction(plan, memory.path, level)
            found[key] = _verdict(plan, looks[-1], role, memory, _Decided(sign, level), alarm=alarm)
    return found


def comparisons(plan: Plan, treatment: str) -> list[Key]:
    keys = [
        (treatment, event, metric, "decision" if (event, metric) in plan.decision else "exploratory")
        for event in plan.events
        for metric in ("propensity", "volume")
    ]
    return keys + [(treatment, event, metric, "guardrail") for event, metric, _ in plan.guardrails]


def _towards(plan: Plan, key: Key) -> int:
    harm = next(h for e, m, h in plan.guardrails if (e, m) == key[1:3])
    return -1 if harm == "drop" else 1


def _remember(plan: Plan, looks: Sequence[Look], key: Key) -> _Memory:
    treatment, event, metric, role = key
    ruin = plan.method == "gamblers-ruin" and role != "guardrail"
    memory = _Memory()
    for look in looks:
        memory.reason = memory.effect = memory.z = memory.p = memory.variance = memory.dof = None
        c, t = look.counts[plan.control, event], look.counts[treatment, event]
        if inconsistent(c) or inconsistent(t) or is_impossible(look):
            memory.reason = "inconsistent_counts"
            continue
        got = compared(metric, c, t)
        if not isinstance(got, str):
            memory.effect, memory.variance, memory.p, memory.dof = got
            memory.z = copysign(float(-ndtri(memory.p / 2)), got[0]) if got[0] else 0.0
        if plan.problem:
            memory.reason = plan.problem
        elif ruin and metric == "volume":
            memory.reason = "plan_missing"
        elif isinstance(got, str) and got != "zero_variance":
            memory.reason = got
        elif not ruin and min(c.n, t.n) < plan.min_users:
            memory.reason = "too_few_users"
        elif not ruin and min(c.a, t.a) < plan.min_actors:
            memory.reason = "too_few_actors"
        elif isinstance(got, str):
            memory.reason = got
        else:
            assert memory.z is not None
            assert memory.p is not None
            towards = _towards(plan, key) if role == "guardrail" else 1
            memory.path.append(
                Point(
                    look.number,
                    look.number / plan.looks,
                    information(metric, c, t),
                    towards * memory.z,
                    memory.p,
                    c.n + t.n,
                    got[1],
                    got[0],
                    c.a,
                    t.a,
                )
            )
    return memory


def _holm_over_time(plan: Plan, looks: Sequence[Look], keys: list[Key]) -> dict[Key, tuple[int, float]]:
    """Return sign and level of each decision metric: Holm's procedure at every look, rejections kept."""
    share = plan.alpha / len(plan.treatments)
    rejected: dict[Key, tuple[int, float]] = {}
    for k in range(1, len(looks) + 1):
        paths = {key: _remember(plan, looks[:k], key).path for key in keys}
        if plan.method == "gamblers-ruin":
            for key in keys:
                sign = direction(plan, paths[key], 0.0)
                if sign and key not in rejected:
                    rejected[key] = sign, share / len(keys)
            continue
        while left := len(keys) - len(rejected):
            signs = {key: direction(plan, paths[key], share / left) for key in keys if key not in rejected}
            new = {key: (sign, share / left) for key, sign in signs.items() if sign}
            if not new:
                break
            rejected |= new
        assert len(rejected) >= _textbook_rejections(plan, list(paths.values()), share)
    left = len(keys) - len(rejected)
    if plan.method == "gamblers-ruin":
        left = len(keys)
    return {key: rejected.get(key, (0, share / max(left, 1))) for key in keys}


def _textbook_rejections(plan: Plan, paths: list[list[Point]], share: float) -> int:
    """Return how many Holm rejects: the most r with, for all i up to r, i p-values of at most share / (q - i + 1)."""
    q = len(paths)
    for i in range(1, q + 1):
        if sum(direction(plan, path, share / (q - i + 1)) != 0 for path in paths) < i:
            return i - 1
    return q


class _Bound(NamedTuple):
    deferred: str | None
    boundary: float | None
    alpha_spent: float | None
    evaluated: bool
    exhausted: bool = False


def _bound(plan: Plan, role: str, path: Sequence[Point], level: float) -> _Bound:
    if not path:
        return _Bound(None, None, None, evaluated=False)
    if role == "guardrail" or plan.method == "alpha-spending":
        spending, sides = ("pocock", 1) if role == "guardrail" else (plan.spending, 2)
        got = alpha_spending(plan, path, level, spending, sides)
        return _Bound(*got[-1], evaluated=any(one.deferred is None for one in got))
    if plan.method == "bonferroni":
        share = level / plan.looks
        return _Bound(None, float(-ndtri(share / 2)), share * len(path), evaluated=True)
    if plan.method == "confidence-sequence":
        kappa = path[-1].users * rho_squared(plan)
        return _Bound(
            None, sqrt(2 * (kappa + 1) / kappa * log(sqrt(kappa + 1) / level)), None, evaluated=True
        )
    totals = [point.control + point.treatment for point in path]
    return _Bound(
        "plan_exhausted" if totals[-1] > plan.conversions else None,
        float(plan.lead),
        None,
        evaluated=any(total <= plan.conversions for total in totals),
        exhausted=any(total >= plan.conversions for total in totals),
    )


def _state(role: str, sign: int, *, alarm: bool, final: bool, evaluated: bool) -> str:
    if role == "exploratory":
        return "exploratory"
    if alarm:
        return "blocked_srm"
    if sign:
        return "significant_gain" if sign > 0 else "significant_drop"
    if final:
        return "final_no_difference" if evaluated else "insufficient_data"
    return "no_difference_yet" if evaluated else "collecting"


class _Decided(NamedTuple):
    sign: int
    level: float


def _verdict(
    plan: Plan, look: Look, role: str, memory: _Memory, decided: _Decided, *, alarm: bool
) -> Verdict:
    sign, level = decided
    bound = _bound(plan, role, memory.path, level)
    final = look.number == plan.looks or bound.exhausted
    reason = memory.reason or bound.deferred
    boundary = bound.boundary if reason is None else None
    if alarm and reason != "inconsistent_counts":
        reason = "srm_alarm"
    method = "alpha-spending" if role == "guardrail" else plan.method
    return Verdict(
        state=_state(role, sign, alarm=alarm, final=final, evaluated=bound.evaluated),
        reason=reason,
        crossed=sign != 0,
        withheld=sign != 0 and alarm,
        final=final,
        reversed_=memory.effect is not None and memory.effect * sign < 0,
        level=level,
        boundary=boundary,
        alpha_spent=bound.alpha_spent,
        effect=memory.effect,
        z=memory.z,
        p=memory.p,
        interval=None if boundary is None else _interval(method, memory, boundary),
    )


def _interval(method: str, memory: _Memory, boundary: float) -> tuple[float, float] | None:
    if method == "gamblers-ruin":
        return None
    assert memory.effect is not None
    assert memory.variance is not None
    width = boundary
    if memory.dof is not None and method != "confidence-sequence":
        width = float(stats.t.isf(stats.norm.sf(boundary), memory.dof))
    half = width * sqrt(memory.variance)
    return memory.effect - half, memory.effect + half
