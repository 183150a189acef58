"""docs/commands.md, from the commands' own help."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click
from tests.documents.tables import paragraph, table

from rtexp.cli import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = """\
# Commands

What each command of `rtexp` does, takes and says; `--help` behind its name says the same. This page is made from the
commands by `make docs`.

- Exit codes: 0 when it is done; 1 when it failed, with one line on standard error that says why and what to do; 2 for
  wrong usage or configuration; 130 when Ctrl-C ended it. Some commands also end with 1 for what they found, as their
  text says.
- `--json` prints one JSON document on standard output and nothing else there (`rtexp export`: one a line). Progress,
  notes and errors go to standard error, always.
- The configuration is `--config FILE`, else `RTEXP_CONFIG`, else `rtexp.toml` in the working directory, else defaults;
  its keys: [configuration.md](configuration.md).
"""
EXAMPLE = re.compile(r"Example: (rtexp .+)", re.DOTALL)


def walk(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield all groups and commands below, by what one types, each group before its commands."""
    if words:
        yield " ".join(words), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from walk(found, (*words, name))


def page() -> str:
    """Return the whole page."""
    root = ["## Options of all commands", "", "They stand before the command's name.", "", *_options(cli)]
    parts = [HEAD, *root, ""]
    for name, command in walk(cli):
        parts += _section(name, command)
    return "\n".join(parts)


def _section(name: str, command: click.Command) -> Iterator[str]:
    yield f"{'#' * (2 + name.count(' '))} rtexp {name}"
    yield ""
    for part in inspect.cleandoc(command.help or "").split("\n\n"):
        if example := EXAMPLE.match(part):
            if isinstance(command, click.Group) and not command.invoke_without_command:
                continue  # it is that of one of its commands
            yield f"```sh\n{' '.join(example[1].split())}\n```"
        else:
            yield paragraph(part)
        yield ""
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    if arguments:
        yield f"Takes: {', '.join(f'`{_argument(argument)}`' for argument in arguments)}"
        yield ""
    if options := list(_options(command)):
        yield from options
        yield ""


def _argument(argument: click.Argument) -> str:
    context = click.Context(click.Command("any"))
    return argument.make_metavar(context)


def _options(command: click.Command) -> list[str]:
    rows = []
    for param in command.params:
        if isinstance(param, click.Option):
            usage, text = param.get_help_record(click.Context(command)) or ("", "")
            rows.append((f"`{usage}`", text))
    return table(("option", "meaning"), rows) if rows else []
