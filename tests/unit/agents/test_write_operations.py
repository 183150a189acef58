"""From statuses to tables: caught up after an outage, gone on with by the next leader, a day long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structlog.testing import capture_logs
from tests.unit.agents.statuses import status
from tests.unit.store.databases import SqliteFile, open_database

from rtexp.agents.counter_book import MINUTE_MS
from rtexp.agents.write_operations import REMOVE_SECONDS, OperationsWriter
from rtexp.core.delays import Delays
from rtexp.records.status import Input
from rtexp.store.engine import reading, writing
from rtexp.store.migrate import upgrade
from rtexp.store.operations import (
    KEPT_MS,
    FreshnessRow,
    read_counters,
    read_freshness,
    read_pipeline,
    read_workers,
    upsert_freshness,
)
from rtexp.store.schema import counters, pipeline

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine
    from tests.unit.store.databases import Database

    from rtexp.records.status import Status

NOW_MS = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> float:
        return self.now_ms / 1000


async def writer_of(engine: Engine, *statuses: Status, clock: Clock | None = None) -> OperationsWriter:
    """One that has begun and taken these."""
    made = OperationsWriter(engine, clock=clock or Clock())
    assert await made.begin()
    for each in statuses:
        made.take(each)
    return made


def said(at_ms: int, counted: int, position: int = 1, worker: str = "host-1") -> Status:
    return status(
        worker, NOW_MS + at_ms, counters={"actions/repeat": counted}, inputs={"in/0": Input(position, 10)}
    )


def counts(engine: Engine) -> dict[int, int]:
    with reading(engine) as connection:
        return {
            (row.minute_ms - NOW_MS) // MINUTE_MS: row.counted
            for row in read_counters(connection)
            if row.job == "aggregate"
        }


async def test_what_workers_report_is_in_all_four_tables(engine: Engine) -> None:
    delays = Delays()
    delays.add(12_000, 13_000)
    details = {"delays": {str(NOW_MS): {str(bin_): weight for bin_, weight in delays.weights.items()}}}
    results = status("host-2", NOW_MS, 5, job="results", details=details)
    writer = await writer_of(engine, said(0, 3), results)
    await writer.write()
    with reading(engine) as connection:
        assert [(row.input, row.partition, row.lag) for row in read_pipeline(connection)] == [("in", 0, 9)]
        assert [(row.worker, row.partitions) for row in read_workers(connection)] == [
            ("host-1", 1),
            ("host-2", 1),
        ]
        assert [row.p50_ms // 100 for row in read_freshness(connection)] == [125]
    assert counts(engine) == {0: 3}


async def test_what_was_reported_while_sql_refused_is_written_afterwards(
    store: Database, engine: Engine
) -> None:
    writer = await writer_of(engine, said(0, 3))
    with store.refusing_writes(), capture_logs() as told:
        await writer.write()
        writer.take(said(MINUTE_MS, 5, position=7))
        await writer.write()
    assert [line["event"] for line in told] == ["store_unavailable"]
    assert not writer.store.is_up
    await writer.write()
    assert writer.store.is_up
    assert counts(engine) == {0: 3, 1: 2}
    with reading(engine) as connection:
        assert [row.position for row in read_pipeline(connection)] == [7]


async def test_a_database_that_does_not_answer_at_the_beginning_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "away.db"
    path.mkdir()
    with open_database(SqliteFile(path), migrated=False) as engine:
        writer = OperationsWriter(engine, clock=Clock())
        assert not await writer.begin()
        path.rmdir()
        upgrade(engine)
        assert await writer.begin()


async def test_the_next_leader_reads_the_topic_again_and_counts_nothing_twice(engine: Engine) -> None:
    ingest = [
        status("host-3", NOW_MS + at_ms, -1, job="ingest", counters={"actions/read": read})
        for at_ms, read in ((0, 100), (MINUTE_MS, 250))
    ]
    first = await writer_of(engine, said(0, 3), ingest[0])
    await first.write()
    second = await writer_of(engine, said(0, 3), ingest[0], said(MINUTE_MS, 4), ingest[1])
    await second.write()
    first.take(ingest[1])
    await first.write()  # it has been paused, and doesn't know yet that it leads no more
    assert counts(engine) == {0: 3, 1: 1}
    with reading(engine) as connection:
        read = [row for row in read_counters(connection) if row.job == "ingest"]
    assert [(row.counted, row.sequence) for row in read] == [(100, 100), (150, 250)]


async def test_the_next_leader_goes_on_where_compaction_has_left_only_the_newest_reports(
    engine: Engine,
) -> None:
    def read(at_ms: int, count: int) -> Status:
        return status("host-3", NOW_MS + at_ms, -1, job="ingest", counters={"actions/read": count})

    first = await writer_of(engine, said(0, 3), read(0, 100))
    await first.write()
    second = await writer_of(engine, said(MINUTE_MS, 4), read(MINUTE_MS, 250), read(MINUTE_MS + 1, 260))
    await second.write()
    assert counts(engine) == {0: 3, 1: 1}
    with reading(engine) as connection:
        found = [row for row in read_counters(connection) if row.job == "ingest"]
    assert [(row.counted, row.sequence) for row in found] == [(100, 100), (10, 110)]


async def test_what_has_not_changed_is_not_written_again(engine: Engine) -> None:
    writer = await writer_of(engine, said(0, 3))
    await writer.write()
    with writing(engine) as connection:
        connection.execute(counters.update().values(count=99))
        connection.execute(pipeline.update().values(position=99))
    await writer.write()
    assert counts(engine) == {0: 99}
    with reading(engine) as connection:
        assert [row.position for row in read_pipeline(connection)] == [99]


async def test_what_is_older_than_a_day_is_removed_now_and_then(engine: Engine) -> None:
    clock = Clock()
    writer = await writer_of(engine, said(0, 3), said(MINUTE_MS, 4), clock=clock)
    await writer.write()
    clock.now_ms += KEPT_MS + MINUTE_MS + 1
    writer.take(said(KEPT_MS, 5, worker="host-2"))
    await writer.write()
    assert counts(engine) == {24 * 60: 1}
    with reading(engine) as connection:
        assert [row.worker for row in read_workers(connection)] == ["host-2"]
        assert [row.worker for row in read_pipeline(connection)] == ["host-2"]


async def test_removal_waits_for_its_turn(engine: Engine) -> None:
    clock = Clock()
    writer = await writer_of(engine, said(0, 3), clock=clock)
    await writer.write()
    with writing(engine) as connection:
        upsert_freshness(connection, [FreshnessRow(0, 1, 2)])
    for later_ms, left in ((round(REMOVE_SECONDS * 1000) - 1, 1), (1, 0)):
        clock.now_ms += later_ms
        await writer.write()
        with reading(engine) as connection:
            assert len(read_freshness(connection)) == left
