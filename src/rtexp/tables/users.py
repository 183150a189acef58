"""The users table: one partition's users in columns, and the pages from which they can be had again.

Keys of pages: ``users/<page>/<part>``, ``repeats/<slot>/<part>``, ``counters``. A page of users is rewritten when
one of its users changed; pages of repeats only append, and go when their slot can't matter any longer.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple
from itertools import count
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from rtexp.core.repeats import KeptActions
from rtexp.core.users_columns import PAGES, ColumnarUsers
from rtexp.engine.api import Page
from rtexp.errors import StateError
from rtexp.tables import user_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from rtexp.core.rules import Rules

VERSION = 1
"""Of the state machine: raised with every change that makes the same rows count differently."""

_COUNTERS = b"counters"
_ROWS_AT_ONCE = 16_000
"""Users and triggers that are encoded together, in about 10 ms: pages of few users would each cost as much as one."""
_REPEATS_A_PAGE = 10_000
"""So that encoding one page takes a few ms, even if each is of another user."""


def semantics(rules: Rules) -> str:
    """Return the version of the state machine and a hash of the rules: where it differs, rows count differently."""
    digest = hashlib.blake2b(msgspec.json.encode(astuple(rules)), digest_size=8).hexdigest()
    return f"users-{VERSION}-{digest}"


class UsersTable:
    """`users`, and which of their pages differ from those that were last asked for."""

    def __init__(self, rules: Rules) -> None:
        self.users = ColumnarUsers(rules)
        self._parts = np.zeros(PAGES, np.int64)  # by page of users: in how many parts it was last written
        self._repeat_parts: dict[int, int] = {}  # by slot, likewise

    def changed_pages(self) -> Iterator[Page]:
        """Yield what changed since the last call; users may not change until the last page has been yielded.

        Each page takes a few ms; the first one of 1 M users some 20 ms more.
        """
        yield from self._changed_users()
        yield from self._changed_repeats()
        users = self.users
        body = user_pages.CountersPage(
            dict(users.counters), users.actions_watermark_ms, users.activations_watermark_ms
        )
        yield Page(_COUNTERS, user_pages.COUNTERS.encode(body))

    def load(self, pages: Iterable[Page]) -> None:
        """Take over pages, in any order; the table must be new.

        StateError if one is damaged, of another layout or of no kind that is known here, or if the counters are
        missing beside others.
        """
        seen: set[bytes] = set()
        for page in pages:
            if page.value is not None:
                self._load(page.key, page.value)
                seen.add(page.key)
        if seen and _COUNTERS not in seen:
            raise StateError(f"the users table has {len(seen)} pages, but none with its counters")

    def _changed_users(self) -> Iterator[Page]:
        users = self.users
        dirty = np.flatnonzero(users.dirty_pages)
        users.dirty_pages[:] = False
        if dirty.size == 0:
            return
        page_of_row = users.page[: users.row_count]
        rows = np.argsort(page_of_row, kind="stable")
        bounds = np.searchsorted(page_of_row[rows], np.arange(PAGES + 1))
        ranks = users.groups.ranks()
        for pages in np.split(dirty, _cuts(np.diff(bounds)[dirty] * self._weight_of_user())):
            some = [rows[bounds[page] : bounds[page + 1]] for page in pages.tolist()]
            starts = np.concatenate(([0], np.cumsum([len(r) for r in some])))
            encoded = user_pages.encode_users(users, np.concatenate(some), starts, ranks)
            for page, parts in zip(pages.tolist(), encoded, strict=True):
                yield from self._page(page, parts)

    def _page(self, page: int, parts: list[bytes]) -> Iterator[Page]:
        for part, value in enumerate(parts):
            yield Page(_users_key(page, part), value)
        for part in range(len(parts), int(self._parts[page])):
            yield Page(_users_key(page, part), None)
        self._parts[page] = len(parts)

    def _weight_of_user(self) -> float:
        """How many columns' rows a user takes on average, its own among them."""
        return 1 + len(self.users.triggers.user) / max(self.users.row_count, 1)

    def _changed_repeats(self) -> Iterator[Page]:
        users = self.users
        oldest = users.oldest_slot
        for slot in sorted(slot for slot in self._repeat_parts if slot < oldest):
            for part in range(self._repeat_parts.pop(slot)):
                yield Page(_repeats_key(slot, part), None)
        for kept in users.repeats.take_unsaved():
            parts = count(self._repeat_parts.get(kept.slot, 0))
            for first in range(0, len(kept.times), _REPEATS_A_PAGE):
                some = slice(first, first + _REPEATS_A_PAGE)
                cut = KeptActions(kept.slot, kept.users[some], kept.events[some], kept.times[some])
                for value in user_pages.encode_repeats(users, cut):
                    yield Page(_repeats_key(kept.slot, next(parts)), value)
            self._repeat_parts[kept.slot] = next(parts)

    def _load(self, key: bytes, value: bytes) -> None:
        match key.split(b"/"):
            case [b"users", page, part]:
                user_pages.load_users(self.users, user_pages.USERS.decode(key, value))
                self._parts[int(page)] = max(self._parts[int(page)], int(part) + 1)
            case [b"repeats", slot, part]:
                user_pages.load_repeats(self.users, user_pages.REPEATS.decode(key, value))
                self._repeat_parts[int(slot)] = max(self._repeat_parts.get(int(slot), 0), int(part) + 1)
            case [b"counters"]:
                body = user_pages.COUNTERS.decode(key, value)
                self.users.counters |= body.counters
                self.users.actions_watermark_ms = body.actions_watermark_ms
                self.users.activations_watermark_ms = body.activations_watermark_ms
            case _:
                raise StateError(
                    f"the users table has a page {key!r}, which this worker doesn't know: "
                    "run the version of rtexp that wrote it, or begin with a new prefix"
                )


def _cuts(weights: NDArray[np.float64]) -> list[int]:
    """Return where to cut a list so that each part weighs about `_ROWS_AT_ONCE`, and has one element at least."""
    parts = np.cumsum(weights) // _ROWS_AT_ONCE
    return (np.flatnonzero(parts[1:] != parts[:-1]) + 1).tolist()


def _users_key(page: int, part: int) -> bytes:
    return b"users/%04d/%d" % (page, part)


def _repeats_key(slot: int, part: int) -> bytes:
    return b"repeats/%d/%d" % (slot, part)
