"""`rtexp tables`: the state tables as the workers have them, and one entry decoded."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click

from rtexp.commands.text_table import iso_time, printable, text_table
from rtexp.errors import StoreUnavailable, UsageError
from rtexp.settings import read_secret
from rtexp.store.engine import opened, reading
from rtexp.store.migrate import check_revision
from rtexp.store.operations import read_workers
from rtexp.web.address import TOKEN_VARIABLE
from rtexp.web.worker_client import WorkerClient, WorkerFault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtexp.commands.context import Context
    from rtexp.settings import Settings
    from rtexp.store.operations import WorkerRow

SPOKE_MS = 60_000
"""Workers that have been silent for longer aren't asked."""
_AT_ONCE = 8
_NO_ENTRY = "\N{EN DASH}"

as_json_option = click.option("--json", "as_json", is_flag=True, help="For programs: all that workers say.")


@click.group(invoke_without_command=True)
@as_json_option
@click.pass_context
def tables(ctx: click.Context, *, as_json: bool) -> None:
    """Show the state tables: entries, bytes, positions and watermarks of each partition, as their workers say.

    Example: rtexp tables
    """
    if ctx.invoked_subcommand is not None:
        return
    context: Context = ctx.obj
    workers, client = _workers(context.settings), _client(context.settings)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = [(worker, pool.submit(client.tables, worker.url)) for worker in workers]
        told, silent = [], []
        for worker, future in asked:
            try:
                told.append(future.result())
            except WorkerFault as fault:
                silent.append(f"{worker.worker} ({worker.job}): {fault}")
    if as_json:
        click.echo(json.dumps({"workers": told, "silent": silent}, ensure_ascii=False))
    else:
        click.echo(_as_text(told))
    for line in silent:
        click.echo(printable(line), err=True)
    if not told:
        raise StoreUnavailable("no worker answers: start them with `rtexp up`, or see their logs")


@tables.command()
@click.argument("table", type=click.Choice(["users", "buckets"]))
@click.argument("key")
@click.option("--period", type=int, help="Of buckets: when the period begins, ms since 1970.")
@click.option("--group", help="Of buckets, with --bucket: one cell.")
@click.option("--event", help="Of buckets: this event; empty: exposures.")
@click.option("--bucket", type=int, help="Of buckets: when the bucket begins, ms since 1970.")
@as_json_option
@click.pass_obj
def get(context: Context, /, table: str, key: str, *, as_json: bool, **asked: str | int | None) -> None:
    """Show one entry of TABLE, decoded, from whichever worker has it: a user of users, an experiment of buckets.

    Users can be looked up where [web] user_lookup is true in the workers' configuration.

    Example: rtexp tables get users u-48213
    """
    query = {"key": key} | {name: str(value) for name, value in asked.items() if value is not None}
    if table == "users" and len(query) > 1:
        raise UsageError("period, group, event and bucket are of buckets: leave them out")
    client = _client(context.settings)
    job = "aggregate" if table == "users" else "results"
    # Any worker knows who has the key; one of the job most likely has it.
    workers = sorted(_workers(context.settings), key=lambda worker: worker.job != job)
    fault: WorkerFault | None = None
    for worker in workers:
        try:
            found = client.entry(worker.url, table, query)
        except WorkerFault as error:
            if error.code not in {"worker-unavailable", "no-url"}:
                raise
            fault = error
        else:
            click.echo(json.dumps(found, ensure_ascii=False) if as_json else _entry_as_text(found))
            return
    raise fault or StoreUnavailable("no worker answers")


def _client(settings: Settings) -> WorkerClient:
    web = settings.web
    if web.token_file is not None:
        return WorkerClient(read_secret("[web] token_file", web.token_file))
    return WorkerClient(os.environ.get(TOKEN_VARIABLE) or None)


def _workers(settings: Settings) -> Sequence[WorkerRow]:
    with opened(settings.store) as engine:
        check_revision(engine)
        with reading(engine) as connection:
            known = read_workers(connection)
    lately_ms = int(time.time() * 1000) - SPOKE_MS
    spoke = [row for row in known if row.updated_ms > lately_ms]
    if not spoke:
        raise StoreUnavailable(
            "no worker has spoken within the last minute: start them with `rtexp up`, or see their logs"
        )
    return spoke


def _as_text(told: Sequence[Mapping[str, Any]]) -> str:
    header = (
        "table",
        "partition",
        "worker",
        "phase",
        "entries",
        "disk",
        "memory",
        "complete to",
        "positions",
    )
    rows = [
        (
            str(found["table"]),
            str(found["partition"]),
            printable(said["worker"]),
            str(found["phase"]),
            _number(found.get("entries")),
            _megabytes(found.get("disk_bytes")),
            _megabytes(found.get("memory_bytes")),
            iso_time(found["watermark_ms"]) if found["watermark_ms"] else _NO_ENTRY,
            ", ".join(f"{i['topic'].rpartition('.')[2]} {i['position']:,}" for i in found["inputs"]),
        )
        for said in told
        for found in said["partitions"]
    ]
    rows.sort(key=lambda row: (row[0] != "users", int(row[1]), row[2]))
    return text_table(header, rows)


def _number(value: int | None) -> str:
    return _NO_ENTRY if value is None else f"{value:,}"


def _megabytes(value: int | None) -> str:
    return _NO_ENTRY if value is None else f"{value / 1e6:,.1f} MB"


def _entry_as_text(found: Mapping[str, Any]) -> str:
    """Return the parts of an entry, one below the other; times as ISO 8601."""
    parts = [
        f"{found['table']} / {printable(found['key'])}, partition {found['partition']} of {printable(found['worker'])}"
    ]
    for name, value in found.items():
        if isinstance(value, list):
            rows = [[_cell(column, row[column]) for column in row] for row in value]
            parts.append(f"\n{name}: {len(value)}")
            if rows:
                parts.append(text_table([_title(column) for column in value[0]], rows))
        elif name == "cell":
            parts.append(text_table(list(value), [[str(number) for number in value.values()]]))
    return "\n".join(parts)


def _title(column: str) -> str:
    return column.removesuffix("_ms").replace("_", " ")


def _cell(column: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{printable(name)} {count:,}" for name, count in value.items()) or _NO_ENTRY
    return iso_time(value) if column.endswith("_ms") else printable(str(value))
