"""An experiment that is defined while nobody can read definitions, and what its users do meanwhile."""

from __future__ import annotations

import json

from rtexp.local.raw_records import RawRecord
from rtexp.records.snapshot import Allocation
from rtexp.store.definitions import Experiment

LATE_COMER = "late-comer"
USERS = 50
HOUR_MS = 3_600_000
GROUPS = ("control", "treatment")


def experiment(now_ms: int) -> Experiment:
    """Its period has ended half an hour ago, and what is late still counts: so all of its looks are over."""
    ramped_ms = now_ms - 72 * HOUR_MS - HOUR_MS // 2
    return Experiment(
        LATE_COMER, "control", GROUPS, tuple(Allocation(name, 50.0, ramped_ms) for name in GROUPS)
    )


def records(now_ms: int) -> list[RawRecord]:
    """Each user's activation and an action, that happened within the period and arrive now."""
    at_ms = now_ms - HOUR_MS
    found = []
    for n in range(USERS):
        user = {"user_id": f"late-{n}"}
        activation = {**user, "experiment": LATE_COMER, "group": GROUPS[n % 2], "ts": at_ms}
        action = {**user, "event": "search", "ts": at_ms + 1000}
        key = user["user_id"].encode()
        found.append(RawRecord(now_ms, "activations", key, json.dumps(activation).encode()))
        found.append(RawRecord(now_ms, "actions", key, json.dumps(action).encode()))
    return found
