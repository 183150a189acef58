"""How fresh SQL is, minute by minute: what a results worker measures at its publishes.

Measured is the time from an action's arrival (its record's time in Kafka, see the contract) to the commit of the SQL
transaction with which all that arrived so early is surely in SQL, by the clock of the results worker. It follows from
the watermark of what has just been published, and costs nothing for each action. So

- it includes what is waited for by design: `join_delay_seconds`, `out_of_order_seconds`, the interval of publishing;
- it is an upper bound: an action shows earlier where its own source was ahead of the slowest one;
- arrivals weigh by time and not by number, and idle times count as well: watermarks go on without records;
- a delay counts in the minute in which it ended; while nothing can be published no minute gets any;
- what lay between the last publish of a worker that died and the first of the next one isn't counted, what arrived
  until that one had caught up is;
- clocks of producers, brokers and workers that differ shift it; below 0 it is 0.

With ``clock = "records"`` arrivals are those of a replay, and there is no such time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rtexp.core.delays import Delays

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

MINUTE_MS = 60_000
REPORTED_MINUTES = 3
"""The one that runs and those before it: whoever collects them may be busy for a minute."""


class Freshness:
    """Delays of one worker's publishes, by partition of partials and by minute."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._watermarks_ms: dict[int, int] = {}
        self._minutes: dict[int, dict[int, Delays]] = {}
        """By partition, by start of the minute."""

    def published(self, partition: int, watermark_ms: int) -> None:
        """Note that all which arrived before ``watermark_ms`` is in SQL now, as far as this partition has it.

        The first call for a partition only says where it begins; 0 is a watermark that isn't known yet.
        """
        if watermark_ms <= 0:
            return
        before_ms = self._watermarks_ms.get(partition)
        if before_ms is not None and watermark_ms <= before_ms:
            return
        self._watermarks_ms[partition] = watermark_ms
        if before_ms is None:
            return
        now_ms = int(self._clock() * 1000)
        minutes = self._minutes.setdefault(partition, {})
        minutes.setdefault(now_ms - now_ms % MINUTE_MS, Delays()).add(
            now_ms - watermark_ms, now_ms - before_ms
        )
        for minute_ms in sorted(minutes)[:-REPORTED_MINUTES]:
            del minutes[minute_ms]

    @property
    def watermarks_ms(self) -> Mapping[int, int]:
        """By partition the time before which all that arrived is in SQL."""
        return self._watermarks_ms

    def keep(self, partitions: Collection[int]) -> None:
        """Begin anew with all other partitions, should they come back: others may publish them meanwhile.

        What was measured of them stays true.
        """
        for gone in set(self._watermarks_ms) - set(partitions):
            del self._watermarks_ms[gone]

    def report(self, partition: int) -> dict[str, dict[str, float]]:
        """Return the newest minutes of a partition as a status carries them: weights by bin, by minute."""
        return {
            str(minute_ms): {str(at): round(weight, 1) for at, weight in sorted(delays.weights.items())}
            for minute_ms, delays in self._minutes.get(partition, {}).items()
        }


def delays_of(report: object) -> dict[int, Delays]:
    """Undo `Freshness.report`, for one that went through JSON; nothing from what is no such report."""
    if not isinstance(report, dict):
        return {}
    return {
        int(minute_ms): Delays({int(at): float(weight) for at, weight in weights.items()})
        for minute_ms, weights in report.items()
    }
