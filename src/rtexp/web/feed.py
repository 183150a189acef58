"""The pages that are open somewhere, brought up to date about once a second, each once for all who watch it.

Nobody has a queue. A page knows which round of the feed changed each of its regions, a watcher knows the last round
that it was told of, and is told all that changed since: one that reads slowly misses steps, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from rtexp.errors import StoreUnavailable
from rtexp.web.problems import Problem
from rtexp.web.watched import Watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

POLL_SECONDS = 1.0
REST = 4
"""After so many seconds of CPU time the feed rests this many times as long: it takes a fifth of a core at most."""
REFRESH_SECONDS = 15.0
"""A page also says how old its numbers are, so it is made again although nothing was committed."""

_log = logging.getLogger(__name__)


def rest_seconds(spent: float) -> float:
    """Return how long the feed rests after a round that took so many seconds of CPU time.

    >>> rest_seconds(0.1), rest_seconds(0.5)
    (0.9, 2.0)
    """
    return max(POLL_SECONDS - spent, REST * spent)


class Versions(Protocol):
    """What `rtexp.store.changes.Changes` does."""

    def are_new(self) -> bool:
        """Return whether there may have been a commit since the last call."""

    def close(self) -> None:
        """Give the connection back."""


class Feed:
    """Watches the database while somebody watches a page."""

    def __init__(
        self,
        get: Callable[[str], Awaitable[str]],
        versions: Versions,
        *,
        most: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._get = get
        self._versions = versions
        self._most = most
        self._clock = clock
        self._pages: dict[str, Watched] = {}
        self._streams = 0
        self._task: asyncio.Task[None] | None = None
        # Of its own: the pool that requests share may be full of them.
        self._thread = ThreadPoolExecutor(1, "feed")
        self._answered_ms = self._now_ms()
        self.closing = False

    @asynccontextmanager
    async def watching(self, page: str) -> AsyncIterator[Watched]:
        """Keep a page up to date meanwhile, which it is at the start.

        Problem if there is no such page, or more streams than are allowed; StoreUnavailable if it can't be read.
        """
        if self.closing or self._streams >= self._most:
            raise Problem(503, "too-many-streams", "too many pages are open: close some, or try again later")
        watched = self._pages.setdefault(page, Watched(page))
        self._streams += 1
        watched.watchers += 1
        try:
            async with watched.lock:
                if not watched.round:
                    await self._make(watched)
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="feed")
            yield watched
        finally:
            self._streams -= 1
            watched.watchers -= 1
            if not watched.watchers:
                self._drop(watched)

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._streams

    @property
    def pages(self) -> int:
        """How many different pages they watch."""
        return len(self._pages)

    def close(self) -> None:
        """End all streams."""
        self.closing = True
        for watched in self._pages.values():
            watched.end()

    async def stop(self) -> None:
        """End all streams and the feed itself."""
        self.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._versions.close)
        self._thread.shutdown()

    async def _run(self) -> None:
        while self._pages:
            began, cpu = time.monotonic(), time.process_time()
            await self._round()
            # What waited for the database, or for a core that others had, took nothing from anybody.
            spent = min(time.monotonic() - began, time.process_time() - cpu)
            await asyncio.sleep(rest_seconds(spent))
        self._task = None

    async def _round(self) -> None:
        """Ask whether anything changed, and make again what may have."""
        try:
            # Asked before pages are read: what is committed meanwhile makes the next answer True.
            changed = await asyncio.get_running_loop().run_in_executor(self._thread, self._versions.are_new)
            for watched in list(self._pages.values()):
                if watched.round and (changed or watched.stale_ms is not None or self._is_due(watched)):
                    await self._make_again(watched)
        except StoreUnavailable as error:
            _log.warning("pages are out of date: %s", error)
            self._grow_stale()
        except Exception:  # noqa: BLE001 - a feed that has ended looks like a database in which nothing happens
            _log.exception("pages are out of date")
            self._grow_stale()
        else:
            self._answered_ms = self._now_ms()

    def _grow_stale(self) -> None:
        for watched in self._pages.values():
            if watched.round:
                watched.grow_stale(self._answered_ms)

    async def _make(self, watched: Watched) -> None:
        html = await self._get(watched.page)
        self._answered_ms = self._now_ms()
        watched.take(html, self._answered_ms)

    async def _make_again(self, watched: Watched) -> None:
        try:
            await self._make(watched)
        except StoreUnavailable:
            raise
        except Problem:  # what was shown isn't there any more; who asks again is told so
            self._drop(watched)
        except Exception:  # noqa: BLE001 - whatever it is, no reason to end the streams of other pages
            _log.exception("a page could not be brought up to date")
            self._drop(watched)

    def _drop(self, watched: Watched) -> None:
        if self._pages.get(watched.page) is watched:
            del self._pages[watched.page]
        watched.end()

    def _is_due(self, watched: Watched) -> bool:
        return self._now_ms() - watched.at_ms >= REFRESH_SECONDS * 1000

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
