"""`filtered-actions` and `filtered-activations`: what ingest hands to aggregate, in columns.

One record goes to one target partition and carries a segment per source partition (a partition of the raw
topic). Segments of a source partition are contiguous in each target partition: whoever has seen
``next_offset = n`` there has seen every row below n. That is how repeats and zombies are dropped.
"""

from __future__ import annotations

import msgspec

from rtexp.records.wire import columns_decoder

VERSION = 1


class Segment(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Raw offsets ``first_offset <= o < next_offset`` of one source partition, as far as they concern the target.

    Columns are little-endian numpy arrays as bytes; row i has ``users[i]``, ``offsets[i]``, ...
    """

    source: int
    first_offset: int
    next_offset: int
    log_start: int
    """The source's oldest offset still kept when it was read: a gap below it was made by retention."""
    watermark_ms: int
    """Every raw record of this source that arrived before this time lies below ``next_offset``."""
    offsets: bytes
    """uint32, ascending: raw offset of each row less ``first_offset``."""
    users: list[str]
    index: bytes
    """uint32: into the record's ``events``, or ``kinds``."""
    times: bytes
    """int64: event time, epoch ms."""
    arrivals: bytes
    """int64: arrival, epoch ms."""
    dropped_offsets: bytes
    """uint32: raw offset less ``first_offset`` of each record that was dropped or refused. Only the target
    partition ``source % partitions`` is told, so that each counts once."""
    dropped_reasons: bytes
    """uint8: into the record's ``reasons``."""


class FilteredActions(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Tracked actions of the users of one target partition; `index` points into ``events``."""

    version: int
    sources: int
    """How many partitions the raw topic has: a reader waits for all of them."""
    events: list[str]
    reasons: list[str]
    segments: list[Segment]


class Kind(msgspec.Struct, array_like=True, frozen=True):
    """What rows of activations have in common: the group, and the period in which it is measured."""

    experiment: str
    group: str
    period_start_ms: int
    period_end_ms: int
    ramped_ms: int
    """The group's own last ramp at or before the activation; the period's start where it has none."""


class FilteredActivations(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Accepted activations of the users of one target partition; `index` points into ``kinds``."""

    version: int
    sources: int
    kinds: list[Kind]
    reasons: list[str]
    segments: list[Segment]


encode = msgspec.msgpack.Encoder().encode
decode_actions = columns_decoder("filtered-actions", VERSION, FilteredActions)
decode_activations = columns_decoder("filtered-activations", VERSION, FilteredActivations)
