"""A seeded stream of raw records, a tenth of it bad, in every way that the contract names; and what becomes of each.

What is bad is so by construction, one kind after the other, so that nothing here judges by the code under test.
Every user of a good action is triggered before, in one group of one experiment: what is kept is counted once.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Literal, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Kind = Literal["actions", "activations"]

MAX_MESSAGE_BYTES = 65_536
LARGE_BYTES = 10_000_000
EARLIEST_MS = 946_684_800_000
AHEAD_MS = 300_000
STEP_MS = 2_000
"""Between the arrivals of two records."""
SHARE_OF_BAD = 0.1
SHARE_OF_ACTIVATIONS = 0.1
SHARE_OF_TRACKED = 0.95
SHARE_OF_ODD = 0.02

QUOTES = 'it\'s "quoted" `x` \\ %s %(x)s ;--'
NUL = "\x00nul\x00"
FOUR_BYTES = "\U0001f600\U0010ffff\U00020000"
FULL = FOUR_BYTES[0] * 32  # as long as a name may be
ODD = (QUOTES, NUL, FOUR_BYTES, FULL, "=1+1", "\u202eright\u2028\x9b", "a/../b?c#d")
PLAIN_EVENT, PLAIN_EXPERIMENT, PLAIN_GROUP = "search", "plain", "treatment"
EVENTS = (PLAIN_EVENT, *ODD)
EXPERIMENTS: Mapping[str, tuple[str, ...]] = {
    PLAIN_EXPERIMENT: ("control", PLAIN_GROUP),
    **{name: ("control", name) for name in ODD},
}


class Sent(NamedTuple):
    """A record to send, and what becomes of it."""

    kind: Kind
    partition: int
    arrival_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    reason: str | None
    """Why it is bad input; None if it isn't."""


class _Bad(NamedTuple):
    reason: str
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class _Shape:
    """The fields of one kind of record."""

    kind: Kind
    names: tuple[str, ...]

    def good(self, user: object, at_ms: object, names: tuple[str, ...] = (), **more: object) -> bytes:
        texts = (
            names or (PLAIN_EVENT,) if self.kind == "actions" else names or (PLAIN_EXPERIMENT, PLAIN_GROUP)
        )
        known = int(user) if isinstance(user, str) and user.isdecimal() else user
        fields = {"user_id": known, **dict(zip(self.names, texts, strict=True)), "ts": at_ms, **more}
        return json.dumps(fields, ensure_ascii=len(str(user)) % 2 == 0).encode()

    def with_raw(self, field: str, raw: bytes, at_ms: int) -> bytes:
        """A good record but for one field, whose JSON is given."""
        fields = json.loads(self.good("u", at_ms)) | {field: "@"}
        return json.dumps(fields).encode().replace(b'"@"', raw)

    def without(self, field: str, at_ms: int) -> bytes:
        fields = json.loads(self.good("u", at_ms))
        del fields[field]
        return json.dumps(fields).encode()


SHAPES: tuple[_Shape, _Shape] = (
    _Shape("activations", ("experiment", "group")),
    _Shape("actions", ("event",)),
)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def padded(value: bytes, size: int) -> bytes:
    return value + b" " * (size - len(value))


