"""Running sums of every period, and what they were when a look may have become due.

A look at a time t counts the buckets that end by t, as they stand at the record that carries the watermark past
t + `settle_ms`. That record is the same in every run over the same partials, so the sums are, too. Which of the
times are looks is said by plans, which aren't known here: sums are frozen at every whole bucket since a period's
start, and whoever evaluates drops what no plan asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
import numpy as np

from rtexp.engine.api import Page
from rtexp.statistics.looks import FrozenSums
from rtexp.tables.pages import PageLayout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rtexp.records.partials import Partials
    from rtexp.tables.buckets import Period

PREFIX = b"sums/"
FROZEN_PREFIX = b"frozen/"
_KEPT = PREFIX + b"kept"
"""Says that sums have been kept since the first cell, also when none are left."""
PREFIXES = (PREFIX, FROZEN_PREFIX)

_COUNTS = 5
_EXPOSURES, _MULTIPLE = 3, 4
_DAY_MS = 24 * 3_600_000
_NEVER = 1 << 62


class _SumsPage(msgspec.Struct, array_like=True, frozen=True):
    """The series of one period."""

    experiment: str
    period_start_ms: int
    next_at_ms: int
    groups: list[str]
    """Of each series, as are the events."""
    events: list[str]
    totals: bytes
    """int64, shape (series, 5)."""


class _OpenPage(msgspec.Struct, array_like=True, frozen=True):
    """What a bucket that the next look leaves out holds of one period; a page each, as a straggler may leave many."""

    experiment: str
    period_start_ms: int
    bucket: int
    counts: bytes
    """int64, shape (series, 5), in the order of the period's page."""


class _ExposuresPage(msgspec.Struct, array_like=True, frozen=True):
    """Exposures of one period by bucket, of one day: these alone are needed bucket by bucket later on."""

    experiment: str
    period_start_ms: int
    buckets: list[int]
    groups: list[str]
    exposures: list[int]
    multiple: list[int]


_SUMS_LAYOUT: PageLayout[_SumsPage] = PageLayout("buckets", 1, _SumsPage)
_OPEN_LAYOUT: PageLayout[_OpenPage] = PageLayout("buckets", 1, _OpenPage)
_EXPOSURES_LAYOUT: PageLayout[_ExposuresPage] = PageLayout("buckets", 1, _ExposuresPage)
_FROZEN_LAYOUT: PageLayout[FrozenSums] = PageLayout("buckets", 1, FrozenSums)
_KEPT_LAYOUT: PageLayout[bool] = PageLayout("buckets", 1, bool)


class _PeriodSums:
    """One period: its series by number, exposures by bucket, and the next time at which it is frozen."""

    __slots__ = ("changed_days", "days", "exposures", "next_at_ms", "open_pages", "series")

    def __init__(self, next_at_ms: int) -> None:
        self.series: list[int] = []
        self.exposures: dict[tuple[int, str], list[int]] = {}
        """By (bucket, group): [exposures, multiple exposures]."""
        self.days: set[int] = set()
        """Of `exposures`: those that have a page."""
        self.changed_days: set[int] = set()
        self.open_pages: set[int] = set()
        """Buckets that have a page of their own."""
        self.next_at_ms = next_at_ms


