"""How a command ends when something goes wrong: one clear line, and an exit code for its kind."""

from __future__ import annotations

import errno
import re
import traceback
from difflib import get_close_matches

import click

from rtexp.errors import ConfigError, RtexpError, UsageError

FAILURE = 1
WRONG_USAGE = 2
INTERRUPTED = 130
"""What shells report of a program that Ctrl-C ended."""

_UNKNOWN_COMMAND = re.compile(r"No such command '(.+)'")


def report(error: BaseException, *, debug: bool) -> int:
    """Tell a person on standard error what happened, and return the exit code; a traceback only if ``debug``."""
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    line, code = _ending(error, debug=debug)
    click.echo(line, err=True)
    return code


def _ending(error: BaseException, *, debug: bool) -> tuple[str, int]:
    match error:
        case click.ClickException():
            return f"rtexp: {_usage(error)}", error.exit_code
        case click.Abort() | KeyboardInterrupt():
            return "interrupted", INTERRUPTED
        case ConfigError() | UsageError():
            return f"rtexp: {error}", WRONG_USAGE
        case RtexpError():
            return f"rtexp: {error}", FAILURE
        case OSError() if error.errno == errno.ENOSPC:
            where = (
                f" of {error.filename}" if error.filename else ", of the data directory or what is written to"
            )
            return f"rtexp: no space is left on the disk{where}: free some, then try again", FAILURE
        case _:
            hint = "" if debug else " (`rtexp --debug …` shows where)"
            return f"rtexp: unexpected {type(error).__name__}: {error}{hint}", FAILURE


def _usage(error: click.ClickException) -> str:
    """Return what click says of wrong usage as one line: what is wrong, what may have been meant, where to look."""
    told = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return told
    if (unknown := _UNKNOWN_COMMAND.fullmatch(told)) and isinstance(context.command, click.Group):
        known = context.command.list_commands(context)
        close = get_close_matches(unknown[1], known, n=1)
        told += f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
    return f"{told} (`{context.command_path} --help` says more)"
