"""What a check has found, and running many of them so that none hides or holds up another."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from rtexp.errors import RtexpError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

Level = Literal["ok", "warn", "fail"]
T = TypeVar("T")


class Finding(NamedTuple):
    """One line: what is so, and where it isn't well, what to do."""

    check: str
    level: Level
    text: str


class Check(NamedTuple):
    """A family of findings, and how long it may take."""

    name: str
    run: Callable[[], Awaitable[Sequence[Finding]]]
    seconds: float
    act: str
    """What to do where it takes longer."""


async def run_checks(checks: Iterable[Check]) -> list[Finding]:
    """Run all at once, and return what they found in their order; each that fails or takes too long is a finding."""
    found = await asyncio.gather(*map(_found, checks))
    return [finding for part in found for finding in part]


async def _found(check: Check) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(check.seconds):
            return await check.run()
    except TimeoutError:
        return [Finding(check.name, "fail", f"no answer within {check.seconds:g} s: {check.act}")]
    except RtexpError as error:
        return [Finding(check.name, "fail", str(error))]
    except Exception as error:  # noqa: BLE001 - the others are to be told all the same
        return [Finding(check.name, "fail", f"unexpected {type(error).__name__}: {error}")]


async def in_thread(work: Callable[[], T]) -> T:
    """Return what ``work`` does; unlike with `asyncio.to_thread`, nobody waits for it at the end of the program."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(done: Callable[[], None]) -> None:
        if not future.done():  # who waited has given up
            done()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            caught = error
            outcome = lambda: settle(lambda: future.set_exception(caught))  # noqa: E731
        else:
            outcome = lambda: settle(lambda: future.set_result(result))  # noqa: E731
        if not loop.is_closed():
            loop.call_soon_threadsafe(outcome)

    threading.Thread(target=run, daemon=True).start()
    return await future
