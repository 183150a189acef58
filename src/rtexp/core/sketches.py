"""HyperLogLog: about how many distinct users, mergeable over buckets, segments and groups.

A user is one **entry**: a register's index and a rank, packed as ``index << 6 | rank``. A sketch is the sorted
entries with one per index, the greatest rank (**sparse**), or one byte a register (**dense**); both are equal in
meaning. Merging takes the greatest rank of every register: commutative, associative, idempotent, exact.

Estimates stand 1.04 / sqrt(2**lg_k) off (one standard error), with Ertl's estimator (arXiv:1702.01284), which
needs no tables of bias and no switch between ranges.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from rtexp.errors import StateError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Entries = NDArray[np.uint32]
    Registers = NDArray[np.uint8]

RANK_BITS = 6
_RANK = np.uint32((1 << RANK_BITS) - 1)
_HASH_BITS = 64

VERSION = 1
BLAKE2B_64 = 1
"""Id of the only hash so far: the first 8 bytes, big-endian, of BLAKE2b with an 8-byte digest."""
_SPARSE, _DENSE = 0, 1
_HEADER = 4
_CHECKSUM = 4
ENTRY_BYTES = 4


def entry(user: str, lg_k: int) -> int:
    """Return the entry of one user. The text is hashed as UTF-8, alike in every process and release.

    >>> divmod(entry("user-0", lg_k=12), 64)
    (702, 3)
    """
    digest = int.from_bytes(hashlib.blake2b(user.encode(), digest_size=8).digest())
    low_bits = _HASH_BITS - lg_k
    rank = low_bits - (digest & ((1 << low_bits) - 1)).bit_length() + 1
    return digest >> low_bits << RANK_BITS | rank


def no_entries() -> Entries:
    """Return the sketch of nobody."""
    return np.empty(0, np.uint32)


def sparse(entries: Entries) -> Entries:
    """Return entries in any order as a sketch: sorted, of each index only the greatest rank."""
    ordered = np.sort(entries)
    if ordered.size == 0:
        return ordered
    index = ordered >> RANK_BITS
    last_of_index = np.append(index[1:] != index[:-1], True)
    greatest: Entries = ordered[last_of_index]
    return greatest


def union(*sketches: Entries) -> Entries:
    """Return the sketch of everybody who is in one of these sketches (or lists of entries)."""
    return sparse(np.concatenate(sketches)) if sketches else no_entries()


def dense(entries: Entries, lg_k: int) -> Registers:
    """Return the 2**lg_k registers that a sketch stands for; 0 is a register that nobody hit.

    StateError if an index lies beyond them: then the sketch has another lg_k.
    """
    ordered = sparse(entries)
    if ordered.size and int(ordered[-1]) >> RANK_BITS >= 1 << lg_k:
        raise StateError(f"a sketch has registers beyond 2**{lg_k}: it was made with a greater lg_k")
    registers = np.zeros(1 << lg_k, np.uint8)
    registers[ordered >> RANK_BITS] = (ordered & _RANK).astype(np.uint8)
    return registers


def from_dense(registers: Registers) -> Entries:
    """Return registers as a sketch: the inverse of `dense`."""
    index = np.flatnonzero(registers).astype(np.uint32)
    return (index << RANK_BITS | registers[index]).astype(np.uint32)


def estimate(entries: Entries, lg_k: int) -> float:
    """Return about how many distinct users are in a sketch; 0.0 for nobody."""
    return estimate_dense(dense(entries, lg_k))


def estimate_dense(registers: Registers) -> float:
    """Return about how many distinct users are in a sketch of 2**lg_k registers.

    Source: Ertl, New cardinality estimation algorithms for HyperLogLog sketches (2017), algorithm 6.
    """
    size = len(registers)
    low_bits = _HASH_BITS - (size.bit_length() - 1)
    having = np.bincount(registers, minlength=low_bits + 2).tolist()
    if having[0] == size:
        return 0.0
    total = size * _tau(1 - having[low_bits + 1] / size)
    for rank in range(low_bits, 0, -1):
        total = (total + having[rank]) / 2
    total += size * _sigma(having[0] / size)
    return float(size * size / (2 * math.log(2) * total))


def _sigma(x: float) -> float:
    """Return x + sum of x**(2**j) * 2**(j-1) over j >= 1, for 0 <= x < 1."""
    total, weight = x, 1.0
    while True:
        x *= x
        before, total = total, total + x * weight
        weight += weight
        if total == before:
            return total


def _tau(x: float) -> float:
    """Return (1 - x - sum of (1 - x**(2**-j))**2 * 2**-j over j >= 1) / 3, for 0 <= x <= 1."""
    if x in (0.0, 1.0):
        return 0.0
    total, weight = 1 - x, 1.0
    while True:
        x = math.sqrt(x)
        weight /= 2
        before, total = total, total - (1 - x) ** 2 * weight
        if total == before:
            return total / 3


def to_bytes(entries: Entries, lg_k: int) -> bytes:
    """Return a sketch in its stored form: version, lg_k, hash, mode; entries or registers; CRC-32.

    The mode is the shorter of the two, so that equal sketches have equal bytes.
    """
    return sketch_to_bytes(sparse(entries), lg_k)


def sketch_to_bytes(sketch: Entries, lg_k: int) -> bytes:
    """Do the same for entries that are a sketch already, as `sparse` returns them: 1 us instead of 7."""
    if is_sparse(len(sketch), lg_k):
        return sparse_to_bytes(sketch.astype("<u4", copy=False).tobytes(), lg_k)
    return registers_to_bytes(dense(sketch, lg_k), lg_k)


def is_sparse(entries: int, lg_k: int) -> bool:
    """Tell whether so many entries are shorter than the registers."""
    return ENTRY_BYTES * entries < 1 << lg_k


def sparse_to_bytes(entries: bytes, lg_k: int) -> bytes:
    """Do the same for the entries of a sketch, little-endian, that are shorter than the registers."""
    return _framed(_SPARSE, entries, lg_k)


def registers_to_bytes(registers: Registers, lg_k: int) -> bytes:
    """Do the same for registers of which so many are hit that they are shorter than the entries."""
    return _framed(_DENSE, registers.tobytes(), lg_k)


@lru_cache(maxsize=8)
def _header(mode: int, lg_k: int) -> bytes:
    return bytes((VERSION, lg_k, BLAKE2B_64, mode))


def _framed(mode: int, body: bytes, lg_k: int) -> bytes:
    framed = _header(mode, lg_k) + body
    return framed + zlib.crc32(framed).to_bytes(_CHECKSUM)


def entries_in(stored: bytes) -> bytes:
    """Return the entries of a sketch that `sparse_to_bytes` made a moment ago, unchecked; little-endian."""
    return stored[_HEADER:-_CHECKSUM]


def from_bytes(stored: bytes, lg_k: int) -> Entries:
    """Return the sketch that `to_bytes` stored.

    StateError if it is damaged, of another version, or made with another lg_k or hash: those never merge.
    """
    mode, body = _unframed(stored, lg_k)
    if mode == _DENSE:
        return from_dense(np.frombuffer(body, np.uint8))
    return np.frombuffer(body, "<u4").astype(np.uint32)


def unite(registers: Registers, stored: bytes, lg_k: int) -> None:
    """Add to 2**lg_k registers, in place, what `to_bytes` stored; StateError as of `from_bytes`.

    The same as `union`, without sorting: hundreds of large sketches take 3 us each instead of 200.
    """
    mode, body = _unframed(stored, lg_k)
    if mode == _DENSE:
        np.maximum(registers, np.frombuffer(body, np.uint8), out=registers)
        return
    entries = np.frombuffer(body, "<u4")
    index = entries >> RANK_BITS
    if index.size and int(index[-1]) >= len(registers):
        raise StateError("a stored sketch is damaged: it has registers beyond its own lg_k")
    # A sketch has each index once, so an assignment by index loses nothing.
    registers[index] = np.maximum(registers[index], (entries & _RANK).astype(np.uint8))


def _unframed(stored: bytes, lg_k: int) -> tuple[int, bytes]:
    """Return mode and body of a stored sketch, whose length fits its mode."""
    framed, checksum = stored[:-_CHECKSUM], stored[-_CHECKSUM:]
    if len(framed) < _HEADER or zlib.crc32(framed).to_bytes(_CHECKSUM) != checksum:
        raise StateError("a stored sketch is damaged: its checksum disagrees")
    version, found_lg_k, hash_id, mode = framed[:_HEADER]
    if version != VERSION:
        raise StateError(f"a stored sketch has version {version}, this program knows {VERSION}")
    if (found_lg_k, hash_id) != (lg_k, BLAKE2B_64):
        raise StateError(
            f"a stored sketch has lg_k {found_lg_k} and hash {hash_id}, but lg_k {lg_k} and hash {BLAKE2B_64} "
            "are wanted: sketches merge only when both agree"
        )
    body = framed[_HEADER:]
    if (mode == _DENSE and len(body) == 1 << lg_k) or (mode == _SPARSE and len(body) % ENTRY_BYTES == 0):
        return mode, body
    raise StateError("a stored sketch is damaged: its length doesn't fit its mode")
