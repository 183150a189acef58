"""What is said of an outage, and how often."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs

from rtexp.errors import StoreUnavailable
from rtexp.store.availability import REMINDER_SECONDS, Availability


def test_an_outage_is_told_at_once_then_every_minute_with_its_reason_then_and_so_is_its_end() -> None:
    #  seconds  100        101     160       161
    #           gone       gone    refused   refused    answers
    #           told               told                 told
    times = iter([100.0, 101.0, 100.0 + REMINDER_SECONDS, 101.0 + REMINDER_SECONDS])
    with capture_logs() as logs:
        store = Availability(structlog.get_logger(), seconds=lambda: next(times))
        store.found()
        assert (store.is_up, logs) == (True, [])
        for reason in ("gone", "gone", "refused", "refused"):
            store.lost(StoreUnavailable(reason))
        assert (store.is_up, store.failures) == (False, 4)
        store.found()
        store.found()
    assert [(entry["event"], entry["failures"], entry.get("error")) for entry in logs] == [
        ("store_unavailable", 1, "gone"),
        ("store_unavailable", 3, "refused"),
        ("store_available", 4, None),
    ]


def test_the_next_outage_is_told_at_once_however_soon_it_comes() -> None:
    with capture_logs() as logs:
        store = Availability(structlog.get_logger(), seconds=lambda: 0.0)
        for _ in range(2):
            store.lost(StoreUnavailable("gone"))
            store.found()
    assert [entry["event"] for entry in logs] == ["store_unavailable", "store_available"] * 2
