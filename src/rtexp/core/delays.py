"""How long things took to show, as a histogram that can be added to others and asked for percentiles.

A publish at time t that shows everything which arrived before the watermark w, after one that showed all before v,
shows what arrived in between after t - w to t - v. So what is added is a range of delays, all equally likely. What
has arrived counts by the time in which it did: a second with one action weighs as much as one with thousands.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

GROWTH = 1.02
"""Of the edges of bins: a percentile is right to 2 %, and a delay of an hour is in bin 763."""
_LOG_GROWTH = math.log(GROWTH)


class Delays:
    """Weights by bin; bin i holds delays from `GROWTH` ** i up to the next, bin 0 also all below; in ms."""

    def __init__(self, weights: Mapping[int, float] | None = None) -> None:
        self._weights: dict[int, float] = dict(weights or {})

    @property
    def weights(self) -> dict[int, float]:
        """Milliseconds of arrival by bin; empty bins are left out. What `Delays` can be made of again."""
        return dict(self._weights)

    def add(self, low_ms: float, high_ms: float) -> None:
        """Count delays that are spread evenly over ``low_ms`` to ``high_ms``; nothing if that is no range.

        Negative ones, which clocks that differ give, count as 0.
        """
        low_ms, high_ms = max(low_ms, 0.0), max(high_ms, 0.0)
        for at in range(_bin_of(low_ms), _bin_of(high_ms) + 1):
            width_ms = min(high_ms, GROWTH ** (at + 1)) - max(low_ms, GROWTH**at if at else 0.0)
            if width_ms > 0:
                self._weights[at] = self._weights.get(at, 0.0) + width_ms

    def merge(self, other: Delays) -> None:
        """Add what another counted."""
        for at, weight in other._weights.items():
            self._weights[at] = self._weights.get(at, 0.0) + weight

    def percentile_ms(self, share: float) -> int | None:
        """Return the delay that ``share`` (0 to 1) don't exceed; None where nothing has been counted."""
        left = share * sum(self._weights.values())
        for at, weight in sorted(self._weights.items()):
            if weight >= left:
                low_ms = GROWTH**at if at else 0.0
                return round(low_ms + (GROWTH ** (at + 1) - low_ms) * left / weight)
            left -= weight
        return None if not self._weights else round(GROWTH ** (max(self._weights) + 1))


def _bin_of(delay_ms: float) -> int:
    return max(int(math.log(delay_ms) / _LOG_GROWTH), 0) if delay_ms >= 1 else 0
