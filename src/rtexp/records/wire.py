"""What all records on the wire share: a version first, and a refusal to misread a newer one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from rtexp.errors import StateError, UnsupportedVersion

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def columns_decoder(topic: str, version: int, kind: type[T]) -> Callable[[bytes], T]:
    """Return a decoder of one topic's MessagePack records; ``kind`` is an array-like Struct, version first.

    The decoder raises UnsupportedVersion for any other version, and StateError for bytes that are no such record.
    """
    decode = msgspec.msgpack.Decoder(kind).decode

    def decode_record(value: bytes) -> T:
        # An array of up to 15 fields takes one byte for its length, a version below 128 the next: so the
        # version can be read before the layout that it decides.
        if len(value) < 2 or not 0x90 <= value[0] <= 0x9F or value[1] > 0x7F:  # noqa: PLR2004 - MessagePack's
            raise StateError(f"{topic} holds a record that rtexp didn't write")
        if value[1] != version:
            raise UnsupportedVersion(topic, value[1], version)
        try:
            return decode(value)
        except msgspec.DecodeError as exc:
            raise StateError(f"{topic} holds a damaged record: {exc}") from exc

    return decode_record


def json_decoder(topic: str, version: int, kind: type[T]) -> Callable[[bytes], T]:
    """Return a decoder of one topic's JSON records; each is an object with an integer ``version``.

    Raises like `columns_decoder`.
    """
    decode = msgspec.json.Decoder(kind).decode
    peek = msgspec.json.Decoder(_Versioned).decode

    def decode_record(value: bytes) -> T:
        try:
            found = peek(value).version
            if found != version:
                raise UnsupportedVersion(topic, found, version)
            return decode(value)
        except msgspec.DecodeError as exc:
            raise StateError(f"{topic} holds a damaged record: {exc}") from exc

    return decode_record


class _Versioned(msgspec.Struct):
    version: int
