"""`rtexp db`: the SQL database's tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from rtexp.store import migrate
from rtexp.store.engine import opened
from rtexp.store.urls import masked

if TYPE_CHECKING:
    from rtexp.commands.context import Context


@click.group()
def db() -> None:
    """Make and upgrade the tables of the SQL database.

    Example: rtexp db upgrade
    """


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Print the revisions as JSON.")
@click.pass_obj
def upgrade(context: Context, *, as_json: bool) -> None:
    """Bring the tables to the revision that this version works with.

    Does nothing if they are there. `rtexp up` does it too; workers only check.

    Example: rtexp db upgrade
    """
    # A change of a large table's form may take the server long, and it says nothing meanwhile.
    with opened(context.settings.store, answer_seconds=None) as engine:
        done = migrate.upgrade(engine)
        url = masked(engine.url)
    if as_json:
        click.echo(json.dumps({"url": url, **done._asdict()}))
    elif done.before == done.after:
        click.echo(f"{url} is at revision {done.after} already")
    else:
        click.echo(f"{url} is at revision {done.after} now (before: {done.before or 'no tables'})")
