"""Commands as somebody types them, or as a file of deployment has them: whether they exist."""

from __future__ import annotations

import importlib.util

import click

from rtexp.cli import cli


def resolve(words: list[str]) -> click.Command:
    """Return the command that ``words`` begin with; LookupError if there is none."""
    command: click.Command = cli
    for word in words:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(click.Context(command), word)
        if found is None:
            raise LookupError(f"rtexp {' '.join(words)}: there is no {word!r}")
        command = found
    return command


def check(words: list[str]) -> None:
    """LookupError unless ``words`` run a command, a worker of a job, or a shell with such commands."""
    program, *rest = words
    program = program.rpartition("/")[2]
    if program == "sh" and rest[0] == "-c":
        for command in rest[1].split("&&"):
            check(command.split())
    elif program == "rtexp":
        found = resolve(rest)
        known = {option for param in found.params for option in param.opts}
        if isinstance(found, click.Group) or not {word for word in rest if word.startswith("--")} <= known:
            raise LookupError(f"{' '.join(words)}: this is no command with its options")
    elif program == "faust":
        app = rest[rest.index("-A") + 1]
        if importlib.util.find_spec(app) is None or "worker" not in rest:
            raise LookupError(f"{' '.join(words)}: this is no worker")
    else:
        raise LookupError(f"{' '.join(words)}: this is no program of rtexp")
