"""Records of `partials` from plain cells, and back: for tests of whoever writes or merges them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtexp.core.cells import Cell, CellCounts, CellKey
from rtexp.core.sketches import RANK_BITS
from rtexp.records.partials import VERSION, Partials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rtexp.core.sketches import Entries


def to_ranks(entries: Entries) -> dict[int, int]:
    """Return a sketch's ranks by register."""
    return {e >> RANK_BITS: e & (1 << RANK_BITS) - 1 for e in entries.tolist()}


def to_record(
    cells: Mapping[CellKey, Cell],
    *,
    source: int = 0,
    sources: int = 1,
    lg_k: int = 10,
    watermark_ms: int = 0,
) -> Partials:
    """Return a record with these cells as deltas."""
    names = sorted({name for key in cells for name in (key.experiment, key.group, key.event)})
    values = list(cells.values())
    sketches = [sorted(r << RANK_BITS | rank for r, rank in cell.ranks.items()) for cell in values]

    def column(texts: Iterable[str]) -> bytes:
        return np.array([names.index(text) for text in texts], "<u4").tobytes()

    return Partials(
        version=VERSION,
        source=source,
        sources=sources,
        lg_k=lg_k,
        watermark_ms=watermark_ms,
        names=names,
        experiment=column(key.experiment for key in cells),
        group=column(key.group for key in cells),
        event=column(key.event for key in cells),
        period_start=np.array([key.period_start_ms for key in cells], "<i8").tobytes(),
        bucket=np.array([key.bucket_start_ms for key in cells], "<i8").tobytes(),
        counts=np.array([_counts(cell.counts) for cell in values], "<i8").tobytes(),
        sketch_sizes=np.array([len(sketch) for sketch in sketches], "<u4").tobytes(),
        sketches=np.array([entry for sketch in sketches for entry in sketch], "<u4").tobytes(),
    )


def from_record(record: Partials) -> list[tuple[CellKey, Cell]]:
    """Return the deltas of a record."""

    def column(indexes: bytes) -> list[str]:
        return [record.names[i] for i in np.frombuffer(indexes, "<u4").tolist()]

    ends = np.cumsum(np.frombuffer(record.sketch_sizes, "<u4"))
    sketches = np.split(np.frombuffer(record.sketches, "<u4"), ends[:-1]) if len(ends) else []
    keys = map(
        CellKey,
        column(record.experiment),
        np.frombuffer(record.period_start, "<i8").tolist(),
        column(record.group),
        column(record.event),
        np.frombuffer(record.bucket, "<i8").tolist(),
    )
    counts = np.frombuffer(record.counts, "<i8").reshape(-1, 5).tolist()
    return [
        (key, Cell(CellCounts(*count), to_ranks(sketch)))
        for key, count, sketch in zip(keys, counts, sketches, strict=True)
    ]


def _counts(counts: CellCounts) -> list[int]:
    return [getattr(counts, name) for name in CellCounts.__slots__]
