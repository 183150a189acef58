"""The A/A scenarios that every release is simulated on, and what may be found there."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

from rtexp.statistics.effects import Metric
from rtexp.statistics.simulation.decisions import Decider
from rtexp.statistics.simulation.users import Behaviour

BUCKETS = 72
ALPHA = 0.05
MARGIN = 0.010
"""What a cell may exceed its figure by."""
PEEKING_LEAST = 0.15
"""Unadjusted peeking must err at least as often: it proves that the simulation can fail."""

DECIDERS = {
    "OBF 72": Decider("obf", 72),
    "Pocock 72": Decider("pocock", 72),
    "OBF 12": Decider("obf", 12),
    "Pocock 12": Decider("pocock", 12),
    "Bonferroni 72": Decider("bonferroni", 72),
    "Bonferroni 12": Decider("bonferroni", 12),
    "conf. seq. 72": Decider("confidence-sequence", 72),
    "conf. seq. 12": Decider("confidence-sequence", 12),
    "1.96 at 72": Decider("unadjusted", 72),
    "OBF 72, elapsed": Decider("obf", 72, elapsed=True),
    "Pocock 72, elapsed": Decider("pocock", 72, elapsed=True),
}
SPENDING = ("OBF 72", "Pocock 72", "OBF 12", "Pocock 12")
STRICT = ("Bonferroni 72", "Bonferroni 12", "conf. seq. 72", "conf. seq. 12")


class Scenario(NamedTuple):
    """Two groups of one behaviour."""

    name: str
    behaviour: Behaviour
    users: tuple[int, int]
    """Of control and treatment, in the whole window."""
    spending_errors: tuple[float, float, float, float]
    """Expected of `SPENDING`, from 5,000 runs of another implementation."""


_P, _V = Metric.PROPENSITY, Metric.VOLUME
_EVEN, _FEWER = (3_000, 3_000), (2_000, 2_000)
SCENARIOS = (
    Scenario("share .1, final, even", Behaviour(_P, 0.1, is_final=True), _EVEN, (0.048, 0.045, 0.048, 0.043)),
    Scenario(
        "actions, final, mean 3, users differ, even",
        Behaviour(_V, 3, is_final=True, differs=True),
        _EVEN,
        (0.049, 0.052, 0.049, 0.049),
    ),
    Scenario(
        "actors, rate .3, users differ, even",
        Behaviour(_P, 0.3, is_final=False, differs=True),
        _EVEN,
        (0.058, 0.049, 0.057, 0.052),
    ),
    Scenario(
        "actors, rate .3, users differ, at start",
        Behaviour(_P, 0.3, is_final=False, differs=True, all_at_start=True),
        _EVEN,
        (0.046, 0.046, 0.045, 0.046),
    ),
    Scenario("actors, rate 2, even", Behaviour(_P, 2, is_final=False), _EVEN, (0.072, 0.064, 0.063, 0.059)),
    Scenario(
        "actors, rate 2, at start",
        Behaviour(_P, 2, is_final=False, all_at_start=True),
        _EVEN,
        (0.047, 0.046, 0.047, 0.049),
    ),
    Scenario(
        "actors, rate .3, users differ, even, 1:4",
        Behaviour(_P, 0.3, is_final=False, differs=True),
        (1_200, 4_800),
        (0.051, 0.055, 0.050, 0.054),
    ),
    Scenario("actions, rate 3, even", Behaviour(_V, 3, is_final=False), _FEWER, (0.046, 0.044, 0.048, 0.047)),
    Scenario(
        "actions, rate 3, users differ, even",
        Behaviour(_V, 3, is_final=False, differs=True),
        _FEWER,
        (0.028, 0.027, 0.036, 0.033),
    ),
)
POWER_LIFT = 0.2
POWER = {
    "fixed": 0.70,
    "OBF 72": 0.66,
    "Pocock 72": 0.56,
    "Bonferroni 72": 0.27,
    "conf. seq. 72": 0.38,
}
"""Of the first scenario with that lift; the fixed test is the formula's, one look at the end."""
_POWER_MARGIN = 0.033


def violations(scenario: Scenario, rates: dict[str, float], runs: int) -> list[str]:
    """Return a sentence for each rate of an A/A scenario that may not be; an allowance of 3 standard errors is added.

    Args:
        scenario: What was simulated.
        rates: Share of runs that crossed, by the names of `DECIDERS`.
        runs: How many there were.
    """

    def allowance(rate: float) -> float:
        return _allowance(rate, runs)

    found = []
    for name, figure in zip(SPENDING, scenario.spending_errors, strict=True):
        if rates[name] > figure + MARGIN + allowance(figure + MARGIN):
            found.append(
                f"{scenario.name}: {name} errs in {rates[name]:.3f}, more than {figure + MARGIN:.3f}"
            )
        if scenario.behaviour.is_final and abs(rates[name] - ALPHA) > MARGIN + allowance(ALPHA):
            found.append(f"{scenario.name}: {name} errs in {rates[name]:.3f}, not in {ALPHA} ± {MARGIN}")
    found += [
        f"{scenario.name}: {name} errs in {rates[name]:.3f}, more than {ALPHA}"
        for name in STRICT
        if rates[name] > ALPHA + allowance(ALPHA)
    ]
    if rates["1.96 at 72"] < PEEKING_LEAST - allowance(PEEKING_LEAST):
        found.append(f"{scenario.name}: peeking errs in {rates['1.96 at 72']:.3f} only, so nothing is proved")
    return found


def weak(rates: dict[str, float], runs: int) -> list[str]:
    """Return a sentence for each power that isn't the expected one, give or take 3 standard errors.

    Args:
        rates: Share of runs that crossed, by the names of `POWER`.
        runs: How many there were.
    """
    # Expected figures have two digits, and errors of their own (2,000 runs).
    return [
        f"power of {name} is {rates[name]:.3f}, not {figure}"
        for name, figure in POWER.items()
        if abs(rates[name] - figure) > _POWER_MARGIN + _allowance(figure, runs)
    ]


def _allowance(rate: float, runs: int) -> float:
    return 3 * sqrt(rate * (1 - rate) / runs)
