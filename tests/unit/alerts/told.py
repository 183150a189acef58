"""Alerts and notices as samples."""

from __future__ import annotations

from typing import Any

import msgspec

from rtexp.alerts.notices import Notice, of_alert
from rtexp.records.verdicts import Alert

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000

DROP = Alert(
    alert_version=1,
    id="ab12",
    kind="significant_drop",
    experiment="heavier-page",
    period_start_ms=START_MS,
    look=9,
    scheduled_ms=START_MS + 9 * HOUR_MS,
    evaluated_ms=START_MS + 9 * HOUR_MS + 61_000,
    group="treatment",
    event="search",
    metric="propensity",
    effect=-0.0312,
    interval_low=-0.05,
    interval_high=-0.0124,
    lift=-0.0841,
    p_always_valid=0.0031,
    srm_p=1.0,
    plan_hash="h",
    version="v",
    users_control=14_685,
    users_treatment=14_702,
    lift_low=-0.13,
    lift_high=-0.034,
    means="bad",
)


def alert(**changes: Any) -> Alert:
    return msgspec.structs.replace(DROP, **changes)


def notice(pages: str = "https://ab.example.org", **changes: Any) -> Notice:
    return of_alert(alert(**changes), pages)
