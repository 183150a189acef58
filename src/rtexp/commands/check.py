"""`rtexp check`: what usually goes wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from rtexp.commands.text_table import printable
from rtexp.errors import RtexpError
from rtexp.local.checks.everything import check_everything
from rtexp.local.checks.findings import Finding
from rtexp.local.checks.workers import wait_for_workers
from rtexp.settings import masked, sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rtexp.commands.context import Context

DEFAULT = "default"
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_WIDTH = 14


class NotWell(RtexpError):  # noqa: N818 - as in rtexp.errors
    """Something needs to be done before rtexp can work."""

    code = "not-well"


class Setting(NamedTuple):
    """One key, as it is and where from."""

    section: str
    key: str
    value: Any
    """Secrets masked."""
    source: str


@click.command()
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=0,
    metavar="S",
    help="Give the workers so many seconds to be ready.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all findings, and all settings, as JSON.")
@click.pass_obj
def check(context: Context, *, wait_seconds: float, as_json: bool) -> None:
    """Check all that usually goes wrong: settings, files, ports, Kafka, topics, SQL, clocks, experiments, workers.

    One line each: ok, or what to do. It changes nothing, and takes 20 seconds at most besides --wait. It ends with 0
    only if nothing fails; a warning is about something that works, but not for everybody or not for long.

    Example: rtexp check --wait 60
    """
    found = asyncio.run(_check(context, wait_seconds))
    known = list(settings_of(context))
    failed = sum(finding.level == "fail" for finding in found)
    if as_json:
        findings = [finding._asdict() for finding in found]
        objects = {"well": not failed, "findings": findings, "settings": [one._asdict() for one in known]}
        click.echo(json.dumps(objects, ensure_ascii=False, indent=2))
    else:
        for line in _lines(found, known):
            click.echo(line)
    if failed:
        raise NotWell(f"{failed} of {len(found)} checks failed")


async def _check(context: Context, wait_seconds: float) -> list[Finding]:
    if wait_seconds:
        await wait_for_workers(context.settings, wait_seconds)
    return await check_everything(context.settings, context.config_path)


def settings_of(context: Context) -> Iterable[Setting]:
    """Yield all settings, each with the file or variable that it comes from."""
    origin = sources(context.config_path, os.environ)
    for section, table in masked(context.settings).items():
        for key, value in table.items():
            yield Setting(section, key, value, origin.get((section, key), DEFAULT))


def _lines(found: Sequence[Finding], known: Sequence[Setting]) -> Iterable[str]:
    given = [one for one in known if one.source != DEFAULT]
    places = ", ".join(dict.fromkeys(one.source for one in given))
    number = (
        f"{len(given)} given, by {places}" if given else "all as by default; no file or variable gives any"
    )
    yield _line(Finding("settings", "ok", number))
    for one in given:
        value = json.dumps(one.value, ensure_ascii=False)
        yield f"{'':{_WIDTH + 6}}{printable(f'[{one.section}] {one.key} = {value}')}  ({one.source})"
    yield from map(_line, found)


def _line(finding: Finding) -> str:
    level = click.style(f"{finding.level:<4}", fg=_COLOURS[finding.level])
    # A message of several lines, such as that of a driver, stays within its column.
    text = "; ".join(printable(line) for line in finding.text.splitlines() if line)
    return f"{level}  {finding.check:<{_WIDTH}}{text}"
