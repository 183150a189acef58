"""What was refused and what was left out, by reason, in words and numbers of the last hour and day."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rtexp.records.raw import REASONS
from rtexp.store.counts import CountRange, read_totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from rtexp.settings import Settings

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
WRITTEN_MS = 15_000
"""So long after its end a minute may still grow."""
COUNTS_FROM = "aggregate"
"""The job that counts each thing once, whatever was killed."""


class Reason(NamedTuple):
    """One reason of one kind of input, and how often it held."""

    kind: str
    code: str
    rule: str
    hour: int
    day: int


class Reasons(NamedTuple):
    """All that was read and not counted, and how much is read."""

    refused: Sequence[Reason]
    """Dead letters."""
    left_out: Sequence[Reason]
    read_per_second: Mapping[str, float]
    """By kind of input, over the newest whole minute; a kind of which that minute says nothing is absent."""


def read_reasons(connection: Connection, settings: Settings, *, now_ms: int) -> Reasons:
    """Return the counts up to now."""
    day = _totals(connection, CountRange(now_ms - 24 * HOUR_MS, now_ms, COUNTS_FROM))
    hour = _totals(connection, CountRange(now_ms - HOUR_MS, now_ms, COUNTS_FROM))
    rules = _rules(settings)
    found = [
        Reason(kind, code, rules.get(code, ""), hour.get(name, 0), count)
        for name, count in day.items()
        if count
        for kind, _, code in [name.partition("/")]
    ]
    refused = [reason for reason in found if reason.code in REASONS]
    left_out = [reason for reason in found if reason.code not in REASONS]
    return Reasons(
        sorted(refused, key=lambda reason: (REASONS.index(reason.code), reason.kind)),
        sorted(left_out, key=lambda reason: (_place(reason.code, rules), reason.kind)),
        _rates(connection, now_ms),
    )


def _rates(connection: Connection, now_ms: int) -> Mapping[str, float]:
    end_ms = (now_ms - WRITTEN_MS) // MINUTE_MS * MINUTE_MS
    totals = _totals(connection, CountRange(end_ms - MINUTE_MS, end_ms, "ingest"))
    return {
        kind: count / 60
        for name, count in totals.items()
        for kind, _, code in [name.partition("/")]
        if code == "read"
    }


def _totals(connection: Connection, wanted: CountRange) -> dict[str, int]:
    return {row.reason: row.counted for row in read_totals(connection, wanted)}


def _place(code: str, rules: Iterable[str]) -> int:
    known = list(rules)
    return known.index(code) if code in known else len(known)


def _rules(settings: Settings) -> Mapping[str, str]:
    pipeline = settings.pipeline
    grace = f"{pipeline.grace_minutes:g} minutes after its period's end"
    return {
        "untracked": "the event isn't in [actions] tracked",
        "unknown-experiment": "no experiment of this name is defined",
        "unknown-group": "the experiment has no group of this name",
        "outside-period": "the activation lies in no period of its experiment",
        "late-activation": f"it arrived more than {grace}",
        "late-action": "it arrived so long after it happened that no period of that time counts any more",
        "repeat": f"the same user, event and time had come before, within some {pipeline.dedup_minutes} minutes",
        "capped": f"beyond {settings.actions.cap_per_hour:,} actions of a user in an hour",
        "seen-offset": "ingest sent it twice, after a crash or a rebalance; it was counted once",
        "marker": "a marker of the watermark, no action or activation",
        "lost": "retention removed it before it was read: make the topic keep its records for longer",
    }
