"""Simulate A/A and A/B tests through the real counters, judge the rates, and write docs/simulations.md.

Example: python -m bench.simulations --runs 5000
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rtexp.local.progress import counted
from rtexp.local.simulating import simulate
from rtexp.statistics.simulation.decisions import Decider
from rtexp.statistics.simulation.rates import Experiment
from rtexp.statistics.simulation.scenarios import (
    BUCKETS,
    DECIDERS,
    POWER,
    POWER_LIFT,
    SCENARIOS,
    violations,
    weak,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.statistics.simulation.rates import Tally

SEED = 20_261_125
PAGE = Path(__file__).parents[1] / "docs" / "simulations.md"
TEXT = """\
# Simulations

What the methods do on simulated users, whose actions go through the same sums, effects and bounds as real ones:
`make simulate` writes this page and fails if a rate is not what it may be. {runs:,} runs of each scenario, seed {seed},
{date}. Standard errors: {error:.4f} at .05, {error_power:.4f} at .7. A window has 72 looks, or 12: every sixth of them.

## A/A: how often a difference is found where there is none

Everything is at 5 %. *Even*: users come evenly over the window. *Final*: all that a user ever does happens at exposure;
otherwise users go on acting. *Users differ*: rates vary from user to user (gamma, shape ½). 3,000 users in each group;
2,000 for actions over time; 1,200 and 4,800 for 1:4.

{errors}

What this says:

- **Outcomes that are final at exposure: alpha spending keeps its 5 %.** Where users go on acting, later looks revise
  what earlier ones saw, and the correlation that bounds are computed with is an approximation. The worst case is the
  one in which most users act and come evenly over the window.
- **Bonferroni and the confidence sequence stay below 5 % in every row.** Take one of them for a strict bound.
- **Looking 72 times at an unadjusted test (1.96) errs in 20 to 50 of 100 cases.** It stands here because a simulation
  that nothing fails proves nothing.
- *Elapsed* takes time in place of information. rtexp doesn't: this is why.

## A/B: how often 10 % against 12 % is found

3,000 users in each group, final at exposure. A single test at the end has a power of .70 by its formula.

{powers}

## Accepted

Spending: 5 % ± 1 % in rows of final outcomes, elsewhere at most the expected figure + 1 %; Bonferroni and confidence
sequence: at most 5 %; peeking: at least 15 %, or the simulation is blind; powers: the expected ones. 3 standard errors
are allowed on top of each. {verdict}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all, and return 1 if any rate isn't acceptable."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", type=int, help="one scenario by its number from 0; writes no page")
    parser.add_argument("--output", type=Path, default=PAGE)
    given = parser.parse_args(arguments)
    errors, problems = {}, []
    for number, scenario in enumerate(SCENARIOS):
        if given.only in {None, number}:
            experiment = Experiment(scenario.behaviour, scenario.users, BUCKETS)
            errors[scenario.name] = _simulated(scenario.name, experiment, DECIDERS, given, number)
            rates = {name: one.rate for name, one in errors[scenario.name].items()}
            problems += violations(scenario, rates, given.runs)
    powers = {}
    if given.only is None:
        first = SCENARIOS[0]
        experiment = Experiment(first.behaviour, first.users, BUCKETS, POWER_LIFT)
        deciders = {name: DECIDERS.get(name, Decider("unadjusted", 1)) for name in POWER}
        powers = _simulated("power", experiment, deciders, given, len(SCENARIOS))
        problems += weak({name: one.rate for name, one in powers.items()}, given.runs)
        given.output.write_text(_page(errors, powers, problems, given), "utf-8")
    sys.stdout.write("".join(f"{line}\n" for line in [*_table(errors, ".3f"), *problems]))
    return 1 if problems else 0


def _simulated(
    name: str, experiment: Experiment, deciders: dict[str, Decider], given: argparse.Namespace, number: int
) -> dict[str, Tally]:
    with counted(name, given.runs, sys.stderr, unit="runs") as done:
        return simulate(experiment, deciders, runs=given.runs, seed=(given.seed, number), done=done)


def _page(
    errors: dict[str, dict[str, Tally]],
    powers: dict[str, Tally],
    problems: list[str],
    given: argparse.Namespace,
) -> str:
    power_rows = ["| method | expected | found | mean share of the window |", "| --- | --- | --- | --- |"]
    power_rows += [
        f"| {name} | {_short(POWER[name], '.2f')} | {_short(one.rate, '.3f')} | {_short(one.mean_t, '.3f')} |"
        for name, one in powers.items()
    ]
    return TEXT.format(
        runs=given.runs,
        seed=given.seed,
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        error=(0.05 * 0.95 / given.runs) ** 0.5,
        error_power=(0.7 * 0.3 / given.runs) ** 0.5,
        errors="\n".join(_table(errors, ".3f")),
        powers="\n".join(power_rows),
        verdict="All rates of this page are acceptable."
        if not problems
        else "Not acceptable: " + "; ".join(problems) + ".",
    )


def _table(errors: dict[str, dict[str, Tally]], form: str) -> list[str]:
    rows = ["| scenario | " + " | ".join(DECIDERS) + " |", "| --- |" + " --- |" * len(DECIDERS)]
    for name, tallies in errors.items():
        rows.append(f"| {name} | " + " | ".join(_short(one.rate, form) for one in tallies.values()) + " |")
    return rows


def _short(rate: float, form: str) -> str:
    return format(rate, form).removeprefix("0") or "0"


if __name__ == "__main__":
    sys.exit(main())
