"""The pages of the users table: their layouts, and how columns get into them and back.

Pages name users, events and groups, never rows or positions in a list of the settings: they are read again by a
process that numbers all of these otherwise. Columns are little-endian numpy arrays as bytes.
"""

from __future__ import annotations

from itertools import compress, pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from rtexp.core.columns import stable_order
from rtexp.core.groups import GroupName
from rtexp.core.repeats import KeptActions
from rtexp.tables.pages import PageLayout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rtexp.core.columns import Ints
    from rtexp.core.users_columns import ColumnarUsers

MAX_PAGE_BYTES = 500_000
"""Brokers take records of up to 1 MB; a page above this is cut in two, as long as it can be."""
_LAYOUT = 1


class UsersPage(msgspec.Struct, array_like=True, frozen=True):
    """Users in order of their names, and their triggers in order of (user, experiment, period, group).

    A user with very many triggers stands in several pages, with some of them in each.
    """

    users: list[str]
    newest_hours: bytes
    """int32, as are the next three: hours since 1970 or -1, and kept actions in them."""
    newest_counts: bytes
    older_hours: bytes
    older_counts: bytes
    trigger_counts: bytes
    """uint32: how many triggers each user has here."""
    groups: list[GroupName]
    """(experiment, period start in epoch ms, group) of all these triggers."""
    trigger_groups: bytes
    """uint32 into ``groups``."""
    triggered: bytes
    """int64, epoch ms: the trigger's time."""
    arrivals: bytes
    ends: bytes
    events: list[str]
    """Those which any of these triggers has counted."""
    count_places: bytes
    """uint32: trigger * number of events + event, for counts that aren't 0."""
    counts: bytes
    """int32."""


class RepeatsPage(msgspec.Struct, array_like=True, frozen=True):
    """Some of the kept actions of one slot of arrival, in the order in which they were kept."""

    slot: int
    users: list[str]
    events: list[str]
    user_index: bytes
    """uint32 into ``users``."""
    event_index: bytes
    """uint16 into ``events``."""
    times: bytes
    """int64, epoch ms."""


class CountersPage(msgspec.Struct, array_like=True, frozen=True):
    """What has been counted apart from cells, and how far the state is."""

    counters: dict[str, int]
    actions_watermark_ms: int
    activations_watermark_ms: int


USERS: PageLayout[UsersPage] = PageLayout("users", _LAYOUT, UsersPage)
REPEATS: PageLayout[RepeatsPage] = PageLayout("users", _LAYOUT, RepeatsPage)
COUNTERS: PageLayout[CountersPage] = PageLayout("users", _LAYOUT, CountersPage)


def encode_users(users: ColumnarUsers, rows: Ints, starts: Ints, group_ranks: Ints) -> Iterator[list[bytes]]:
    """Yield for each page its parts, in one or more; none if there is nothing to keep of any of its users.

    Page i has the users ``rows[starts[i]:starts[i + 1]]``; ``starts`` ends with the number of rows. Equal states
    give equal pages, whatever rows they have. As many pages at once as may be: columns of one are short.
    """
    has_hour = users.live_hours(rows)[0] >= 0
    is_kept = has_hour | (users.triggers.head[rows] >= 0)
    kept_before = np.concatenate(([0], np.cumsum(is_kept)))
    starts = kept_before[starts]
    rows = rows[is_kept]
    names = users.names.of(rows)
    order = [
        row
        for first, end in pairwise(starts.tolist())
        for row in sorted(range(first, end), key=names.__getitem__)
    ]
    yield from _encode_sorted(users, rows[order], [names[i] for i in order], starts, group_ranks)