class LookSums:
    """Sums of one partition of experiments: a number for each (experiment, period, group, event), and columns."""

    def __init__(self, *, bucket_ms: int, period_ms: int, settle_ms: int) -> None:
        self._bucket_ms = bucket_ms
        self._period_ms = period_ms
        self._settle_ms = settle_ms
        self._numbers: dict[tuple[str, int, str, str], int] = {}
        self._names: list[tuple[str, int, str, str] | None] = []
        self._free: list[int] = []
        self._totals = np.zeros((256, _COUNTS), np.int64)
        self._open: dict[int, NDArray[np.int64]] = {}
        """By bucket that some look is still to leave out: what `_totals` holds of it."""
        self._periods: dict[Period, _PeriodSums] = {}
        self._changed: set[Period] = set()
        self._gone: list[bytes] = []
        self._frozen_changes: dict[bytes, FrozenSums | None] = {}
        self._dropped: set[Period] = set()
        """Those of whose frozen sums the last checkpoint still has some that are gone."""
        self.frozen: dict[Period, list[FrozenSums]] = {}
        """What has been frozen and not been dropped, in order of time."""
        self._watermark_ms = 0
        self.were_kept = False
        """Whether a page says that no cell was counted without sums."""
        self._next_at_ms = _NEVER
        """The least time at which any period is frozen next."""

    def __len__(self) -> int:
        """Return how many periods there are."""
        return len(self._periods)

    # -- counting -------------------------------------------------------------------------------------------

    def add(self, record: Partials) -> None:
        """Add the deltas of a record."""
        if not record.experiment:
            return
        names = record.names
        columns = (
            np.frombuffer(record.experiment, "<u4").astype(np.int64),
            np.frombuffer(record.period_start, "<i8"),
            np.frombuffer(record.group, "<u4").astype(np.int64),
            np.frombuffer(record.event, "<u4").astype(np.int64),
        )
        buckets = np.frombuffer(record.bucket, "<i8")
        counts = np.frombuffer(record.counts, "<i8").reshape(-1, _COUNTS)
        # A record has many buckets of few series: names are looked up once a series, in one sort of the rest.
        periods, period = np.unique(columns[1], return_inverse=True)
        size = len(names)
        mixed = ((columns[0] * len(periods) + period) * size + columns[2]) * size + columns[3]
        _, firsts, which = np.unique(mixed, return_index=True, return_inverse=True)
        keys = zip(*(column[firsts].tolist() for column in columns), strict=True)
        numbers = np.array([self._number(names[x], start, names[g], names[e]) for x, start, g, e in keys])
        series = numbers[which]
        np.add.at(self._totals, series, counts)
        for bucket in np.unique(buckets).tolist():
            if bucket + self._bucket_ms > self._watermark_ms - self._settle_ms:
                mine = buckets == bucket
                np.add.at(self._open_bucket(bucket), series[mine], counts[mine])
        for row in np.flatnonzero(counts[:, _EXPOSURES] | counts[:, _MULTIPLE]).tolist():
            self._add_exposures(int(series[row]), int(buckets[row]), counts[row])

    def _number(self, experiment: str, period_start_ms: int, group: str, event: str) -> int:
        period = (experiment, period_start_ms)
        self._changed.add(period)
        key = (*period, group, event)
        if (number := self._numbers.get(key)) is not None:
            return number
        if self._free:
            number = self._free.pop()
            self._names[number] = key
        else:
            number = len(self._names)
            self._names.append(key)
            if number == len(self._totals):
                self._totals = _doubled(self._totals)
        self._numbers[key] = number
        if period not in self._periods:
            self._periods[period] = _PeriodSums(self._first_time_ms(period_start_ms))
            self._next_at_ms = min(self._next_at_ms, self._due_ms(period))
        self._periods[period].series.append(number)
        return number

    def _first_time_ms(self, period_start_ms: int) -> int:
        """Return the first whole bucket since the start that isn't due yet: earlier looks saw nobody."""
        passed_ms = self._watermark_ms - self._settle_ms - period_start_ms
        return period_start_ms + max(1, passed_ms // self._bucket_ms + 1) * self._bucket_ms

    def _open_bucket(self, bucket: int) -> NDArray[np.int64]:
        counts = self._open.get(bucket)
        if counts is None or len(counts) < len(self._totals):
            grown = np.zeros_like(self._totals)
            if counts is not None:
                grown[: len(counts)] = counts
            self._open[bucket] = counts = grown
        return counts

    def _add_exposures(self, number: int, bucket: int, counts: NDArray[np.int64]) -> None:
        name = self._names[number]
        assert name is not None
        experiment, period_start_ms, group, _ = name
        period = self._periods[experiment, period_start_ms]
        found = period.exposures.setdefault((bucket, group), [0, 0])
        found[0] += int(counts[_EXPOSURES])
        found[1] += int(counts[_MULTIPLE])
        day = bucket // _DAY_MS
        period.days.add(day)
        period.changed_days.add(day)

    # -- freezing -------------------------------------------------------------------------------------------

    def advance(self, watermark_ms: int) -> None:
        """Freeze what the watermark makes due; call it after each record, when its deltas have been added."""
        if watermark_ms <= self._watermark_ms:
            return
        self._watermark_ms = watermark_ms
        settled_ms = watermark_ms - self._settle_ms
        if settled_ms < self._next_at_ms:
            return
        left_out: dict[int, NDArray[np.int64]] = {}
        for key, period in self._periods.items():
            while period.next_at_ms <= min(settled_ms, key[1] + self._period_ms):
                self._freeze(key, period, left_out)
        for bucket in [b for b in self._open if b + self._bucket_ms <= settled_ms]:
            del self._open[bucket]
        self._next_at_ms = min(map(self._due_ms, self._periods), default=_NEVER)

    def _due_ms(self, key: Period) -> int:
        next_at_ms = self._periods[key].next_at_ms
        return next_at_ms if next_at_ms <= key[1] + self._period_ms else _NEVER

    def _left_out(self, at_ms: int, known: dict[int, NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return what `_totals` holds of buckets that end after ``at_ms``; ``known``: by the first of these buckets.

        Summed once for all periods: thousands of them are frozen at each bucket, and a backlog has many open ones.
        """
        first = at_ms // self._bucket_ms * self._bucket_ms
        if first not in known:
            later = [self._open_bucket(bucket) for bucket in tuple(self._open) if bucket >= first]
            known[first] = sum(later, np.zeros_like(self._totals))
        return known[first]

    def _freeze(self, key: Period, period: _PeriodSums, left_out: dict[int, NDArray[np.int64]]) -> None:
        at_ms = period.next_at_ms
        period.next_at_ms += self._bucket_ms
        is_last = at_ms >= key[1] + self._period_ms
        totals = self._totals[period.series]
        # The last look counts whatever has been counted: also the bucket in which the period ends.
        if not is_last:
            totals -= self._left_out(at_ms, left_out)[period.series]
        names = [self._names[number] for number in period.series]
        exposed = sorted(
            (bucket, group, counts[0], counts[1])
            for (bucket, group), counts in period.exposures.items()
            if is_last or bucket + self._bucket_ms <= at_ms
        )
        buckets, groups, exposures, multiple = (
            (list(column) for column in zip(*exposed, strict=True)) if exposed else ([], [], [], [])
        )
        frozen = FrozenSums(
            *key,
            at_ms,
            [name[2] for name in names if name],
            [name[3] for name in names if name],
            totals.astype("<i8").tobytes(),
            buckets,
            groups,
            exposures,
            multiple,
        )
        self.frozen.setdefault(key, []).append(frozen)
        self._frozen_changes[_frozen_key(frozen)] = frozen
        self._changed.add(key)

    def drop(self, frozen: FrozenSums) -> None:
        """Forget frozen sums: they have been evaluated, or no plan asks for them. Those that are gone stay gone."""
        key = (frozen.experiment, frozen.period_start_ms)
        waiting = self.frozen.get(key, [])
        if frozen not in waiting:
            return
        waiting.remove(frozen)
        if not waiting:
            del self.frozen[key]
        page_key = _frozen_key(frozen)
        if self._frozen_changes.get(page_key) is not None:
            del self._frozen_changes[page_key]  # no checkpoint has it
        else:
            self._frozen_changes[page_key] = None
            self._dropped.add(key)

    def ended_before(self, at_ms: int) -> list[Period]:
        """Return the periods that ended by then and of which nothing frozen waits, here or in a checkpoint.

        Were one forgotten while a checkpoint has frozen sums of it, a rewind would meet them again, and nobody would
        know that they have been evaluated.
        """
        return [
            key
            for key in self._periods
            if key[1] + self._period_ms <= at_ms and key not in self.frozen and key not in self._dropped
        ]

    def forget(self, key: Period) -> None:
        """Forget a period that nothing more can be counted in."""
        period = self._periods.pop(key, None)
        if period is None:
            return
        for frozen in list(self.frozen.get(key, ())):
            self.drop(frozen)
        for number in period.series:
            name = self._names[number]
            assert name is not None
            del self._numbers[name]
            self._names[number] = None
            self._totals[number] = 0
            for counts in self._open.values():
                counts[number : number + 1] = 0
        self._free += period.series
        self._changed.discard(key)
        self._gone += [
            _sums_key(key),
            *(_exposures_key(key, day) for day in period.days),
            *(_open_key(key, bucket) for bucket in period.open_pages),
        ]

    # -- pages ----------------------------------------------------------------------------------------------

    def changed_pages(self) -> Iterator[Page]:
        """Yield what changed since the last call."""
        if not self.were_kept:
            self.were_kept = True
            yield Page(_KEPT, _KEPT_LAYOUT.encode(body=True))
        gone, self._gone = self._gone, []
        yield from (Page(key, None) for key in gone)
        changed, self._changed = sorted(self._changed), set()
        for key in changed:
            period = self._periods[key]
            yield self._sums_page(key, period)
            yield from self._open_pages(key, period)
            days, period.changed_days = sorted(period.changed_days), set()
            for day in days:
                yield _exposures_page(key, day, period)
        self._dropped.clear()
        frozen, self._frozen_changes = self._frozen_changes, {}
        for page_key, value in frozen.items():
            yield Page(page_key, None if value is None else _FROZEN_LAYOUT.encode(value))

    def _sums_page(self, key: Period, period: _PeriodSums) -> Page:
        series = np.array(period.series, np.int64)
        names = [name for number in period.series if (name := self._names[number])]
        body = _SumsPage(
            *key,
            period.next_at_ms,
            [name[2] for name in names],
            [name[3] for name in names],
            self._totals[series].astype("<i8").tobytes(),
        )
        return Page(_sums_key(key), _SUMS_LAYOUT.encode(body))

    def _open_pages(self, key: Period, period: _PeriodSums) -> Iterator[Page]:
        # Only what this period's next looks leave out, whatever is open for the sake of others: else pages would
        # say something else after a reload, which knows the open buckets by their pages alone.
        series = np.array(period.series, np.int64)
        before, period.open_pages = period.open_pages, set()
        for bucket in sorted(self._open):
            counts = self._open_bucket(bucket)[series]
            if self._is_left_out(bucket, key, period) and counts.any():
                period.open_pages.add(bucket)
                body = _OpenPage(*key, bucket, counts.astype("<i8").tobytes())
                yield Page(_open_key(key, bucket), _OPEN_LAYOUT.encode(body))
        yield from (Page(_open_key(key, bucket), None) for bucket in sorted(before - period.open_pages))

    def _is_left_out(self, bucket: int, key: Period, period: _PeriodSums) -> bool:
        """Tell whether the next look of a period leaves a bucket out; the last one leaves out none."""
        is_before_last = period.next_at_ms < key[1] + self._period_ms
        return is_before_last and bucket + self._bucket_ms > period.next_at_ms

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a page that `changed_pages` yielded; StateError if it is damaged."""
        if key == _KEPT:
            self.were_kept = _KEPT_LAYOUT.decode(key, value)
        elif key.startswith(FROZEN_PREFIX):
            frozen = _FROZEN_LAYOUT.decode(key, value)
            self.frozen.setdefault((frozen.experiment, frozen.period_start_ms), []).append(frozen)
        elif key.startswith(PREFIX + b"e/"):
            self._load_exposures(_EXPOSURES_LAYOUT.decode(key, value))
        elif key.startswith(PREFIX + b"u/"):
            self._load_open(_OPEN_LAYOUT.decode(key, value))
        else:
            self._load_sums(_SUMS_LAYOUT.decode(key, value))

    def loaded(self, watermark_ms: int) -> None:
        """Note that all pages have been loaded, as of this watermark."""
        self._watermark_ms = watermark_ms
        for waiting in self.frozen.values():
            waiting.sort(key=lambda frozen: frozen.at_ms)
        self._changed.clear()
        self._next_at_ms = min(map(self._due_ms, self._periods), default=_NEVER)

    def _load_sums(self, body: _SumsPage) -> None:
        key = (body.experiment, body.period_start_ms)
        numbers = [self._number(*key, *names) for names in zip(body.groups, body.events, strict=True)]
        self._periods[key].next_at_ms = body.next_at_ms
        self._totals[numbers] = np.frombuffer(body.totals, "<i8").reshape(-1, _COUNTS)

    def _load_open(self, body: _OpenPage) -> None:
        period = self._periods[body.experiment, body.period_start_ms]  # its own page comes first, by its key
        self._open_bucket(body.bucket)[period.series] = np.frombuffer(body.counts, "<i8").reshape(-1, _COUNTS)
        period.open_pages.add(body.bucket)

    def _load_exposures(self, body: _ExposuresPage) -> None:
        key = (body.experiment, body.period_start_ms)
        period = self._periods.setdefault(key, _PeriodSums(_NEVER))  # its page of sums follows
        for bucket, group, exposures, multiple in zip(
            body.buckets, body.groups, body.exposures, body.multiple, strict=True
        ):
            period.exposures[bucket, group] = [exposures, multiple]
            period.days.add(bucket // _DAY_MS)


def _exposures_page(key: Period, day: int, period: _PeriodSums) -> Page:
    mine = sorted(
        (bucket, group, *counts)
        for (bucket, group), counts in period.exposures.items()
        if bucket // _DAY_MS == day
    )
    buckets, groups, exposures, multiple = zip(*mine, strict=True)
    body = _ExposuresPage(*key, list(buckets), list(groups), list(exposures), list(multiple))
    return Page(_exposures_key(key, day), _EXPOSURES_LAYOUT.encode(body))


def _period_key(key: Period) -> bytes:
    return f"{quote(key[0], safe='')}/{key[1]}".encode()


def _sums_key(key: Period) -> bytes:
    return PREFIX + b"t/" + _period_key(key)


def _open_key(key: Period, bucket: int) -> bytes:
    return PREFIX + b"u/" + _period_key(key) + b"/%d" % bucket


def _exposures_key(key: Period, day: int) -> bytes:
    return PREFIX + b"e/" + _period_key(key) + b"/%d" % day


def _frozen_key(frozen: FrozenSums) -> bytes:
    return FROZEN_PREFIX + _period_key((frozen.experiment, frozen.period_start_ms)) + b"/%d" % frozen.at_ms


def _doubled(column: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((column, np.zeros_like(column)))
