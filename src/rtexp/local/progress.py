"""Progress of long work: a bar on a terminal, a line now and then elsewhere; both on standard error."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE_SECONDS = 5.0


@contextmanager
def counted(
    what: str,
    total: int | None,
    stream: TextIO,
    *,
    unit: str = "rows",
    clock: Callable[[], float] = monotonic,
) -> Iterator[Callable[[int], None]]:
    """Show how much of ``total`` (None: unknown) is done; call what it yields with the number so far.

    Calls are cheap enough for every few thousand rows.
    """
    if stream.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(file=stream)) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)
        return
    next_line = clock() + LINE_SECONDS

    def show(done: int) -> None:
        nonlocal next_line
        if clock() >= next_line:
            next_line = clock() + LINE_SECONDS
            stream.write(f"{what}: {done:,}{'' if total is None else f' of {total:,}'} {unit}\n")
            stream.flush()

    yield show


@contextmanager
def told(stream: TextIO, *, clock: Callable[[], float] = monotonic) -> Iterator[Callable[[str], None]]:
    """Show the newest of many lines: in place on a terminal, one now and then elsewhere."""
    if stream.isatty():
        with Console(file=stream).status("") as status:
            yield status.update
        return
    next_line = clock() + LINE_SECONDS

    def show(line: str) -> None:
        nonlocal next_line
        if clock() >= next_line:
            next_line = clock() + LINE_SECONDS
            stream.write(f"{line}\n")
            stream.flush()

    yield show
