"""`rtexp topics`: Kafka's topics."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

from rtexp.local.topics import create_topics, topics_of

if TYPE_CHECKING:
    from rtexp.commands.context import Context


@click.group()
def topics() -> None:
    """Make the topics that rtexp needs.

    Example: rtexp topics create
    """


@topics.command()
@click.option("--json", "as_json", is_flag=True, help="Print the topics as JSON.")
@click.pass_obj
def create(context: Context, *, as_json: bool) -> None:
    """Make the topics that are missing; refuse if some that exist are cut in another way.

    Your own topics of actions and activations are made only where they are missing. `rtexp up` does it too.

    Example: rtexp topics create
    """
    made = asyncio.run(create_topics(context.settings))
    rows = [(topic.name, topic.partitions, made[topic.name]) for topic in topics_of(context.settings)]
    if as_json:
        click.echo(json.dumps([{"topic": name, "partitions": cut, "made": new} for name, cut, new in rows]))
        return
    width = max(len(name) for name, _, _ in rows)
    for name, cut, new in rows:
        click.echo(f"{name:<{width}}  {cut:>4} partitions  {'made' if new else 'there already'}")
