"""`rtexp power`: how many users and hours a lift needs, and what lift so many users can still show."""

from __future__ import annotations

import json
from math import inf
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rtexp.commands.running_power import running_rows
from rtexp.errors import UsageError
from rtexp.statistics.power import METHODS, Aim, Baseline, least_lift, requirement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.commands.context import Context
    from rtexp.statistics.power import PowerMethod, Requirement

PERIOD_HOURS = 72
_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)
_ABOVE_0 = click.FloatRange(0, min_open=True)


@click.command()
@click.option("--rate", type=_SHARE, help="Share of the control's users who act (propensity).")
@click.option("--mean", type=_ABOVE_0, help="Actions per user of the control (volume); needs --variance.")
@click.option("--variance", type=_ABOVE_0, help="Of actions per user.")
@click.option(
    "--lift", type=float, help="The change to be found: 0.05 is 5 % more. Without: what lift can be."
)
@click.option("--users", type=click.IntRange(1), help="Users of each group at the end of the period.")
@click.option("--per-hour", type=_ABOVE_0, help="Users who are triggered in an hour, of all groups together.")
@click.option("--method", "methods", multiple=True, type=click.Choice(METHODS), help="Default: all.")
@click.option("--alpha", type=_SHARE, default=0.05, show_default=True, help="Error of the whole experiment.")
@click.option(
    "--power", type=_SHARE, default=0.8, show_default=True, help="Chance of finding the lift if it is there."
)
@click.option(
    "--looks", type=click.IntRange(1, 1000), default=72, show_default=True, help="Looks in a period."
)
@click.option(
    "--treatments", type=click.IntRange(1), default=1, show_default=True, help="Groups but the control."
)
@click.option(
    "--metrics",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Decision metrics; their error is shared.",
)
@click.option(
    "--experiment", metavar="NAME", help="What can this one still show? From its plan and newest look."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_context
def power(
    ctx: click.Context,
    /,
    *,
    rate: float | None,
    mean: float | None,
    variance: float | None,
    lift: float | None,
    users: int | None,
    per_hour: float | None,
    methods: tuple[PowerMethod, ...],
    alpha: float,
    power: float,
    looks: int,
    treatments: int,
    metrics: int,
    experiment: str | None,
    as_json: bool,
) -> None:
    """Say how many users and hours a lift needs by method, or what lift the users of a period can show.

    With --lift: users of each group. Without it: the least lift that --users, or those that --per-hour brings in a
    period, can show; for an experiment that runs, give the users that it will have. Information is taken to grow
    evenly, and outcomes to be final at exposure. `fixed` is one look at the end, for comparison.

    Example: rtexp power --rate 0.1 --lift 0.05 --per-hour 2000
    """
    if experiment is not None:
        _refuse_others(ctx)
        context: Context = ctx.obj
        rows = running_rows(context.settings.store, experiment, power)
        click.echo(json.dumps(rows, indent=2) if as_json else "\n".join(_table(rows)))
        return
    baseline = _baseline(rate, mean, variance)
    groups = treatments + 1
    try:
        aim = Aim(alpha / (treatments * metrics), power, looks)
        # Gambler's ruin knows no volume: left out unless it is asked for.
        asked = methods or tuple(m for m in METHODS if baseline.variance is None or m != "gamblers-ruin")
        if lift is not None:
            if users is not None:
                raise UsageError("give --lift or --users: one says what the other needs")
            needed = [requirement(method, aim, baseline, lift) for method in asked]
            rows = [_needed(one, groups, per_hour) for one in needed]
        else:
            known = _users(users, per_hour, groups)
            rows = [
                _shown(method, known, power, least_lift(method, aim, baseline, known)) for method in asked
            ]
    except ValueError as error:
        raise UsageError(str(error)) from error
    click.echo(json.dumps(rows, indent=2) if as_json else "\n".join(_table(rows)))


def _refuse_others(ctx: click.Context) -> None:
    """Raise UsageError if more is given than goes with --experiment: its plan says the rest."""
    allowed = {"experiment", "power", "as_json"}
    for name in ctx.params.keys() - allowed:
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise UsageError(f"--experiment takes --power alone: its plan says --{name.replace('_', '-')}")


def _baseline(rate: float | None, mean: float | None, variance: float | None) -> Baseline:
    if rate is not None and mean is None and variance is None:
        return Baseline(rate)
    if rate is None and mean is not None and variance is not None:
        return Baseline(mean, variance)
    raise UsageError("say what the control's users do: --rate for a share, or both of --mean and --variance")


def _users(users: int | None, per_hour: float | None, groups: int) -> int:
    if users is None and per_hour is None:
        raise UsageError("give --lift to learn how many users it needs, or --users or --per-hour for a lift")
    return int(per_hour * PERIOD_HOURS / groups) if users is None and per_hour is not None else users or 0


def _needed(found: Requirement, groups: int, per_hour: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "method": found.method,
        "users_per_group": found.users_per_group,
        "users": found.users_per_group * groups,
        "mean_share": found.mean_share,
    }
    if per_hour is not None:
        hours = found.users_per_group * groups / per_hour
        row |= {"hours": hours, "fits_in_period": hours <= PERIOD_HOURS}
    return row


def _shown(method: PowerMethod, users: int, power: float, lift: float) -> dict[str, Any]:
    return {
        "method": method,
        "users_per_group": users,
        "power": power,
        "least_lift": None if lift == inf else lift,
    }


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = list(rows[0])
    cells = [[name.replace("_", " ") for name in names]]
    cells += [[_cell(name, row[name]) for name in names] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return [
        f"{row[0]:<{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in cells
    ]


def _cell(name: str, value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "none" if name == "least_lift" else "-"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.1f}" if name == "hours" else f"{value:.4g}"
    return str(value)
