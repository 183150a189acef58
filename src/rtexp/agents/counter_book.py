"""What was counted in each minute, by reason, from totals that workers report now and then.

Two kinds of totals are reported. Those of a **partition** stand for its state: whoever owns it goes on with them, and
a rewind runs up to them again. So what SQL had counted before the same total needs no second count, whoever reports
it. Those of a whole **worker** (ingest, partition -1) begin at 0 when it starts, and are added up here.

A row's sequence is the total, so a book that begins anew (another worker leads, SQL was away) goes on from the
newest row of each counter. What was counted while nobody kept a book is in the minute of the first report after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.store.operations import CounterRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rtexp.records.status import Status
    from rtexp.store.operations import WorkerRow

MINUTE_MS = 60_000
KEPT_MINUTES = 24 * 60
"""Of a counter, while SQL is away; what was counted in older ones goes to the next that is kept."""
OF_A_WORKER = -1

Key = tuple[str, int, str]
"""(job, partition, reason)."""


class _Worker(NamedTuple):
    started_ms: int
    counters: Mapping[str, int]


class CounterBook:
    """Takes statuses in the order of their topic; a status may come again."""

    def __init__(self, newest: Iterable[CounterRow], workers: Iterable[WorkerRow]) -> None:
        """Both as SQL has them: the newest row of each counter, and workers with what was last taken of them."""
        self._newest: dict[Key, CounterRow] = {row[:3]: row for row in newest}
        self._counted_ms = {row.worker: row.updated_ms for row in workers}
        self._totals = {key: row.sequence for key, row in self._newest.items()}
        self._pending: dict[Key, dict[int, int]] = {}
        """Totals at the end of minutes that SQL lacks."""
        self._workers: dict[str, _Worker] = {}

    def take(self, status: Status) -> None:
        """Count what a status has more than was known."""
        if status.partition == OF_A_WORKER:
            self._take_worker(status)
            return
        for reason, total in status.counters.items():
            self._raise((status.job, status.partition, reason), total, status.at_ms)

    def _take_worker(self, status: Status) -> None:
        started_ms = status.process.started_ms if status.process else 0
        before = self._workers.get(status.worker)
        self._workers[status.worker] = _Worker(started_ms, status.counters)
        counted_ms = self._counted_ms.get(status.worker)
        if counted_ms is not None and status.at_ms <= counted_ms:
            return  # it is in SQL
        if before is not None and before.started_ms == started_ms:
            known = before.counters
        elif before is None and counted_ms is not None and started_ms <= counted_ms:
            # It was taken before, but what it said then is no longer in the topic.
            known = status.counters
        else:
            known = {}
        for reason, total in status.counters.items():
            more = total - known.get(reason, 0)
            key = (status.job, OF_A_WORKER, reason)
            self._raise(key, self._totals.get(key, 0) + more, status.at_ms)

    def _raise(self, key: Key, total: int, at_ms: int) -> None:
        if total <= self._totals.get(key, 0):
            return
        self._totals[key] = total
        minutes = self._pending.setdefault(key, {})
        minutes[at_ms - at_ms % MINUTE_MS] = total
        if len(minutes) > KEPT_MINUTES:
            del minutes[min(minutes)]

    def rows(self) -> list[CounterRow]:
        """Return the rows that SQL lacks, each as it is now."""
        return [row for key, minutes in self._pending.items() for row in self._rows_of(key, minutes).values()]

    def _rows_of(self, key: Key, minutes: Mapping[int, int]) -> dict[int, CounterRow]:
        rows: dict[int, CounterRow] = {}
        newest = self._newest.get(key)
        for reported_ms, total in sorted(minutes.items(), key=lambda at: at[1]):
            count = total
            minute_ms = reported_ms
            if newest is not None:
                # Clocks of two owners may differ: a counter's minutes never go back.
                minute_ms = max(reported_ms, newest.minute_ms)
                count -= newest.sequence - (newest.counted if minute_ms == newest.minute_ms else 0)
            newest = rows[minute_ms] = CounterRow(*key, minute_ms, count, total)
        return rows

    def written(self, rows: Iterable[CounterRow]) -> None:
        """Note that SQL has ``rows``, which `rows` returned last; what was taken since remains to be written."""
        for row in rows:
            key = row[:3]
            newest = self._newest.get(key)
            if newest is None or row.sequence > newest.sequence:
                self._newest[key] = row
        for key, minutes in list(self._pending.items()):
            done = self._newest[key].sequence if key in self._newest else 0
            left = {minute_ms: total for minute_ms, total in minutes.items() if total > done}
            if left:
                self._pending[key] = left
            else:
                del self._pending[key]
