"""A database that is set back to its last backup: what comes from the results job's state again, and what doesn't."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, insert, select
from tests.faults.cluster import make_settings
from tests.integration.pipelines import (
    CONTROL,
    GROUPS,
    TREATMENT,
    Pipeline,
    action,
    activation,
    experiment,
    now_ms,
)

from rtexp.commands.wait import wait_for_all
from rtexp.local.readiness import wait_for_snapshot
from rtexp.settings import StatisticsSettings
from rtexp.store.engine import opened, reading
from rtexp.store.schema import cells, looks, metadata

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Table
    from tests.integration.conftest import NewStore

    from rtexp.local.raw_records import RawRecord
    from rtexp.settings import StoreSettings

pytestmark = pytest.mark.integration

START_MS = 1_420_416_000_000
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
JOBS = {"ingest": 1, "aggregate": 1, "results": 1}
WITHIN_SECONDS = 120.0
NOT_COMPARED = {"sequence", "evaluated_ms"}
"""They say when a row was written."""

Rows = list[dict[str, Any]]
Results = dict[tuple[Any, ...], dict[str, Any]]
"""Rows by primary key."""


def hour(number: int, *names: str) -> list[RawRecord]:
    """An hour of 40 users who are triggered into these experiments, in order of time."""
    start_ms = START_MS + number * HOUR_MS
    triggers = [activation(f"u{n}", name, start_ms + n, GROUPS[n % 2]) for name in names for n in range(40)]
    acts = [action(f"u{n % 40}", start_ms + MINUTE_MS + n * 10_000) for n in range(300)]
    return [*sorted(triggers, key=lambda record: record.arrival_ms), *acts]


def backup(store: StoreSettings) -> dict[str, Rows]:
    with opened(store) as engine, reading(engine) as connection:
        return {table.name: rows_of(connection, table) for table in metadata.sorted_tables}


def rows_of(connection: Any, table: Table) -> Rows:
    return [dict(row) for row in connection.execute(select(table)).mappings()]


def restore(store: StoreSettings, saved: dict[str, Rows]) -> None:
    with opened(store) as engine, engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
        for table in metadata.sorted_tables:
            if saved[table.name]:
                connection.execute(insert(table), saved[table.name])


def results(store: StoreSettings, table: Table) -> Results:
    with opened(store) as engine, reading(engine) as connection:
        return {
            tuple(row[column.name] for column in table.primary_key): {
                key: value for key, value in row.items() if key not in NOT_COMPARED
            }
            for row in rows_of(connection, table)
        }


def differing(expected: Results, found: Results) -> list[str]:
    """What isn't as expected, row by row, and column by column where a row is there."""
    return [
        f"{key}: {sorted(expected.get(key, {}).items() ^ found.get(key, {}).items(), key=repr)}"
        for key in expected.keys() | found.keys()
        if expected.get(key) != found.get(key)
    ]


async def once_they_are(expected: Results, store: StoreSettings) -> list[str]:
    """Return which cells differ in SQL, as soon as none does; late, whichever do."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while (found := differing(expected, results(store, cells))) and time.monotonic() < deadline:  # noqa: ASYNC110 - another process writes
        await asyncio.sleep(0.5)
    return found


async def test_a_database_set_back_to_a_backup_has_all_cells_again_and_looks_from_then_on(
    broker: str, tmp_path: Path, new_store: NewStore
) -> None:
    #  hour      0            1            2            3
    #            [-- before --|------------|------------]
    #                         [-- later ---|------------]
    #                         ^ backup     ^ set back
    made = make_settings(tmp_path, broker, f"r{uuid4().hex[:8]}", partitions=1, store=new_store())
    settings = made.model_copy(update={"statistics": StatisticsSettings(look_every_hours=1.0)})
    pipeline = Pipeline(tmp_path / "workers", settings, JOBS)
    later = experiment("later", START_MS + HOUR_MS)
    try:
        await pipeline.prepare([experiment("before", START_MS)])
        pipeline.start()
        await wait_for_snapshot(settings.kafka, 0)
        await count_hour(pipeline, 0, "before")
        saved = backup(settings.store)
        pipeline.add(later)
        await wait_for_snapshot(settings.kafka, now_ms())
        await count_hour(pipeline, 1, "before", "later")
        all_cells, all_looks = (results(settings.store, table) for table in (cells, looks))
        worker = pipeline.workers["results-1"]
        await asyncio.to_thread(worker.end, signal.SIGTERM)
        restore(settings.store, saved)
        kept = results(settings.store, looks)
        assert 0 < len(results(settings.store, cells)) < len(all_cells), "the backup is older"
        assert 0 < len(kept) < len(all_looks), "the backup is older"
        pipeline.add(later)
        worker.start()
        assert await once_they_are(all_cells, settings.store) == []
        await count_hour(pipeline, 2, "before", "later")
        found = results(settings.store, looks)
        assert kept.items() <= found.items()
        assert {(key[0], key[7]) for key in found} == {("before", 1), ("before", 3), ("later", 2)}
        for experiment_name, group in (("before", CONTROL), ("later", TREATMENT)):
            assert seen_by_the_last_look(found, experiment_name, group) == sum(
                row["volume"]
                for key, row in results(settings.store, cells).items()
                if (key[0], key[2], key[3]) == (experiment_name, group, "search")
            )
    finally:
        pipeline.stop()


async def count_hour(pipeline: Pipeline, number: int, *names: str) -> None:
    """Send an hour of actions, and return when they are counted and the look at its end is in SQL."""
    await pipeline.send(hour(number, *names), marker_ms=START_MS + (number + 1) * HOUR_MS + 5 * MINUTE_MS)
    await wait_for_all(pipeline.settings, WITHIN_SECONDS)


def seen_by_the_last_look(found: Results, name: str, group: str) -> int:
    newest = max(
        (key for key in found if (key[0], *key[3:5]) == (name, "search", "volume")), key=lambda key: key[7]
    )
    seen: int = found[newest][f"s1_{group}"]
    return seen
