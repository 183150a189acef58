"""How a page of state is framed: layout version, checksum, MessagePack body. Refused rather than misread."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from rtexp.errors import StateError

if TYPE_CHECKING:
    from typing import Any

T = TypeVar("T")

_HEAD = struct.Struct(">BI")  # layout version, crc32 of the body


class PageLayout(Generic[T]):
    """Encodes and decodes the bodies of one kind of page.

    ``kind`` is anything that msgspec can decode into; large columns are best numpy arrays as bytes.
    """

    def __init__(self, table: str, version: int, kind: type[T] | Any) -> None:
        self._table = table
        self._version = version
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def encode(self, body: T) -> bytes:
        """Return the framed body; equal bodies, with maps in equal order, give equal bytes."""
        packed = self._encode(body)
        return _HEAD.pack(self._version, zlib.crc32(packed)) + packed

    def decode(self, key: bytes, value: bytes) -> T:
        """Return the body; StateError, which names the page, when it is damaged or of another layout."""
        page = f"page {key.decode(errors='backslashreplace')} of the {self._table} table"
        if len(value) < _HEAD.size:
            raise StateError(f"{page} is cut short: {_REPLAY}")
        version, checksum = _HEAD.unpack_from(value)
        if version != self._version:
            raise StateError(
                f"{page} has layout {version}, this worker reads {self._version}: "
                "run the version of rtexp that wrote it, or begin with a new prefix"
            )
        packed = memoryview(value)[_HEAD.size :]
        if zlib.crc32(packed) != checksum:
            raise StateError(f"{page} is damaged (its checksum differs): {_REPLAY}")
        try:
            body: T = self._decode(packed)
        except msgspec.DecodeError as exc:
            raise StateError(f"{page} can't be decoded: {exc}") from exc
        return body


_REPLAY = "remove the worker's data directory, so that its state is read again from the changelog"
