"""What the jobs do, in SQL: absolute rows, the newest word stands, a day is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rtexp.store import schema
from rtexp.store.engine import reading, writing
from rtexp.store.operations import (
    KEPT_MS,
    CounterRow,
    FreshnessRow,
    PipelineRow,
    WorkerRow,
    read_counters,
    read_freshness,
    read_newest_counters,
    read_pipeline,
    read_workers,
    remove_older,
    upsert_counters,
    upsert_freshness,
    upsert_pipeline,
    upsert_workers,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table

MINUTE_MS = 60_000
POSITION = PipelineRow("aggregate", "rtexp.filtered-actions", 3, "host-1", 2**40, 7, 1_000, 5, 2, 9, 100)
REPEATS = CounterRow("aggregate", 3, "actions/repeat", MINUTE_MS, 4, 10)
WORKER = WorkerRow("host-1", "aggregate", "http://host:6066", 4, 50, 1, 2**33, 12.34, 100)
MINUTE = FreshnessRow(MINUTE_MS, 12_000, 14_500)


@pytest.mark.parametrize(
    ("fields", "table"),
    [
        (PipelineRow._fields, schema.pipeline),
        (tuple("count" if name == "counted" else name for name in CounterRow._fields), schema.counters),
        (WorkerRow._fields, schema.workers),
        (FreshnessRow._fields, schema.freshness),
    ],
)
def test_a_row_has_the_columns_of_its_table_in_their_order(fields: tuple[str, ...], table: Table) -> None:
    assert fields == tuple(table.c.keys())
    key = [column.name for column in table.primary_key]
    assert key == list(fields[: len(key)])


def test_rows_are_read_back_as_they_were_written_in_order_of_their_keys(engine: Engine) -> None:
    unknown = POSITION._replace(partition=2, lag=None)
    with writing(engine) as connection:
        upsert_pipeline(connection, [POSITION, unknown])
        upsert_counters(connection, [REPEATS, REPEATS._replace(partition=-1)])
        upsert_workers(connection, [WORKER])
        upsert_freshness(connection, [MINUTE, MINUTE._replace(minute_ms=0)])
    with reading(engine) as connection:
        assert read_pipeline(connection) == [unknown, POSITION]
        assert read_counters(connection) == [REPEATS._replace(partition=-1), REPEATS]
        assert read_workers(connection) == [WORKER]
        assert read_freshness(connection) == [MINUTE._replace(minute_ms=0), MINUTE]
        assert read_freshness(connection, since_ms=1) == [MINUTE]
        assert read_counters(connection, since_ms=MINUTE_MS + 1) == []


def test_a_newer_word_replaces_all_values_and_a_late_one_changes_nothing(engine: Engine) -> None:
    position = POSITION._replace(worker="host-2", position=1, lag=None, updated_ms=101)
    repeats = REPEATS._replace(counted=5, sequence=11)
    worker = WORKER._replace(restarts=2, rss_bytes=1, updated_ms=101)
    for positions, counters, workers in (
        (POSITION, REPEATS, WORKER),
        (position, repeats, worker),
        (POSITION, REPEATS, WORKER),
    ):
        with writing(engine) as connection:
            upsert_pipeline(connection, [positions])
            upsert_counters(connection, [counters])
            upsert_workers(connection, [workers])
    with reading(engine) as connection:
        assert read_pipeline(connection) == [position]
        assert read_counters(connection) == [repeats]
        assert read_workers(connection) == [worker]


def test_a_minute_of_freshness_is_as_it_was_written_last(engine: Engine) -> None:
    for p99_ms in (14_000, 13_000):
        with writing(engine) as connection:
            upsert_freshness(connection, [MINUTE._replace(p99_ms=p99_ms)])
    with reading(engine) as connection:
        assert read_freshness(connection) == [MINUTE._replace(p99_ms=13_000)]


def test_the_newest_row_is_that_of_each_counter(engine: Engine) -> None:
    later = REPEATS._replace(minute_ms=3 * MINUTE_MS, sequence=12)
    capped = REPEATS._replace(reason="actions/capped")
    with writing(engine) as connection:
        upsert_counters(connection, [REPEATS, later, capped])
    with reading(engine) as connection:
        assert read_newest_counters(connection) == [capped, later]


def test_what_is_older_goes_but_each_counters_newest_row_stays(engine: Engine) -> None:
    now_ms = 10 * KEPT_MS
    old_ms, edge_ms = now_ms - KEPT_MS - 1, now_ms - KEPT_MS
    kept = REPEATS._replace(minute_ms=edge_ms, sequence=12)
    only = REPEATS._replace(reason="actions/capped", minute_ms=old_ms)
    with writing(engine) as connection:
        upsert_pipeline(
            connection,
            [POSITION._replace(updated_ms=edge_ms), POSITION._replace(partition=4, updated_ms=old_ms)],
        )
        upsert_workers(
            connection,
            [WORKER._replace(updated_ms=edge_ms), WORKER._replace(worker="gone", updated_ms=old_ms)],
        )
        upsert_freshness(connection, [MINUTE._replace(minute_ms=ms) for ms in (edge_ms, old_ms)])
        upsert_counters(
            connection,
            [REPEATS._replace(minute_ms=old_ms), kept, only._replace(minute_ms=old_ms - 1, sequence=1), only],
        )
    with writing(engine) as connection:
        remove_older(connection, edge_ms)
    with reading(engine) as connection:
        assert [row.partition for row in read_pipeline(connection)] == [3]
        assert [row.worker for row in read_workers(connection)] == ["host-1"]
        assert [row.minute_ms for row in read_freshness(connection)] == [edge_ms]
        assert read_counters(connection) == [only, kept]
