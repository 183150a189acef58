"""What looks leave behind is small values that survive a round through their encoding."""

from __future__ import annotations

import msgspec

from rtexp.statistics.histories import ComparisonHistory, ComparisonKey, PeriodHistory
from rtexp.statistics.methods import Path, Seen


def test_histories_come_back_as_they_were_bit_for_bit() -> None:
    key = ComparisonKey("t", "search", "volume", "guardrail")
    history = ComparisonHistory(
        Path([Seen(1 / 3, 1e-300, -0.1, 0.2, 2**53 + 1, 7)], 1 / 7), direction=-1, level=0.1, evaluated=True
    )
    period = PeriodHistory(look=4, scheduled_ms=10**13, srm_p=1e-300, srm_first_p=0.1, srm_alarm=True)
    for value, kind in (
        (key, ComparisonKey),
        (history, ComparisonHistory),
        (period, PeriodHistory),
    ):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind) == value


def test_new_histories_share_no_path() -> None:
    one, other = ComparisonHistory(), ComparisonHistory()
    one.path.seen.append(Seen(1, 1, 1, 1, 1, 1))
    assert (other.path.seen, Path().seen) == ([], [])
