"""What stands in a changelog besides pages: the incarnation, checkpoints and markers.

=================  ==================================================================================
key                value
=================  ==================================================================================
``incarnation``    random text, the partition's first record: tells this changelog from one that was
                   deleted and made again
``marker``         `Position` M: everything below these input offsets is in the outputs
``checkpoint``     `Position` S: what the pages before it, in the same transaction, stand for
``page:…``         a page of state; a tombstone: the page is gone
=================  ==================================================================================
"""

from __future__ import annotations

import msgspec

from rtexp.errors import StateError, UnsupportedVersion

VERSION = 1
INCARNATION = b"incarnation"
MARKER = b"marker"
CHECKPOINT = b"checkpoint"
PAGE = b"page:"


class Position(msgspec.Struct, array_like=True, frozen=True):
    """Next offset of every input, and under which rules the rows before it were counted."""

    version: int
    semantics: str
    offsets: dict[str, int]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Position).decode
_decode_version = msgspec.msgpack.Decoder(list[object]).decode


def encode_position(semantics: str, offsets: dict[str, int]) -> bytes:
    """Encode a marker's or a checkpoint's value."""
    return _encode(Position(VERSION, semantics, offsets))


def decode_position(topic: str, value: bytes) -> Position:
    """Decode a marker or checkpoint; UnsupportedVersion or StateError when it can't be trusted."""
    try:
        found = _decode_version(value)[0]
        if found != VERSION:
            raise UnsupportedVersion(topic, int(str(found)), VERSION)
        return _decode(value)
    except (msgspec.DecodeError, IndexError, ValueError) as exc:
        raise StateError(f"{topic} holds a damaged marker: {exc}") from exc