def _encode_sorted(
    users: ColumnarUsers, rows: Ints, names: list[str], starts: Ints, group_ranks: Ints
) -> Iterator[list[bytes]]:
    """Do the same for users who are to be kept, in order of their names within each page."""
    pages = _UserColumns(users, rows, starts, group_ranks)
    for page, (first, end) in enumerate(pairwise(starts.tolist())):
        if first == end:
            yield []
            continue
        some = names[first:end]
        encoded = USERS.encode(pages.body(page, some))
        if len(encoded) <= MAX_PAGE_BYTES:
            yield [encoded]
        elif len(some) == 1:
            triggers = slice(0, pages.triggers_of(page))
            yield list(_encode_one_user(users, rows[first:end], some, group_ranks, triggers))
        else:
            halves = np.array([0, len(some) // 2, len(some)], np.int64)
            parts = _encode_sorted(users, rows[first:end], some, halves, group_ranks)
            yield [value for part in parts for value in part]


def _encode_one_user(
    users: ColumnarUsers, row: Ints, name: list[str], group_ranks: Ints, triggers: slice
) -> Iterator[bytes]:
    """Yield one user in parts with some of the triggers each: a name that thousands of people share has too many."""
    columns = _UserColumns(users, row, np.array([0, 1]), group_ranks, triggers)
    encoded = USERS.encode(columns.body(0, name))
    if len(encoded) <= MAX_PAGE_BYTES or columns.triggers_of(0) <= 1:
        yield encoded
        return
    middle = (triggers.start + triggers.stop) // 2
    for half in (slice(triggers.start, middle), slice(middle, triggers.stop)):
        yield from _encode_one_user(users, row, name, group_ranks, half)


class _UserColumns:
    """Columns of several pages, one after the other: computed together, cut out page by page.

    ``some`` leaves out all but these of the triggers, in the order of the pages.
    """

    def __init__(
        self,
        users: ColumnarUsers,
        rows: Ints,
        starts: Ints,
        group_ranks: Ints,
        some: slice = slice(None),
    ) -> None:
        self._users = users
        self._starts = starts
        self._hours = [column.astype("<i4") for column in users.live_hours(rows)]
        triggers = self._order_triggers(users, rows, group_ranks, some)
        columns = users.triggers
        self._triggered = columns.at_ms[triggers].astype("<i8")
        self._arrivals = columns.arrival_ms(triggers).astype("<i8")
        self._ends = columns.end_ms(triggers).astype("<i8")
        self._index_counts(*columns.counted(triggers))

    def _order_triggers(self, users: ColumnarUsers, rows: Ints, group_ranks: Ints, some: slice) -> Ints:
        """Find the triggers, their order, their bounds by page, and the groups of each page."""
        owners, triggers = users.triggers.of(rows)
        ranks = group_ranks[users.triggers.group[triggers]]
        order = stable_order(owners << 32 | ranks)[some]
        owners, triggers, ranks = owners[order], triggers[order], ranks[order]
        self._per_user = np.bincount(owners, minlength=len(rows)).astype("<u4")
        self._trigger_starts = np.searchsorted(owners, self._starts)
        self._page_of_trigger = np.searchsorted(self._starts, owners, side="right") - 1
        distinct, group_of = np.unique(self._page_of_trigger << 32 | ranks, return_inverse=True)
        self._group_starts = np.searchsorted(distinct >> 32, np.arange(len(self._starts)))
        self._trigger_groups = (group_of - self._group_starts[self._page_of_trigger]).astype("<u4")
        number_of_rank = np.argsort(group_ranks)[np.count_nonzero(group_ranks < 0) :]
        self._group_numbers = number_of_rank[distinct & 0xFFFF_FFFF]
        return triggers

    def _index_counts(self, triggers: Ints, columns: Ints, counts: Ints) -> None:
        """Find the bounds of counts by page, and the events of each page in order of their names."""
        named = sorted((name, column) for column, name in enumerate(self._users.event_names))
        self._event_names = [name for name, _ in named]
        events = np.argsort([column for _, column in named])[columns]
        order = stable_order(triggers * len(named) + events)
        triggers, events = triggers[order], events[order]
        pages = self._page_of_trigger[triggers]
        self._is_counted = np.zeros((len(self._starts), len(named)), np.bool_)
        self._is_counted[pages, events] = True
        place_of_event = np.cumsum(self._is_counted, axis=1) - 1
        places = (triggers - self._trigger_starts[pages]) * (place_of_event[pages, -1] + 1)
        self._count_places = (places + place_of_event[pages, events]).astype("<u4")
        self._counts = counts[order].astype("<i4")
        self._count_starts = np.searchsorted(triggers, self._trigger_starts)

    def triggers_of(self, page: int) -> int:
        """Return how many triggers the users of a page have, as far as they are here."""
        return int(self._trigger_starts[page + 1] - self._trigger_starts[page])

    def body(self, page: int, names: list[str]) -> UsersPage:
        users = slice(self._starts[page], self._starts[page + 1])
        triggers = slice(self._trigger_starts[page], self._trigger_starts[page + 1])
        groups = slice(self._group_starts[page], self._group_starts[page + 1])
        counts = slice(self._count_starts[page], self._count_starts[page + 1])
        newest_hours, newest_counts, older_hours, older_counts = (c[users].tobytes() for c in self._hours)
        return UsersPage(
            users=names,
            newest_hours=newest_hours,
            newest_counts=newest_counts,
            older_hours=older_hours,
            older_counts=older_counts,
            trigger_counts=self._per_user[users].tobytes(),
            groups=[self._users.groups.name(number) for number in self._group_numbers[groups].tolist()],
            trigger_groups=self._trigger_groups[triggers].tobytes(),
            triggered=self._triggered[triggers].tobytes(),
            arrivals=self._arrivals[triggers].tobytes(),
            ends=self._ends[triggers].tobytes(),
            events=list(compress(self._event_names, self._is_counted[page].tolist())),
            count_places=self._count_places[counts].tobytes(),
            counts=self._counts[counts].tobytes(),
        )


def load_users(users: ColumnarUsers, page: UsersPage) -> None:
    """Add the users of a page; none of their triggers may be there yet."""
    rows = users.rows_of(page.users)
    caps = users.caps
    caps.newest[rows] = np.frombuffer(page.newest_hours, "<i4")
    caps.newest_count[rows] = np.frombuffer(page.newest_counts, "<i4")
    caps.older[rows] = np.frombuffer(page.older_hours, "<i4")
    caps.older_count[rows] = np.frombuffer(page.older_counts, "<i4")
    numbers = np.array([users.groups.number(group) for group in page.groups], np.int64)
    triggers = users.add_triggers(
        np.repeat(rows, np.frombuffer(page.trigger_counts, "<u4")),
        numbers[np.frombuffer(page.trigger_groups, "<u4")],
        np.frombuffer(page.triggered, "<i8"),
        np.frombuffer(page.arrivals, "<i8"),
        np.frombuffer(page.ends, "<i8"),
    )
    if page.counts:
        columns = np.array([users.event_number(name) for name in page.events], np.int64)
        places = np.frombuffer(page.count_places, "<u4").astype(np.int64)
        trigger, event = np.divmod(places, len(columns))
        users.triggers.set_counts(triggers[trigger], columns[event], np.frombuffer(page.counts, "<i4"))


def encode_repeats(users: ColumnarUsers, kept: KeptActions) -> list[bytes]:
    """Return kept actions of a slot in one or more pages."""
    rows, user_index = np.unique(kept.users, return_inverse=True)
    names = users.names.of(rows)
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    numbers, event_index = np.unique(kept.events, return_inverse=True)
    encoded = REPEATS.encode(
        RepeatsPage(
            slot=kept.slot,
            users=[names[i] for i in order],
            events=[users.event_names[number] for number in numbers.tolist()],
            user_index=_packed(place[user_index], "<u4"),
            event_index=_packed(event_index, "<u2"),
            times=_packed(kept.times, "<i8"),
        )
    )
    size = len(kept.times)
    if len(encoded) <= MAX_PAGE_BYTES or size == 1:
        return [encoded]
    halves = (slice(0, size // 2), slice(size // 2, size))
    parts = [KeptActions(kept.slot, kept.users[h], kept.events[h], kept.times[h]) for h in halves]
    return [page for part in parts for page in encode_repeats(users, part)]


def load_repeats(users: ColumnarUsers, page: RepeatsPage) -> None:
    """Add the kept actions of a page, but for events that are no longer tracked: those never come again."""
    numbers = {name: number for number, name in enumerate(users.rules.tracked)}
    events = np.array([numbers.get(name, -1) for name in page.events], np.int64)[
        np.frombuffer(page.event_index, "<u2")
    ]
    tracked = events >= 0
    rows = users.rows_of(page.users)[np.frombuffer(page.user_index, "<u4")]
    times = np.frombuffer(page.times, "<i8")
    users.repeats.remember(KeptActions(page.slot, rows[tracked], events[tracked], times[tracked]))


def _packed(column: NDArray[np.generic], kind: str) -> bytes:
    return column.astype(kind).tobytes()
