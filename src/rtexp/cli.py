"""The command line ``rtexp``: its options, its commands, and how it ends."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from rtexp import __version__
from rtexp.commands.context import Context
from rtexp.commands.errors import report
from rtexp.errors import ConfigError
from rtexp.settings import find_config, load

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Command(NamedTuple):
    """Where a command is, and what its help begins with: so that ``rtexp --help`` needs to import none."""

    place: str
    summary: str


COMMANDS = {
    "up": _Command(
        "rtexp.commands.up:up",
        "Run everything on this machine: Kafka if none answers, tables, topics, workers, pages.",
    ),
    "demo": _Command(
        "rtexp.commands.demo:demo",
        "Run everything with a generated stream, show the results live, and compare them with the known truth.",
    ),
    "check": _Command(
        "rtexp.commands.check:check",
        "Check all that usually goes wrong: settings, files, ports, Kafka, topics, SQL, clocks, experiments, workers.",
    ),
    "topics": _Command("rtexp.commands.topics:topics", "Make the topics that rtexp needs."),
    "db": _Command("rtexp.commands.db:db", "Make and upgrade the tables of the SQL database."),
    "experiments": _Command(
        "rtexp.commands.experiments:experiments",
        "Define experiments, their groups, allocations and plans, and see what is known of them.",
    ),
    "results": _Command(
        "rtexp.commands.results:results",
        "Show the newest look of each comparison of an EXPERIMENT, or of all: its state, and the reason.",
    ),
    "web": _Command(
        "rtexp.commands.web:web",
        "Serve the pages and the API at [web] host and port, from what stands in SQL, until Ctrl-C.",
    ),
    "tables": _Command(
        "rtexp.commands.tables:tables",
        "Show the state tables: entries, bytes, positions and watermarks of each partition, as their workers say.",
    ),
    "alerts": _Command(
        "rtexp.commands.alerts:alerts",
        "Send alerts to the targets of [alerts], try these, and list what waits.",
    ),
    "replay": _Command(
        "rtexp.commands.replay:replay",
        "Send files to the raw topics, merged in order of record time, with markers of the watermark.",
    ),
    "dead-letters": _Command(
        "rtexp.commands.dead_letters:dead_letters",
        "List and show records that were refused, and send them again.",
    ),
    "wait": _Command(
        "rtexp.commands.wait:wait",
        "Return when all records that stand in the raw topics now have been counted, and their cells are in SQL.",
    ),
    "power": _Command(
        "rtexp.commands.power:power",
        "Say how many users and hours a lift needs by method, or what lift the users of a period can show.",
    ),
    "simulate": _Command(
        "rtexp.commands.simulate:simulate",
        "Simulate a plan: how often it finds a difference where there is none (A/A), and where there is one (A/B).",
    ),
    "audit": _Command(
        "rtexp.commands.audit:audit",
        "Recompute every look of an EXPERIMENT from plans and counts in SQL, and compare it with what was written.",
    ),
    "bench": _Command(
        "rtexp.commands.bench:bench",
        "Measure what an action costs, how soon it shows, and how fast a worker is back.",
    ),
    "export": _Command(
        "rtexp.commands.export:export", "Write result tables to a file or to standard output."
    ),
}


class _Root(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Help must be there for those whose configuration is broken, above all.
        ctx.meta["rtexp.help"] = "--help" in args
        return super().parse_args(ctx, args)


@click.group(cls=_Root)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file; otherwise RTEXP_CONFIG, otherwise rtexp.toml here, otherwise defaults.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks, and what libraries log.")
@click.version_option(__version__, prog_name="rtexp")
@click.pass_context
def cli(ctx: click.Context, *, config: Path | None, debug: bool) -> None:
    """Real-time experiment analytics: exact counts, seconds after users act.

    Example: rtexp --config rtexp.toml up
    """
    logging.basicConfig(level=logging.DEBUG if debug else logging.ERROR, format="%(name)s: %(message)s")
    if not debug:
        # The Kafka client logs what it raises as well.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        path = find_config(config, os.environ)
        ctx.obj = Context(load(path, os.environ), path, debug)
    except ConfigError:
        if not ctx.meta["rtexp.help"]:
            raise


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``rtexp`` and exit: 0, 1 after a failure, 2 after wrong usage or configuration."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = cli.main(given, prog_name="rtexp", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the outermost place: all that went wrong is told
        sys.exit(report(error, debug="--debug" in given))
    # Help and version end click without an error, with their exit code as the value.
    sys.exit(code if isinstance(code, int) else 0)
