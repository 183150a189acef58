"""Raw values under the default field names: good ones from their meaning, and bad ones for every reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtexp.local.raw_records import Kind
    from rtexp.local.truth import Action, Activation, Rules

EARLIEST_MS = 946_684_800_000  # 2000-01-01T00:00Z

Fields = dict[str, Any]

_json = msgspec.json.Encoder().encode


def encode(meaning: Action | Activation, *, as_integer: bool = False) -> bytes:
    """Return the JSON of an action or activation; ``as_integer`` gives the user as a JSON integer."""
    return _json(fields_of(meaning, as_integer=as_integer))


def fields_of(meaning: Action | Activation, *, as_integer: bool = False) -> Fields:
    """Return the JSON object of an action or activation, field by field."""
    user = int(meaning.user) if as_integer else meaning.user
    if len(meaning) == 3:  # noqa: PLR2004 - the three of an action
        return {"user_id": user, "event": meaning.event, "ts": meaning.at_ms}
    return {"user_id": user, "experiment": meaning.experiment, "group": meaning.group, "ts": meaning.at_ms}


def _name_of(fields: Fields) -> str:
    """Return the text field that an action and an activation don't share."""
    return "event" if "event" in fields else "group"


def _too_late(fields: Fields, arrival_ms: int, rules: Rules) -> bytes:
    return _json(fields | {"ts": arrival_ms + rules.max_ahead_ms + 1})


BAD: tuple[tuple[str, str, Callable[[Fields, int, Rules], bytes | None]], ...] = (
    ("null-value", "a null value under a key", lambda _fields, _at, _rules: None),
    (
        "too-large",
        "a message of more bytes than allowed",
        lambda fields, _at, rules: _json(fields | {"pad": "x" * rules.max_message_bytes}),
    ),
    ("invalid-json", "no bytes at all", lambda _fields, _at, _rules: b""),
    ("invalid-json", "an object cut short", lambda fields, _at, _rules: _json(fields)[:-1]),
    (
        "invalid-json",
        "no UTF-8",
        lambda fields, _at, _rules: _json(fields).replace(b'"user_id":', b'"user_id":"\xff",'),
    ),
    (
        "invalid-json",
        "NaN for a time",
        lambda fields, _at, _rules: _json(fields | {"ts": 0}).replace(b":0}", b":NaN}"),
    ),
    ("wrong-type", "a list", lambda fields, _at, _rules: _json([fields])),
    (
        "wrong-type",
        "a time with a fraction",
        lambda fields, _at, _rules: _json(fields | {"ts": fields["ts"] + 0.5}),
    ),
    ("wrong-type", "a time as text", lambda fields, _at, _rules: _json(fields | {"ts": str(fields["ts"])})),
    ("wrong-type", "no user but null", lambda fields, _at, _rules: _json(fields | {"user_id": None})),
    ("wrong-type", "a user that is true", lambda fields, _at, _rules: _json(fields | {"user_id": True})),
    (
        "missing-field",
        "no time",
        lambda fields, _at, _rules: _json({k: v for k, v in fields.items() if k != "ts"}),
    ),
    ("empty-field", "an empty user", lambda fields, _at, _rules: _json(fields | {"user_id": ""})),
    ("empty-field", "an empty name", lambda fields, _at, _rules: _json(fields | {_name_of(fields): ""})),
    (
        "too-large",
        "a user of 257 bytes",
        lambda fields, _at, _rules: _json(fields | {"user_id": "ü" * 128 + "x"}),
    ),
    (
        "too-large",
        "a name of 129 bytes",
        lambda fields, _at, _rules: _json(fields | {_name_of(fields): "x" * 129}),
    ),
    (
        "time-out-of-range",
        "just before the year 2000",
        lambda fields, _at, _rules: _json(fields | {"ts": EARLIEST_MS - 1}),
    ),
    ("time-out-of-range", "too far ahead of its arrival", _too_late),
)  # fmt: skip - a table
"""(reason, what it is, how to make it of a good one's fields, its arrival and the rules)."""


def fields_for(kind: Kind, user: str, at_ms: int) -> Fields:
    """Return the fields of a good record of that kind, to be spoilt."""
    name: Fields = (
        {"event": "search"} if kind == "actions" else {"experiment": "new-icon", "group": "control"}
    )
    return {"user_id": user, **name, "ts": at_ms}
