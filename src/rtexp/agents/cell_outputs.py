"""Deltas of cells as records of `partials`: who gets which, how large, and under which watermark."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from rtexp.engine.api import Output
from rtexp.records import partials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rtexp.core.deltas import CellDeltas

RECORD_BYTES = 800_000
"""A record is cut when it has grown to this; brokers refuse more than a million bytes or so."""

_CELL_BYTES = 3 * 4 + 2 * 8 + 5 * 8 + 4  # three names, two times, the counts, the size of the sketch
_NAME_HEADER = 3  # of a MessagePack string below 64 KB


class CellOutputs:
    """Turns deltas into outputs of one source, and tells every partition of the topic how far it is."""

    def __init__(self, topic: str, *, source: int, sources: int, lg_k: int, sent_ms: int = 0) -> None:
        self._topic = topic
        self._source = source
        self._sources = sources
        self._lg_k = lg_k
        self._sent_ms = sent_ms
        """The watermark that every partition has been told."""

    def outputs(self, deltas: CellDeltas, watermark_ms: int) -> list[Output]:
        """Return what has to be sent after these deltas; nothing without deltas and progress."""
        partitions = np.array([partition_of(name) for name in deltas.names], np.int64)[deltas.experiment]
        made: list[Output] = []
        for partition in range(partials.PARTITIONS):
            parts = list(_cut(deltas.select(partitions == partition)))
            if not parts and watermark_ms > self._sent_ms:
                parts = [deltas.select(np.zeros(len(deltas), np.bool_))]
            # The watermark speaks of all these cells: it may come with the last of them, not before.
            known_ms = [self._sent_ms] * (len(parts) - 1) + [watermark_ms]
            made += [
                Output(self._topic, partition, partials.encode(self._record(part, ms)))
                for part, ms in zip(parts, known_ms, strict=False)
            ]
        self._sent_ms = watermark_ms
        return made

    def _record(self, cells: CellDeltas, watermark_ms: int) -> partials.Partials:
        used, renamed = np.unique(
            np.concatenate((cells.experiment, cells.group, cells.event)), return_inverse=True
        )
        experiment, group, event = renamed.astype("<u4").reshape(3, len(cells))
        return partials.Partials(
            version=partials.VERSION,
            source=self._source,
            sources=self._sources,
            lg_k=self._lg_k,
            watermark_ms=watermark_ms,
            names=[cells.names[i] for i in used.tolist()],
            experiment=experiment.tobytes(),
            group=group.tobytes(),
            event=event.tobytes(),
            period_start=cells.period_start.astype("<i8").tobytes(),
            bucket=cells.bucket.astype("<i8").tobytes(),
            counts=cells.counts.astype("<i8").tobytes(),
            sketch_sizes=cells.sketch_sizes.astype("<u4").tobytes(),
            sketches=cells.sketches.astype("<u4").tobytes(),
        )


def partition_of(experiment: str) -> int:
    """Return the partition of `partials` in which all cells of an experiment are merged."""
    return zlib.crc32(experiment.encode()) % partials.PARTITIONS


def _cut(deltas: CellDeltas) -> Iterator[CellDeltas]:
    """Cut deltas into parts that fit a record, with names counted as if no two cells shared any."""
    name_bytes = np.array([len(name.encode()) + _NAME_HEADER for name in deltas.names], np.int64)
    names = name_bytes[deltas.experiment] + name_bytes[deltas.group] + name_bytes[deltas.event]
    upto = np.cumsum(names + 4 * deltas.sketch_sizes.astype(np.int64) + _CELL_BYTES)
    part_of = upto // RECORD_BYTES
    for part in np.unique(part_of):
        yield deltas.select(part_of == part)
