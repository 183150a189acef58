"""`rtexp results`: what the newest look says of each comparison."""

from __future__ import annotations

import json
import math
from itertools import groupby
from typing import TYPE_CHECKING

import click

from rtexp.commands.text_table import iso_time, printable, text_table
from rtexp.errors import UsageError
from rtexp.store.csv_text import write_csv
from rtexp.store.engine import opened, reading
from rtexp.store.looks import LookRow, read_newest_looks
from rtexp.store.metadata import experiment_names
from rtexp.store.migrate import check_revision
from rtexp.store.verdicts import plans_of, verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from rtexp.commands.context import Context
    from rtexp.statistics.plans import Plan

COLUMNS = (*LookRow._fields, "verdict")
HEADER = (*("group", "event", "metric", "role", "state", "effect", "interval", "lift", "p", "users", "why"),)


@click.command()
@click.argument("experiment", required=False)
@click.option("--event", metavar="E", help="Only this event.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="Table: for people, the numbers rounded.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--every-period", is_flag=True, help="Earlier periods as well; else the newest of each experiment."
)
@click.pass_obj
def results(
    context: Context,
    experiment: str | None,
    event: str | None,
    form: str,
    *,
    as_json: bool,
    every_period: bool,
) -> None:
    """Show the newest look of each comparison of an EXPERIMENT, or of all: its state, and the reason.

    The p is always valid: it holds however often one looks. Effects are of treatment less control, per user.

    Example: rtexp results new-feed --event search
    """
    with opened(context.settings.store) as engine:
        check_revision(engine)
        with reading(engine) as connection:
            rows = list(
                read_newest_looks(connection, experiment=experiment, event=event, every_period=every_period)
            )
            if not rows and experiment is not None:
                refuse_unknown(connection, experiment)
            plans = plans_of(connection, rows)
    verdicts = [verdict(row, plans.get((row.experiment, row.period_start_ms))) for row in rows]
    if as_json or form == "json":
        objects = [row._asdict() | {"verdict": meant} for row, meant in zip(rows, verdicts, strict=True)]
        click.echo(json.dumps(objects, ensure_ascii=False, allow_nan=False, indent=2))
    elif form == "csv":
        lines = ([*row, meant] for row, meant in zip(rows, verdicts, strict=True))
        with click.open_file("-", "w", encoding="utf-8") as file:
            write_csv(file, list(COLUMNS), lines)
    elif rows:
        click.echo("\n\n".join(_tables(rows, plans, verdicts)))
    else:
        act = "`rtexp experiments show NAME` says when the first is due, `rtexp export cells` what is counted so far"
        click.echo(f"no looks yet: {act}", err=True)


def refuse_unknown(connection: Connection, experiment: str) -> None:
    """Raise UsageError if nobody has defined the experiment, naming those that there are."""
    known = experiment_names(connection)
    if experiment not in known:
        some = ", ".join(f"`{printable(name)}`" for name in known[:10])
        more = f" and {len(known) - 10} more" if len(known) > 10 else ""  # noqa: PLR2004 - so many fit a line
        raise UsageError(
            f"there is no experiment `{printable(experiment)}`: "
            + (f"known are {some}{more}" if known else "none is defined; `rtexp experiments load` adds some")
        )


def _tables(
    rows: Sequence[LookRow], plans: Mapping[tuple[str, int], Plan], verdicts: Sequence[str | None]
) -> Iterable[str]:
    together = zip(rows, verdicts, strict=True)
    for (name, start_ms), part in groupby(together, key=lambda pair: pair[0][:2]):
        pairs = list(part)
        newest = max((row for row, _ in pairs), key=lambda row: row.look)
        plan = plans.get((name, start_ms))
        settled = ", final" if newest.final else ""
        title = (
            f"{printable(name)}: period from {iso_time(start_ms)}, look {newest.look} "
            f"as of {iso_time(newest.scheduled_ms)}{settled}, {newest.method}"
        )
        if plan:
            title += f", control {printable(plan.control)}"
        yield f"{title}\n{text_table(HEADER, [_line(*pair) for pair in pairs])}"


def _line(row: LookRow, verdict: str | None) -> list[str]:
    why = [row.reason, row.lift_reason if row.lift is None else None, row.note]
    return [
        printable(row.group_name),
        printable(row.event),
        row.metric,
        row.role,
        f"{row.state} ({verdict})" if verdict else row.state,
        _number(row.effect, sign="+"),
        _interval(row.interval_low, row.interval_high),
        "" if row.lift is None else f"{100 * row.lift:+.2f} %",
        _number(row.p_always_valid),
        f"{row.n_control:,} / {row.n_treatment:,}",
        ", ".join(dict.fromkeys(filter(None, why))),
    ]


def _number(value: float | None, *, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.4g}"


def _interval(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    ends = (_number(-math.inf if low is None else low), _number(math.inf if high is None else high))
    return f"[{ends[0]}, {ends[1]}]"
