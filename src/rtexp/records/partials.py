"""`partials`: deltas of cells since a partition's last flush, and how far that partition has counted.

One record goes to one partition of the topic: that of its experiments, ``crc32(experiment) % partitions``.
It carries several experiments, so that a flush costs one record a partition however many experiments run.
"""

from __future__ import annotations

import msgspec

from rtexp.records.wire import columns_decoder

VERSION = 1
PARTITIONS = 8


class Partials(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Deltas in columns (little-endian numpy arrays as bytes): cell i has ``experiment[i]``, ``bucket[i]``, ..."""

    version: int
    source: int
    """The partition of the users table that counted."""
    sources: int
    """How many such partitions there are: the watermark of all is the least of theirs."""
    lg_k: int
    """Of the sketches; those of another size can't be merged with them."""
    watermark_ms: int
    """Actions that arrived before this time have been counted by ``source``; 0 before the first."""
    names: list[str]
    """Experiments, groups and events, as the index columns name them; an event of "" means exposures."""
    experiment: bytes
    """uint32 into ``names``, as are ``group`` and ``event``."""
    group: bytes
    event: bytes
    period_start: bytes
    """int64, epoch ms, as is ``bucket``."""
    bucket: bytes
    counts: bytes
    """int64, shape (cells, 5): volume, actors, sum of squares, exposures, multiple exposures."""
    sketch_sizes: bytes
    """uint32: how many entries of ``sketches`` belong to the cell."""
    sketches: bytes
    """uint32: sketch entries of every cell, one after the other (rtexp.core.sketches)."""


encode = msgspec.msgpack.Encoder().encode
decode = columns_decoder("partials", VERSION, Partials)