def ways_to_be_bad(shape: _Shape, at: int, rng: random.Random) -> Iterator[_Bad]:
    """Yield bad records of every reason; ``at`` is the arrival."""
    good = shape.good("u", at)
    yield _Bad("null-value", None)
    yield _Bad("null-value", None, (("rtexp-watermark", b"soon"),))
    yield _Bad("null-value", None, (("rtexp-watermark", b"%d" % at),))  # not with a key, which it gets
    yield _Bad("too-large", padded(good, MAX_MESSAGE_BYTES + 1))
    yield _Bad("too-large", b"\x00" * (MAX_MESSAGE_BYTES + 1))
    yield _Bad("too-large", good[:-1] + b',"x":' + nested(100_000) + b"}")
    noise = bytes(rng.randrange(256) for _ in range(40))
    for value in (
        b"", b" \n", b"\xff" + noise, good[:-1], good + b"}", good + good, b"\xef\xbb\xbf" + good,
        good.decode().encode("utf-16"), good.replace(b'"', b"'"), good[:-1] + b",}",
        good[:-1] + b',"x":NaN}', good[:-1] + b',"x":-Infinity}', good[:-1] + b',"x":01}',
        good[:-1] + b',"x":' + nested(1_000)[:-1] + b"}", b"[" * 6_000, b"[1, NaN]",
        b'{"x":"\xed\xa0\x80"}', b'{"x":"a\nb"}',
    ):  # fmt: skip
        yield _Bad("invalid-json", value)
    for field in ("user_id", *shape.names):
        for raw in (rb'"\ud800"', rb'"x\udfff"', b'"\xff"', b'"a\x00b"', b"NaN"):
            yield _Bad("invalid-json", shape.with_raw(field, raw, at))
        for raw in (b"null", b"true", b"1.5", b"1e3", b"[]", b'{"a":1}', nested(1_000)):
            yield _Bad("wrong-type", shape.with_raw(field, raw, at))
        yield _Bad("missing-field", shape.without(field, at))
        yield _Bad("empty-field", shape.with_raw(field, b'""', at))
        most = 256 if field == "user_id" else 128
        for text in ("x" * (most + 1), "\u00e9" * (most // 2) + "x", FOUR_BYTES[0] * (most // 4) + "x"):
            yield _Bad("too-large", shape.with_raw(field, json.dumps(text).encode(), at))
    for raw in (b"7", b"-1"):
        yield _Bad("wrong-type", shape.with_raw(shape.names[0], raw, at))
    for raw in (b'"1700000000000"', b"null", b"false", b"1700000000000.0", b"17e11", b"1e999", b"[0]"):
        yield _Bad("wrong-type", shape.with_raw("ts", raw, at))
    yield _Bad("missing-field", shape.without("ts", at))
    for value in (b"[]", b'"text"', b"7", b"null", nested(1_000)):
        yield _Bad("wrong-type", value)
    yield _Bad("missing-field", b"{}")
    # Of two reasons the first.
    yield _Bad("wrong-type", b'{"ts":"x"}')
    yield _Bad("empty-field", shape.with_raw("user_id", b'""', 0))
    yield _Bad("too-large", shape.with_raw("user_id", b"9" * 257, 0))
    yield _Bad("too-large", shape.with_raw("user_id", b"9" * 5_000, at))
    for time in (EARLIEST_MS - 1, at + AHEAD_MS + 1, 0, -1, -(2**63), 2**63, 10**30):
        yield _Bad("time-out-of-range", shape.good("u", time))
    yield _Bad("time-out-of-range", shape.with_raw("ts", b"7" * 5_000, at))


def odd_but_good(shape: _Shape, user: str, at: int, names: tuple[str, ...]) -> Iterator[bytes]:
    """Yield records that look bad and aren't."""
    good = shape.good(user, at, names)
    yield padded(good, MAX_MESSAGE_BYTES)
    for levels in (900, 1_000, 3_000):  # more take the oracle minutes
        yield good[:-1] + b',"x":' + nested(levels) + b"}"
    yield good[:-1] + rb',"x":"\ud800"}'
    yield b'{"user_id":null,"ts":"x",' + good[1:]
    yield b" \n" + good + b"\t"
    if shape.kind == "actions":  # a trigger of later on would count none of the actions before it
        yield shape.good(user, at + AHEAD_MS, names)
    yield shape.good(user, at, names, more=QUOTES + NUL + FOUR_BYTES)


def partition_of(user: str, partitions: int) -> int:
    return crc32(user.encode()) % partitions


def stream(records: int, *, partitions: int, start_ms: int, seed: int) -> Iterator[Sent]:
    """Yield so many records in order of arrival, the first at ``start_ms``; a few of them are very large."""
    rng = random.Random(seed)
    users: list[str] = []
    places = cycle([(name, group) for name, groups in EXPERIMENTS.items() for group in groups])
    turns: dict[Kind, int] = {"activations": 0, "actions": 0}
    large = {
        records // 5: 900_000,
        records // 4: 900_001,
        records // 3: LARGE_BYTES,
        records // 2: LARGE_BYTES,
    }
    for number in range(records):
        at = start_ms + number * STEP_MS
        shape = SHAPES[rng.random() >= SHARE_OF_ACTIVATIONS]
        if (size := large.get(number)) or rng.random() < SHARE_OF_BAD:
            bad = _nth_bad(shape, at, rng, turns)
            if size:
                bad = _Bad("too-large", padded(shape.good("u", at), size))
            partition = rng.randrange(partitions)
            yield Sent(shape.kind, partition, at, b"key", bad.value, bad.headers, bad.reason)
            continue
        texts: tuple[str, ...]
        if shape.kind == "activations" or not users:
            shape, texts = SHAPES[0], next(places)
            user = _user(len(users))
            users.append(user)
        else:
            user = rng.choice(users)
            texts = (rng.choice(EVENTS) if rng.random() < SHARE_OF_TRACKED else "untracked",)
        value = shape.good(user, at, texts)
        if rng.random() < SHARE_OF_ODD:
            value = rng.choice(list(odd_but_good(shape, user, at, texts)))
        yield Sent(shape.kind, partition_of(user, partitions), at, user.encode(), value, (), None)


def _nth_bad(shape: _Shape, at: int, rng: random.Random, turns: dict[Kind, int]) -> _Bad:
    """Return the next way to be bad, made for the moment at which it is sent."""
    every = list(ways_to_be_bad(shape, at, rng))
    turns[shape.kind] += 1
    return every[turns[shape.kind] % len(every)]


def _user(number: int) -> str:
    return (f"u{number}", str(number), f"{ODD[number % len(ODD)]}{number}")[number % 3]
