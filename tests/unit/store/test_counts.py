"""Sums of counters over partitions, ranges and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtexp.store.counts import CountRange, CountRow, read_minutes, read_totals
from rtexp.store.engine import reading, writing
from rtexp.store.operations import CounterRow, upsert_counters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

MINUTE_MS = 60_000
ALL = CountRange(0, 1 << 53)


def write(engine: Engine) -> None:
    rows = [
        CounterRow(job, partition, reason, minute * MINUTE_MS, 10**minute, 1)
        for job in ("aggregate", "ingest")
        for partition in (0, 1)
        for reason in ("actions/repeat", "actions/Repeat", "activations/marker")
        for minute in (1, 2, 3)
    ]
    with writing(engine) as connection:
        upsert_counters(connection, rows)


def totals(engine: Engine, wanted: CountRange) -> Sequence[CountRow]:
    with reading(engine) as connection:
        return read_totals(connection, wanted)


def test_totals_are_sums_over_partitions_and_minutes_of_reasons_byte_for_byte(engine: Engine) -> None:
    write(engine)
    assert totals(engine, ALL) == [
        CountRow(job, reason, None, 2220)
        for job in ("aggregate", "ingest")
        for reason in ("actions/Repeat", "actions/repeat", "activations/marker")
    ]
    assert all(type(row.counted) is int for row in totals(engine, ALL))


def test_a_range_is_half_open_and_job_and_reason_choose(engine: Engine) -> None:
    write(engine)
    wanted = CountRange(2 * MINUTE_MS, 3 * MINUTE_MS, "ingest", "actions/repeat")
    assert totals(engine, wanted) == [CountRow("ingest", "actions/repeat", None, 200)]
    assert totals(engine, wanted._replace(job="Ingest")) == []


def test_pages_of_minutes_are_the_whole_cut_anywhere(engine: Engine) -> None:
    write(engine)
    with reading(engine) as connection:
        whole = list(read_minutes(connection, ALL, limit=100))
        assert len(whole) == 18
        assert whole == sorted(whole)
        for limit in (1, 4, 17):
            found: list[CountRow] = []
            while page := read_minutes(connection, ALL, after=found[-1][:3] if found else (), limit=limit):  # type: ignore[arg-type]
                found += page
            assert found == whole
