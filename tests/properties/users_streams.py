"""Feeding the user state machine, plain or columnar, and reading its cells in one common form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtexp.core import sketches
from rtexp.core.users_plain import Action, Cell, CellKey, PlainUsers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtexp.core.deltas import CellDeltas
    from rtexp.core.users_columns import ColumnarUsers

Counts = dict[CellKey, tuple[list[int], list[int]]]
"""By cell: volume, actors, sum of squares, exposures, multiple exposures; and the sketch of its users."""


@dataclass(frozen=True)
class Step:
    """Rows of one input that are applied together, then what both watermarks are."""

    rows: Sequence[Any]
    actions_watermark_ms: int
    activations_watermark_ms: int


def apply_plain(users: PlainUsers, step: Step) -> None:
    for record in step.rows:
        if isinstance(record, Action):
            users.act(record)
        else:
            users.activate(record)
    users.advance(step.actions_watermark_ms, step.activations_watermark_ms)


def apply_columns(users: ColumnarUsers, step: Step) -> None:
    names = [record.user for record in step.rows]
    times = np.array([record.at_ms for record in step.rows], np.int64)
    arrivals = np.array([record.arrival_ms for record in step.rows], np.int64)
    if step.rows and isinstance(step.rows[0], Action):
        table = sorted({record.event for record in step.rows})
        events = np.array([table.index(record.event) for record in step.rows], np.int64)
        users.act(names, events, table, times, arrivals)
    elif step.rows:
        table = list({(r.experiment, r.group, r.period_start_ms): r for r in step.rows}.values())
        keys = [(r.experiment, r.group, r.period_start_ms) for r in table]
        kinds = np.array(
            [keys.index((r.experiment, r.group, r.period_start_ms)) for r in step.rows], np.int64
        )
        users.activate(names, kinds, table, times, arrivals)
    users.advance(step.actions_watermark_ms, step.activations_watermark_ms)


def counts_of(cells: dict[CellKey, Cell], lg_k: int) -> Counts:
    return {
        key: (
            [c.volume, c.actors, c.sum_squares, c.exposures, c.multiple_exposures],
            sketches.sparse(np.array([sketches.entry(u, lg_k) for u in c.users], np.uint32)).tolist(),
        )
        for key, c in cells.items()
    }


def counts_of_deltas(deltas: CellDeltas) -> Counts:
    names, ends = deltas.names, np.cumsum(deltas.sketch_sizes.astype(np.int64)).tolist()
    starts = [0, *ends]
    return {
        (
            names[deltas.experiment[i]],
            int(deltas.period_start[i]),
            names[deltas.group[i]],
            names[deltas.event[i]],
            int(deltas.bucket[i]),
        ): (deltas.counts[i].tolist(), deltas.sketches[starts[i] : ends[i]].tolist())
        for i in range(len(deltas))
    }


def add(total: Counts, part: Counts) -> None:
    for key, (counts, sketch) in part.items():
        before, seen = total.get(key, ([0] * 5, []))
        merged = sketches.union(np.array(seen, np.uint32), np.array(sketch, np.uint32)).tolist()
        total[key] = ([a + b for a, b in zip(before, counts, strict=True)], merged)
