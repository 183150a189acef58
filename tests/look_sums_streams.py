"""Streams of `partials` for tests of looks: plain deltas as records, and frozen sums as plain dictionaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tests.oracle.look_sums import Delta, Frozen, LookTime, Record
from tests.plain_partials import to_record

from rtexp.core.cells import Cell, CellCounts, CellKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtexp.records.partials import Partials
    from rtexp.statistics.looks import FrozenSums
    from rtexp.tables.look_sums import LookSums


def partials_of(record: Record, *, sources: int) -> Partials:
    cells = {CellKey(*delta[:5]): Cell(CellCounts(*delta.counts), {}) for delta in record.deltas}
    assert len(cells) == len(record.deltas), "a record has each cell once"
    return to_record(cells, source=record.source, sources=sources, watermark_ms=record.watermark_ms)


def plain(frozen: FrozenSums) -> Frozen:
    totals = np.frombuffer(frozen.totals, "<i8").reshape(-1, 5).tolist()
    series = list(zip(frozen.groups, frozen.events, strict=True))
    assert len(set(series)) == len(series)
    where = list(zip(frozen.exposure_buckets, frozen.exposure_groups, strict=True))
    assert where == sorted(set(where))
    return Frozen(
        dict(zip(series, map(tuple, totals), strict=True)),
        dict(zip(where, zip(frozen.exposures, frozen.multiple, strict=True), strict=True)),
    )


def waiting(sums: LookSums) -> dict[LookTime, Frozen]:
    return {
        (frozen.experiment, frozen.period_start_ms, frozen.at_ms): plain(frozen)
        for frozen in all_frozen(sums.frozen.values())
    }


def all_frozen(by_period: Iterable[list[FrozenSums]]) -> list[FrozenSums]:
    return [frozen for waiting in by_period for frozen in waiting]


def exposed(experiment: str, period_start_ms: int, group: str, bucket_ms: int, users: int = 1) -> Delta:
    return Delta(experiment, period_start_ms, group, "", bucket_ms, (0, 0, 0, users, 0))


def clicked(experiment: str, period_start_ms: int, group: str, bucket_ms: int, times: int = 1) -> Delta:
    return Delta(experiment, period_start_ms, group, "click", bucket_ms, (times, 1, times * times, 0, 0))
