"""`rtexp dead-letters`: what was refused, and sending it again."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from rtexp.commands.letter_text import (
    cut_as_text,
    letter_as_object,
    letter_as_text,
    letters_as_table,
    note_as_object,
    report_as_object,
    report_as_text,
    values_as_object,
)
from rtexp.commands.replay import period_ends_ms
from rtexp.commands.text_table import iso_time, printable, text_table
from rtexp.errors import RtexpError, UsageError
from rtexp.letters.choosing import Origins, Tallies, Wanted
from rtexp.letters.raw_topics import raw_topics
from rtexp.letters.reading import letter_reader
from rtexp.letters.replaying import Order, Replay
from rtexp.letters.sending import letter_sender
from rtexp.local.progress import counted
from rtexp.records.letters import Origin, partition_of_letter
from rtexp.records.raw import REASONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtexp.commands.context import Context
    from rtexp.letters.replaying import Report
    from rtexp.records.letters import Letter, Replayed
    from rtexp.settings import Settings


class NoSuchLetter(RtexpError):  # noqa: N818 - as in rtexp.errors
    """No dead letter has this origin."""

    code = "no-such-letter"


class LettersStay(RtexpError):  # noqa: N818
    """Some dead letters were not replayed."""

    code = "letters-stay"


class Moment(click.ParamType):
    """ISO 8601; without a zone it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return epoch ms."""
        if isinstance(value, int):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no ISO 8601 time, such as 2026-11-20T09:00Z", param, ctx)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which letters are meant."""
    for option in (
        click.option("--since", "since_ms", type=Moment(), metavar="TIME", help="Refused then or later."),
        click.option(
            "--topic", "topics", multiple=True, metavar="NAME", help="Of this raw topic; more than once: of any."
        ),
        click.option(
            "--reason", "reasons", multiple=True, type=click.Choice(REASONS),
            help="Refused for this reason; more than once: for any.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group(name="dead-letters")
def dead_letters() -> None:
    """List and show records that were refused, and send them again.

    Example: rtexp dead-letters list
    """


@dead_letters.command(name="list")
@_filters
@click.option(
    "--limit", type=click.IntRange(min=0), default=10, show_default=True, metavar="N",
    help="Show the newest N letters one by one.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print counts and letters as JSON.")
@click.pass_obj
def list_(
    context: Context, *, since_ms: int | None, topics: tuple[str, ...], reasons: tuple[str, ...], limit: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Count dead letters by raw topic and reason, and show the newest; one that was sent twice counts once.

    Example: rtexp dead-letters list --reason missing-field --since 2026-11-20T09:00Z
    """
    wanted = Wanted(frozenset(reasons), frozenset(topics))
    tallies, newest = asyncio.run(_counted(context.settings, wanted, since_ms, limit))
    kinds = sorted(tallies.by_kind.items())
    if as_json:
        counts = [
            {
                "topic": topic,
                "reason": reason,
                "letters": tally.letters,
                "replayed": tally.replayed,
                "oldest_ms": tally.oldest_ms,
                "newest_ms": tally.newest_ms,
            }
            for (topic, reason), tally in kinds
        ]
        letters = [
            letter_as_object(letter) | {"replayed": letter.origin in tallies.replayed} for letter in newest
        ]
        click.echo(json.dumps({"counts": counts, "letters": letters}))
        return
    if not kinds:
        click.echo("no dead letters")
        return
    rows = [
        (printable(topic), printable(reason), f"{tally.letters:,}", f"{tally.replayed:,}",
         iso_time(tally.oldest_ms), iso_time(tally.newest_ms))
        for (topic, reason), tally in kinds
    ]  # fmt: skip
    click.echo(text_table(("topic", "reason", "letters", "replayed", "oldest", "newest"), rows))
    if newest:
        click.echo()
        click.echo(letters_as_table(newest, tallies.replayed))


async def _counted(
    settings: Settings, wanted: Wanted, since_ms: int | None, limit: int
) -> tuple[Tallies, list[Letter]]:
    """Return the counts, and the newest letters, less what they say; the newest comes first."""
    newest: deque[Letter] = deque(maxlen=limit)
    async with letter_reader(settings.kafka) as reader:
        replayed = Origins()
        async for origin, _ in reader.replayed():
            replayed.add(origin)
        tallies = Tallies(replayed)
        stretch = await reader.letters_since(since_ms)
        with counted("reading", stretch.records, sys.stderr, unit="letters") as show:
            done = 0
            async for letter in reader.letters(stretch):
                show(done := done + 1)
                if letter in wanted and tallies.count(letter):
                    newest.appendleft(letter._replace(value=None))
    return tallies, list(newest)


@dead_letters.command()
@click.argument("origin")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON; base64 for what isn't UTF-8.")
@click.option("--raw", is_flag=True, help="Write the original bytes, and nothing else.")
@click.pass_obj
def show(context: Context, /, origin: str, *, as_json: bool, raw: bool) -> None:
    """Show the dead letter of ORIGIN, written as TOPIC/PARTITION/OFFSET: why it was refused, and its value.

    Example: rtexp dead-letters show actions/3/1024
    """
    found = Origin.read(origin)
    if found is None:
        raise UsageError(
            f"{printable(origin)} is no origin, such as actions/3/1024: see `rtexp dead-letters list`"
        )
    if as_json and raw:
        raise UsageError("--raw writes the bytes alone: leave out --json")
    letter, replayed = asyncio.run(_find(context.settings, found))
    if raw:
        click.get_binary_stream("stdout").write(letter.value or b"")
        if letter.is_cut:
            raise LettersStay(cut_as_text(letter))
    elif as_json:
        click.echo(
            json.dumps(
                letter_as_object(letter) | values_as_object(letter) | {"replayed": note_as_object(replayed)}
            )
        )
    else:
        click.echo(letter_as_text(letter, replayed))


async def _find(settings: Settings, origin: Origin) -> tuple[Letter, Replayed | None]:
    """Return a letter, with its whole value if that is to be had, and when it was replayed."""
    async with letter_reader(settings.kafka) as reader:
        stretch = await reader.letters_since(partition=partition_of_letter(str(origin).encode()))
        with counted("looking", stretch.records, sys.stderr, unit="letters") as show_done:
            done, letter = 0, None
            async for found in reader.letters(stretch):
                show_done(done := done + 1)
                if found.origin == origin:
                    letter = found
                    break
        if letter is None:
            raise NoSuchLetter(
                f"there is no dead letter of {origin}; they are kept for 30 days: see `rtexp dead-letters list`"
            )
        if letter.is_cut:
            letter = letter._replace(value=await reader.original(letter) or letter.value)
        replayed = None
        async for sent, note in reader.replayed():
            replayed = note if sent == origin else replayed
    return letter, replayed


@dead_letters.command()
@_filters
@click.option(
    "--edit", "command", metavar="COMMAND",
    help="Pipe each value through this command of the shell; what it writes is sent.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Take up so many letters, and no more."
)
@click.option("--dry-run", is_flag=True, help="Edit and judge all of them, and send none.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_obj
def replay(
    context: Context, *, since_ms: int | None, topics: tuple[str, ...], reasons: tuple[str, ...],
    command: str | None, limit: int | None, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Send dead letters to their raw topics again, each once, however often this is run or killed.

    Letters stay where they are; what has been sent is known by its origin. A letter is skipped where COMMAND
    fails or writes nothing, where it is still bad input, or where its bytes are gone; then the exit code is 1.
    COMMAND finds LETTER_ORIGIN, LETTER_REASON and LETTER_TOPIC in its environment.

    Example: rtexp dead-letters replay --reason missing-field --edit "jq -c '.ts //= .time'"
    """
    wanted = Wanted(frozenset(reasons), frozenset(topics))
    report = asyncio.run(
        _replay(context.settings, wanted, since_ms, command=command, limit=limit, dry_run=dry_run)
    )
    if as_json:
        click.echo(json.dumps(report_as_object(report, dry_run=dry_run)))
    else:
        click.echo(report_as_text(report, dry_run=dry_run))
    if report.skipped:
        raise LettersStay(f"{report.skipped:,} letters were skipped and stay")


async def _replay(
    settings: Settings,
    wanted: Wanted,
    since_ms: int | None,
    *,
    command: str | None,
    limit: int | None,
    dry_run: bool,
) -> Report:
    closed_ms = _closed_ms(settings)
    raw = await raw_topics(settings)

    async def run(sender: Any) -> Report:
        # Only now: what others sent before the sender was there counts as replayed.
        async with letter_reader(settings.kafka) as reader, letter_reader(settings.kafka) as originals:
            order = Order(
                wanted, await reader.letters_since(since_ms), command, limit, now_ms=_now_ms, closed_ms=closed_ms
            )  # fmt: skip
            with counted("replaying", None, sys.stderr, unit="letters") as progress:
                return await Replay(
                    settings, order, raw=raw, reader=reader, originals=originals, sender=sender, progress=progress
                ).run()  # fmt: skip

    if dry_run:
        return await run(None)
    limits = [topic.max_bytes for topic in raw.values()]
    keeps_times = settings.pipeline.clock == "records"
    async with letter_sender(settings.kafka, limits=limits, keeps_times=keeps_times) as sender:
        return await run(sender)


def _closed_ms(settings: Settings) -> int | None:
    """Return when the last of all periods takes nothing more; None where nobody can say."""
    try:
        ends_ms = period_ends_ms(settings)
    except RtexpError:
        return None
    return max(ends_ms) + round(settings.pipeline.grace_minutes * 60_000) if ends_ms else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
