"""Looks of one partition of experiments: what has been evaluated, what goes out with it, what SQL lacks of it.

A look rests on sums that follow from the partials, and on a plan and weights that don't: so what it gave is noted
in the journal, together with the history from which the next one goes on. A rewind meets the same sums again, and
finds them evaluated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec

from rtexp.engine.api import Page
from rtexp.errors import StateError
from rtexp.statistics.histories import ComparisonHistory, ComparisonKey, PeriodHistory
from rtexp.statistics.looks import LookInput, LookRecord
from rtexp.tables.pages import PageLayout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rtexp.engine.api import Output
    from rtexp.tables.buckets import Period

PREFIX = b"looks/"
_PERIOD, _COMPARISONS, _ROWS = (PREFIX + kind for kind in (b"p/", b"c/", b"r/"))
RECORDS_PER_PAGE = 400
"""Of 1 KB at most: a page has to fit into a record of Kafka."""
COMPARISONS_BYTES = 100_000
"""A page of histories is cut when it has grown to this."""


class EvaluatedLook(NamedTuple):
    """A look as it goes to SQL: its input, and a record of every comparison."""

    given: LookInput
    records: list[LookRecord]


class LookId(NamedTuple):
    """Which look of which period."""

    experiment: str
    period_start_ms: int
    look: int


class _PeriodPage(msgspec.Struct, array_like=True, frozen=True):
    experiment: str
    period_start_ms: int
    history: PeriodHistory


class _ComparisonsPage(msgspec.Struct, array_like=True, frozen=True):
    """Some comparisons of one period; pages are numbered from 0."""

    experiment: str
    period_start_ms: int
    keys: list[ComparisonKey]
    histories: list[msgspec.Raw]
    """Each a `ComparisonHistory`, encoded by itself: so a page is cut by what they take."""


class _RowsPage(msgspec.Struct, array_like=True, frozen=True):
    """A part of one look that SQL doesn't have yet."""

    given: LookInput
    chunk: int
    chunks: int
    records: list[LookRecord]


_PERIOD_LAYOUT: PageLayout[_PeriodPage] = PageLayout("buckets", 1, _PeriodPage)
_COMPARISONS_LAYOUT: PageLayout[_ComparisonsPage] = PageLayout("buckets", 1, _ComparisonsPage)
_ROWS_LAYOUT: PageLayout[_RowsPage] = PageLayout("buckets", 1, _RowsPage)


