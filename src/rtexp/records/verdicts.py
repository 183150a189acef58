"""`results` and `alerts`: the newest look of every comparison, and what people must be told. JSON for any reader."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import msgspec

from rtexp.errors import StateError, UnsupportedVersion

if TYPE_CHECKING:
    from rtexp.statistics.evaluation import Edge
    from rtexp.statistics.looks import LookRecord
    from rtexp.statistics.plans import Plan

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
    users_control: int | None = None
    """At this look, as are those of the treatment; the alerts of before have none of what follows."""
    users_treatment: int | None = None
    lift_low: float | None = None
    lift_high: float | None = None
    means: Literal["good", "bad"] | None = None
    """What the change means by the direction that the plan declares; None where it declares none."""


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


def encode_alert(edge: Edge, plan: Plan) -> bytes:
    """Return an alert as JSON; ``plan`` is that of its period."""
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
            users_control=record.n_control if is_one else None,
            users_treatment=record.n_treatment if is_one else None,
            lift_low=record.lift_low if is_one else None,
            lift_high=record.lift_high if is_one else None,
            means=_meaning(edge, plan),
        )
    )


def _meaning(edge: Edge, plan: Plan) -> Literal["good", "bad"] | None:
    if edge.kind == "guardrail":
        return "bad"
    direction = {"significant_gain": "up", "significant_drop": "down"}.get(edge.kind)
    welcome = plan.good.get(edge.record.event)
    if direction is None or welcome is None:
        return None
    return "good" if direction == welcome else "bad"


class _Versioned(msgspec.Struct):
    alert_version: int


_decode = msgspec.json.Decoder(Alert).decode
_decode_version = msgspec.json.Decoder(_Versioned).decode


def decode_alert(value: bytes) -> Alert:
    """Return what `encode_alert` wrote, in this version or one before.

    UnsupportedVersion for that of a newer one, StateError for bytes that are no alert.
    """
    try:
        found = _decode_version(value).alert_version
        if found != ALERT_VERSION:
            raise UnsupportedVersion("alerts", found, ALERT_VERSION)
        return _decode(value)
    except msgspec.DecodeError as exc:
        raise StateError(f"alerts holds a damaged record: {exc}") from exc
