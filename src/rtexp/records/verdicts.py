"""`results` and `alerts`: the newest look of every comparison, and what people must be told. JSON for any reader."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rtexp.statistics.evaluation import Edge
    from rtexp.statistics.looks import LookRecord

RESULT_VERSION = 1
ALERT_VERSION = 1

_encode = msgspec.json.Encoder().encode


class Alert(msgspec.Struct, frozen=True):
    """Something has become true of a period; told once."""

    alert_version: int
    id: str
    """The same for the same fact: a receiver may use it to recognise repeats."""
    kind: str
    """``significant_gain``, ``significant_drop``, ``guardrail``, or ``srm``: users aren't split as planned."""
    experiment: str
    period_start_ms: int
    look: int
    scheduled_ms: int
    evaluated_ms: int
    group: str | None
    """The treatment, as are event and metric None where the alert is about the whole period."""
    event: str | None
    metric: str | None
    effect: float | None
    interval_low: float | None
    interval_high: float | None
    lift: float | None
    p_always_valid: float | None
    srm_p: float
    """The lesser of both: over all triggers, and over users' first ones."""
    plan_hash: str
    version: str


def result_key(record: LookRecord) -> bytes:
    """Return the key of a comparison: a JSON array of experiment, period, event, treatment, metric and role."""
    return _encode(
        [
            record.experiment,
            record.period_start_ms,
            record.event,
            record.group_name,
            record.metric,
            record.role,
        ]
    )


def encode_result(record: LookRecord) -> bytes:
    """Return a look as JSON: the columns of ``looks``, and the version of the record."""
    return _encode({"result_version": RESULT_VERSION, **msgspec.structs.asdict(record)})


def encode_alert(edge: Edge) -> bytes:
    """Return an alert as JSON."""
    record = edge.record
    is_one = edge.kind != "srm"  # that one is about the whole period
    about = [record.group_name, record.event, record.metric] if is_one else []
    identity = _encode([edge.kind, record.experiment, record.period_start_ms, *about])
    return _encode(
        Alert(
            alert_version=ALERT_VERSION,
            id=hashlib.blake2b(identity, digest_size=16).hexdigest(),
            kind=edge.kind,
            experiment=record.experiment,
            period_start_ms=record.period_start_ms,
            look=record.look,
            scheduled_ms=record.scheduled_ms,
            evaluated_ms=record.evaluated_ms,
            group=record.group_name if is_one else None,
            event=record.event if is_one else None,
            metric=record.metric if is_one else None,
            effect=record.effect if is_one else None,
            interval_low=record.interval_low if is_one else None,
            interval_high=record.interval_high if is_one else None,
            lift=record.lift if is_one else None,
            p_always_valid=record.p_always_valid if is_one else None,
            srm_p=min(record.srm_p, record.srm_first_p),
            plan_hash=record.plan_hash,
            version=record.version,
        )
    )
