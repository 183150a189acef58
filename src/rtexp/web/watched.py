"""One open page: its regions, since when each is as it is, and the messages that say so."""

from __future__ import annotations

import asyncio
import json
from hashlib import blake2b
from typing import Any

from rtexp.web.regions import Regions, regions_of

_MOST_KEPT = 8
"""Messages of one round: nearly all watchers were told of the same round before."""


class Watched:
    """A page and how often it has changed; rounds count from 1."""

    def __init__(self, page: str) -> None:
        self.page = page
        self.watchers = 0
        self.lock = asyncio.Lock()
        self.round = 0
        self.at_ms = 0
        """When it was made last."""
        self.stale_ms: int | None = None
        """Since when it can't be made again; None: it can."""
        self.ended = False
        self.id = ""
        self._regions = Regions("", {})
        self._changed: dict[str, int] = {}
        self._order_changed = self._title_changed = 0
        self._moved = asyncio.Event()
        self._messages: dict[int | None, bytes] = {}

    def take(self, html: str, now_ms: int) -> None:
        """Take the page as it is now; watchers hear of it if any region is another, or was out of date."""
        self.at_ms = now_ms
        found, known = regions_of(html), self._regions
        changed = [name for name, text in found.html.items() if known.html.get(name) != text]
        moved = list(found.html) != list(known.html)
        if not (
            changed or moved or found.title != known.title or self.stale_ms is not None or not self.round
        ):
            return
        self.stale_ms = None
        self._regions = found
        round_ = self.round + 1
        self._changed = {name: self._changed.get(name, round_) for name in found.html}
        self._changed |= dict.fromkeys(changed, round_)
        if moved:
            self._order_changed = round_
        if found.title != known.title:
            self._title_changed = round_
        self.id = blake2b(repr(found).encode(errors="replace"), digest_size=12).hexdigest()
        self._next_round()

    def grow_stale(self, since_ms: int) -> None:
        """Say that it can't be brought up to date, and since when; what was said stays."""
        if self.stale_ms is None:
            self.stale_ms = since_ms
            self._next_round()

    def end(self) -> None:
        """End the streams of all watchers."""
        self.ended = True
        self._moved.set()

    async def moved(self, told: int | None, seconds: float) -> bool:
        """Return True as soon as there is more than a watcher was told, False if there wasn't after this time."""
        try:
            async with asyncio.timeout(seconds):
                while self.round == told and not self.ended:
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    def message(self, told: int | None) -> bytes:
        """Return the event that says all to who was told of round ``told`` last; None: of none, all regions."""
        if told not in self._messages:
            if len(self._messages) >= _MOST_KEPT:
                self._messages.clear()
            self._messages[told] = self._said(told)
        return self._messages[told]

    def unchanged(self) -> bytes:
        """Return the snapshot for those who have this very page already: it has no regions."""
        return event("snapshot", {"at_ms": self.at_ms} | self._staleness(), id_=self.id)

    def _said(self, told: int | None) -> bytes:
        since = -1 if told is None else told
        title, html = self._regions
        said: dict[str, Any] = {"at_ms": self.at_ms} | self._staleness()
        if self._title_changed > since:
            said["title"] = title
        if self._order_changed > since:
            said["order"] = list(html)
        said["regions"] = {name: text for name, text in html.items() if self._changed[name] > since}
        return event("snapshot" if told is None else "change", said, id_=self.id)

    def _staleness(self) -> dict[str, Any]:
        return {} if self.stale_ms is None else {"stale_since_ms": self.stale_ms}

    def _next_round(self) -> None:
        self.round += 1
        self._messages.clear()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def event(kind: str, value: Any, *, id_: str | None = None) -> bytes:
    """Return one message of an event stream; JSON has no line breaks of its own."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    head = f"event: {kind}\n" + (f"id: {id_}\n" if id_ else "")
    return f"{head}data: {data}\n\n".encode("utf-8", "replace")
