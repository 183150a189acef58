"""`rtexp simulate`: the error and the power of a plan, on simulated users that go through the same sums and bounds."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from rtexp.errors import UsageError
from rtexp.local.progress import counted
from rtexp.local.simulating import simulate as simulated
from rtexp.statistics import gamblers_ruin
from rtexp.statistics.effects import Metric
from rtexp.statistics.simulation.decisions import Decider
from rtexp.statistics.simulation.rates import Experiment
from rtexp.statistics.simulation.users import Behaviour

if TYPE_CHECKING:
    from rtexp.statistics.simulation.decisions import Method
    from rtexp.statistics.simulation.rates import Tally

_ABOVE_0 = click.FloatRange(0, min_open=True)
_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)
NAIVE = "unadjusted"
METHODS: tuple[Method, ...] = ("obf", "pocock", "bonferroni", "confidence-sequence", "gamblers-ruin")


@click.command()
@click.option("--method", type=click.Choice(METHODS), default="obf", show_default=True, help="Of the plan.")
@click.option("--alpha", type=_SHARE, default=0.05, show_default=True, help="Of one comparison.")
@click.option("--looks", type=click.IntRange(1, 1000), default=72, show_default=True, help="In a period.")
@click.option(
    "--metric",
    type=click.Choice([str(m) for m in Metric]),
    default="propensity",
    show_default=True,
    help="What is compared.",
)
@click.option(
    "--rate",
    type=_ABOVE_0,
    default=0.1,
    show_default=True,
    help="Share of users who act, or actions per user; with --over-time actions per user in a whole period.",
)
@click.option(
    "--lift", type=float, default=0.1, show_default=True, help="Of the treatment's rate, in the A/B runs."
)
@click.option(
    "--users", type=click.IntRange(2, 1_000_000), default=3000, show_default=True, help="In each group."
)
@click.option("--over-time", is_flag=True, help="Users go on acting; otherwise all they do is at exposure.")
@click.option("--differ", is_flag=True, help="Rates differ from user to user.")
@click.option("--at-start", is_flag=True, help="All users come at the start; otherwise evenly.")
@click.option(
    "--min-users", type=click.IntRange(0), default=100, show_default=True, help="Gate of a look, per group."
)
@click.option(
    "--min-actors", type=click.IntRange(0), default=40, show_default=True, help="Gate of a look, per group."
)
@click.option(
    "--runs", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="Of each kind."
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed, other users."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def simulate(
    *,
    method: Method,
    alpha: float,
    looks: int,
    metric: str,
    rate: float,
    lift: float,
    users: int,
    over_time: bool,
    differ: bool,
    at_start: bool,
    min_users: int,
    min_actors: int,
    runs: int,
    seed: int,
    as_json: bool,
) -> None:
    """Simulate a plan: how often it finds a difference where there is none (A/A), and where there is one (A/B).

    Beside it stands what a test without correction does that is looked at as often. The same seed gives the same
    figures. Pages of such figures: docs/simulations.md.

    Example: rtexp simulate --method pocock --rate 0.2 --lift 0.1 --users 5000
    """
    try:
        behaviour = Behaviour(
            Metric(metric), rate, is_final=not over_time, differs=differ, all_at_start=at_start
        )
        lifted = Behaviour(Metric(metric), rate * (1 + lift), is_final=not over_time)
        ruin = _ruin(alpha, lift, lifted) if method == "gamblers-ruin" else None
        deciders = {
            method: Decider(method, looks, alpha, ruin=ruin),
            NAIVE: Decider("unadjusted", looks, alpha),
        }
    except ValueError as error:
        raise UsageError(str(error)) from error

    def run(name: str, number: int, its_lift: float) -> dict[str, Tally]:
        experiment = Experiment(
            behaviour, (users, users), looks, its_lift, min_users=min_users, min_actors=min_actors
        )
        with counted(name, runs, sys.stderr, unit="runs") as done:
            return simulated(experiment, deciders, runs=runs, seed=(seed, number), done=done)

    found = {"A/A": run("A/A", 0, 0.0), "A/B": run("A/B", 1, lift)}
    click.echo(json.dumps(_plain(found), indent=2) if as_json else "\n".join(_lines(found)))


def _ruin(alpha: float, lift: float, lifted: Behaviour) -> gamblers_ruin.RuinDesign:
    if lifted.metric is not Metric.PROPENSITY:
        raise UsageError("gambler's ruin counts users who acted: --metric propensity")
    return gamblers_ruin.design(lift, alpha)


def _plain(found: dict[str, dict[str, Tally]]) -> dict[str, Any]:
    return {
        kind: {
            name: {
                "runs": one.runs,
                "rate": one.rate,
                "standard_error": one.standard_error,
                "mean_t": one.mean_t,
            }
            for name, one in tallies.items()
        }
        for kind, tallies in found.items()
    }


def _lines(found: dict[str, dict[str, Tally]]) -> list[str]:
    width = max(len(name) for tallies in found.values() for name in tallies)
    lines = [f"{'':<{width + 5}}  {'found':>7}  {'std err':>7}  {'decided after':>13}"]
    lines += [
        f"{kind}  {name:<{width}}  {one.rate:>7.4f}  {one.standard_error:>7.4f}  {one.mean_t:>13.1%}"
        for kind, tallies in found.items()
        for name, one in tallies.items()
    ]
    return [*lines, "found: share of runs; decided after: mean share of the period until found, or its end"]
