"""`rtexp web`: pages and API."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import click

from rtexp.logs import Setup, secrets_of
from rtexp.web.server import serve

if TYPE_CHECKING:
    from rtexp.commands.context import Context


@click.command()
@click.pass_obj
def web(context: Context) -> None:
    """Serve the pages and the API at [web] host and port, from what stands in SQL, until Ctrl-C.

    `rtexp up` does so too; this is for pages on a machine of their own.

    Example: rtexp web
    """
    logs = Setup(context.settings.log, secrets_of(context.settings, os.environ))
    logs.begin(level=logging.DEBUG if context.debug else logging.CRITICAL)
    serve(context.settings, os.environ, say=logging.getLogger("rtexp.web").info)