class LookLedger:
    """What has been evaluated. It changes between flushes; what changed goes with the next one."""

    def __init__(self) -> None:
        self._periods: dict[Period, PeriodHistory] = {}
        self._comparisons: dict[Period, dict[bytes, bytes]] = {}
        """By period, the encoded pages of its comparisons: decoded only when a worker goes on from them."""
        self._unpublished: dict[LookId, EvaluatedLook] = {}
        self._journal: dict[bytes, bytes | None] = {}
        self._outputs: list[Output] = []
        self._loading: dict[LookId, dict[int, _RowsPage]] = {}

    # -- evaluating -----------------------------------------------------------------------------------------

    def evaluated_until_ms(self, period: Period) -> int:
        """Return the time of a period's last look; 0 before the first."""
        history = self._periods.get(period)
        return history.scheduled_ms if history else 0

    def history(
        self, period: Period
    ) -> tuple[PeriodHistory | None, Mapping[ComparisonKey, ComparisonHistory]]:
        """Return what the next look of a period goes on from; copies, which belong to the caller."""
        found = self._periods.get(period)
        if found is None:
            return None, {}
        comparisons: dict[ComparisonKey, ComparisonHistory] = {}
        for key, value in self._comparisons.get(period, {}).items():
            comparisons |= _histories(_COMPARISONS_LAYOUT.decode(key, value))
        return msgspec.structs.replace(found), comparisons

    def note(
        self,
        look: EvaluatedLook,
        period: PeriodHistory,
        comparisons: Mapping[ComparisonKey, ComparisonHistory],
        outputs: Sequence[Output],
    ) -> None:
        """Note a look, what the next one goes on from, and what is to be sent with it: all or nothing of it is kept."""
        first = look.records[0]
        key = (first.experiment, first.period_start_ms)
        self._periods[key] = msgspec.structs.replace(period)
        self._journal[_PERIOD + _name(key)] = _PERIOD_LAYOUT.encode(_PeriodPage(*key, period))
        pages = dict(_comparison_pages(key, comparisons))
        # Histories of another length may be cut into fewer pages than the ones before were.
        self._journal |= dict.fromkeys(self._comparisons.get(key, ()))
        self._journal |= pages
        self._comparisons[key] = pages
        look_id = LookId(*key, look.given.look)
        self._unpublished[look_id] = look
        self._journal |= dict(_rows_pages(look_id, look))
        self._outputs += outputs

    def collect(self) -> Sequence[Output]:
        """Return what is to be sent for the looks that were noted since the last call."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def journal(self) -> list[Page]:
        """Return the pages that have changed since the last call; they are being committed."""
        journal, self._journal = self._journal, {}
        return [Page(key, value) for key, value in journal.items()]

    # -- publishing -----------------------------------------------------------------------------------------

    @property
    def unpublished(self) -> int:
        """How many looks SQL lacks."""
        return len(self._unpublished)

    def looks_to_publish(self, limit: int) -> list[EvaluatedLook]:
        """Return the oldest looks that SQL lacks, with ``limit`` records or a few more; only committed ones.

        Call it between flushes: what was noted since the last one isn't durable, and may yet be evaluated by another
        worker at another time.
        """
        looks: list[EvaluatedLook] = []
        for look_id, look in self._unpublished.items():
            if limit <= 0:
                break
            if any(key in self._journal for key in _rows_keys(look_id, look)):
                continue
            looks.append(look)
            limit -= len(look.records)
        return looks

    def mark_published(self, looks: Sequence[EvaluatedLook]) -> None:
        """Note that SQL has these."""
        for look in looks:
            first = look.records[0]
            look_id = LookId(first.experiment, first.period_start_ms, look.given.look)
            if self._unpublished.pop(look_id, None) is not None:
                self._journal |= dict.fromkeys(_rows_keys(look_id, look))

    # -- forgetting -----------------------------------------------------------------------------------------

    def may_forget(self, period: Period) -> bool:
        """Tell whether SQL has all looks of a period."""
        return not any(look_id[:2] == period for look_id in self._unpublished)

    def forget(self, period: Period) -> None:
        """Forget a period that is over."""
        if self._periods.pop(period, None) is not None:
            self._journal[_PERIOD + _name(period)] = None
            self._journal |= dict.fromkeys(self._comparisons.pop(period, {}))

    # -- pages ----------------------------------------------------------------------------------------------

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a page of the journal; StateError if it is damaged."""
        if key.startswith(_PERIOD):
            page = _PERIOD_LAYOUT.decode(key, value)
            self._periods[page.experiment, page.period_start_ms] = page.history
        elif key.startswith(_COMPARISONS):
            comparisons = _COMPARISONS_LAYOUT.decode(key, value)
            _histories(comparisons)  # now, as what can't be read must be found on load
            of_period = self._comparisons.setdefault(
                (comparisons.experiment, comparisons.period_start_ms), {}
            )
            of_period[key] = value
        else:
            rows = _ROWS_LAYOUT.decode(key, value)
            first = rows.records[0]
            look_id = LookId(first.experiment, first.period_start_ms, rows.given.look)
            parts = self._loading.setdefault(look_id, {})
            parts[rows.chunk] = rows
            if len(parts) == rows.chunks:
                records = [record for _, part in sorted(parts.items()) for record in part.records]
                self._unpublished[look_id] = EvaluatedLook(rows.given, records)
                del self._loading[look_id]

    def loaded(self) -> None:
        """Note that all pages have been loaded: looks come in order of time again."""
        self._unpublished = dict(
            sorted(self._unpublished.items(), key=lambda item: item[1].given.scheduled_ms)
        )


def _name(period: Period) -> bytes:
    return f"{quote(period[0], safe='')}/{period[1]}".encode()


def _histories(page: _ComparisonsPage) -> dict[ComparisonKey, ComparisonHistory]:
    decode = msgspec.msgpack.Decoder(ComparisonHistory).decode
    try:
        return dict(zip(page.keys, map(decode, page.histories), strict=True))
    except msgspec.DecodeError as exc:
        raise StateError(f"a page of comparisons of {page.experiment!r} can't be decoded: {exc}") from exc


def _comparison_pages(
    period: Period, comparisons: Mapping[ComparisonKey, ComparisonHistory]
) -> Iterator[tuple[bytes, bytes]]:
    keys: list[ComparisonKey] = []
    histories: list[msgspec.Raw] = []
    size = number = 0
    last = len(comparisons)
    for position, (key, history) in enumerate(sorted(comparisons.items()), start=1):
        keys.append(key)
        histories.append(msgspec.Raw(msgspec.msgpack.encode(history)))
        size += len(bytes(histories[-1]))
        if size >= COMPARISONS_BYTES or position == last:
            page_key = _COMPARISONS + _name(period) + b"/%d" % number
            yield page_key, _COMPARISONS_LAYOUT.encode(_ComparisonsPage(*period, keys, histories))
            keys, histories, size, number = [], [], 0, number + 1


def _rows_key(look_id: LookId, chunk: int) -> bytes:
    return _ROWS + _name(look_id[:2]) + b"/%d/%d" % (look_id.look, chunk)


def _rows_keys(look_id: LookId, look: EvaluatedLook) -> list[bytes]:
    chunks = -(-len(look.records) // RECORDS_PER_PAGE)
    return [_rows_key(look_id, chunk) for chunk in range(chunks)]


def _rows_pages(look_id: LookId, look: EvaluatedLook) -> Iterator[tuple[bytes, bytes]]:
    keys = _rows_keys(look_id, look)
    parts = [look.records[i : i + RECORDS_PER_PAGE] for i in range(0, len(look.records), RECORDS_PER_PAGE)]
    for chunk, (key, records) in enumerate(zip(keys, parts, strict=True)):
        yield key, _ROWS_LAYOUT.encode(_RowsPage(look.given, chunk, len(keys), records))
