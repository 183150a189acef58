"""`rtexp audit`: whether every verdict follows from what is stored."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from rtexp.commands.results import refuse_unknown
from rtexp.commands.text_table import iso_time, printable
from rtexp.store.audit import audit_period
from rtexp.store.engine import opened, reading
from rtexp.store.looks import read_look_inputs, read_looks
from rtexp.store.migrate import check_revision
from rtexp.store.plans import read_plans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from rtexp.commands.context import Context
    from rtexp.store.audit import Disagreement, PeriodAudit


@click.command()
@click.argument("experiment")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.pass_obj
def audit(context: Context, experiment: str, *, as_json: bool) -> None:
    """Recompute every look of an EXPERIMENT from plans and counts in SQL, and compare it with what was written.

    Numbers agree to 9 digits, all else to the letter. Each difference is named, with the value that is stored and the
    one that was recomputed; then the exit code is 1. Numbers of looks that are left out were missed, no error.

    Example: rtexp audit new-feed
    """
    with opened(context.settings.store) as engine:
        check_revision(engine)
        with reading(engine) as connection:
            audits = list(_audits(connection, experiment))
    agrees = not any(found.disagreements for found in audits)
    if as_json:
        click.echo(json.dumps(_as_object(experiment, audits, agrees=agrees), ensure_ascii=False, indent=2))
    else:
        for found in audits:
            click.echo("\n".join(_lines(found)))
        if not audits:
            click.echo("no looks yet", err=True)
    if not agrees:
        count = sum(len(found.disagreements) for found in audits)
        click.echo(f"rtexp: {count} stored values don't follow from plans and counts", err=True)
        raise SystemExit(1)


def _audits(connection: Connection, experiment: str) -> Iterator[PeriodAudit]:
    plans = {plan.period_start_ms: plan for plan in read_plans(connection, experiment=experiment)}
    # Whole, before rows are fetched as they are taken: a connection of MySQL has one open result at a time.
    inputs = {
        start_ms: list(rows)
        for start_ms, rows in groupby(
            read_look_inputs(connection, experiment=experiment), key=lambda row: row.period_start_ms
        )
    }
    rows_of = groupby(read_looks(connection, experiment=experiment), key=lambda row: row.period_start_ms)
    known = False
    for start_ms, rows in rows_of:
        known = True
        yield audit_period(start_ms, plans.get(start_ms), inputs.pop(start_ms, []), list(rows))
    for start_ms, of_period in inputs.items():
        known = True
        yield audit_period(start_ms, plans.get(start_ms), of_period, [])
    if not known and not plans:
        refuse_unknown(connection, experiment)


def _lines(found: PeriodAudit) -> Iterator[str]:
    yield (
        f"period from {iso_time(found.period_start_ms)}: {found.looks_agreeing} of {found.looks} looks agree, "
        f"{found.verdicts_agreeing} of {found.verdicts} verdicts"
    )
    yield from (f"  {_line(one)}" for one in found.disagreements)


def _line(one: Disagreement) -> str:
    where = [] if one.look is None else [f"look {one.look}"]
    if one.comparison is not None:
        where.append(" ".join(map(printable, one.comparison)))
    return ", ".join(
        [*where, f"{one.column}: stored {_value(one.stored)}, recomputed {_value(one.recomputed)}"]
    )


def _value(value: object) -> str:
    if value is None:
        return "nothing"
    return printable(value) if isinstance(value, str) else repr(value)


def _as_object(experiment: str, audits: list[PeriodAudit], *, agrees: bool) -> dict[str, Any]:
    def disagreement(one: Disagreement) -> dict[str, Any]:
        names = ("group_name", "event", "metric", "role", "method")
        where = dict(zip(names, one.comparison or (None,) * len(names), strict=True))
        return {"look": one.look, **where, **{key: getattr(one, key) for key in one._fields[2:]}}

    return {
        "experiment": experiment,
        "agrees": agrees,
        "periods": [
            found._asdict() | {"disagreements": [disagreement(one) for one in found.disagreements]}
            for found in audits
        ],
    }
