"""A server that dies, fills up or is busy while workers write to it; afterwards every row is right."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from operator import ge
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from tests.sql_servers import PrivateMariaDb
from tests.unit.agents.test_publish import Table, volumes
from tests.unit.store.databases import cell_row, open_database

from rtexp.agents.publish import Publisher
from rtexp.agents.sync_metadata import MetadataSync
from rtexp.errors import StoreUnavailable
from rtexp.settings import DataSettings, PipelineSettings, Settings
from rtexp.store.cells import upsert_cells
from rtexp.store.definitions import Experiment
from rtexp.store.engine import writing, writing_alone
from rtexp.store.metadata import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine
    from tests.sql_servers import ServerDatabase

    from rtexp.engine.api import Output

pytestmark = pytest.mark.timeout(120)

BUCKETS = 40
FEED = Experiment("feed", "control", ("control",), ())


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[PrivateMariaDb]:
    """A server of the test's own, which may be killed."""
    with PrivateMariaDb(tmp_path / "mariadb") as server:
        yield server


@dataclass
class Workers:
    """Two results workers, whose cells change all the time; the second one syncs metadata as well."""

    engines: list[Engine]
    tables: list[Table] = field(default_factory=lambda: [Table(0), Table(1)])
    snapshots: int = 0

    def __post_init__(self) -> None:
        self.publishers = [
            Publisher(engine, self._only(table), interval_seconds=0.01, limit_rows=BUCKETS // 2)
            for engine, table in zip(self.engines, self.tables, strict=True)
        ]

    def _only(self, table: Table) -> Callable[[], list[Table]]:
        return lambda: [table]

    async def count(self) -> None:
        while True:
            for table in self.tables:
                table.count(*range(BUCKETS))
            await asyncio.sleep(0.005)

    async def sync(self, settings: Settings) -> None:
        async def send(_: Output) -> None:
            self.snapshots += 1

        sync = MetadataSync(self.engines[1], settings, send)
        while True:
            await sync.run_once(0)
            await asyncio.sleep(0.05)

    async def written(self) -> None:
        """Return when SQL has got something that was counted after the call, of each, and was read as well."""
        snapshots = self.snapshots
        positions = [table.position + 1 for table in self.tables]

        def holds() -> bool:
            published = [
                p.published.get(t.partition, 0) for p, t in zip(self.publishers, self.tables, strict=True)
            ]
            return self.snapshots > snapshots and all(map(ge, published, positions))

        await until(holds)

    async def unavailable(self) -> None:
        await until(lambda: not any(publisher.store.is_up for publisher in self.publishers))


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


async def running(workers: Workers, settings: Settings) -> AsyncIterator[None]:
    """Let them work; afterwards they stop counting and finish what is left."""
    async with asyncio.TaskGroup() as group:
        counting = group.create_task(workers.count())
        others = [group.create_task(publisher.run()) for publisher in workers.publishers]
        others.append(group.create_task(workers.sync(settings)))
        await workers.written()
        yield
        await workers.written()
        counting.cancel()
        for table in workers.tables:
            await table.empty.wait()
        for task in others:
            task.cancel()


async def test_a_server_that_is_killed_and_a_row_that_is_held_leave_no_wrong_row(
    mortal: PrivateMariaDb, tmp_path: Path
) -> None:
    store = mortal.database()
    settings = Settings(store=store.settings, data=DataSettings(directory=tmp_path))
    with open_database(store) as one, open_database(store) as two, capture_logs() as logs:
        workers = Workers([one, two])
        with writing_alone(one) as connection:
            load(connection, [FEED], pipeline=PipelineSettings(), now_ms=0)
        async for _ in running(workers, settings):
            await hold_a_row(store, workers)
            await workers.written()
            await asyncio.to_thread(mortal.kill)
            await workers.unavailable()
            await asyncio.to_thread(mortal.start)
            await workers.written()
            assert await asyncio.to_thread(store.end_connections) > 0
        assert volumes(one) == {
            (f"feed-{table.partition}", bucket): volume
            for table in workers.tables
            for bucket, volume in table.volumes.items()
        }
    errors = {entry["error"] for entry in logs if entry["event"] == "store_unavailable"}
    assert any("error 1205, Lock wait timeout" in error for error in errors), "nobody missed the row"
    lost = ("error 2003", "error 2006", "error 2013")
    assert any(number in error for error in errors for number in lost), "nobody missed the server"


async def hold_a_row(store: ServerDatabase, workers: Workers) -> None:
    """Keep a lock until both have given up waiting at least once."""

    def locked() -> Iterator[None]:
        with open_database(store) as other, writing(other) as connection:
            connection.exec_driver_sql("SELECT volume FROM cells WHERE bucket_start_ms = 7 FOR UPDATE")
            yield

    holding = locked()
    await asyncio.to_thread(next, holding)
    await workers.unavailable()
    await asyncio.to_thread(next, holding, None)


def test_a_full_disk_is_an_outage_and_writing_goes_on_once_there_is_room(tmp_path: Path) -> None:
    # A tablespace that may not grow stands in for the disk.
    server = PrivateMariaDb(tmp_path / "mariadb")
    server.options["innodb-file-per-table"] = "0"
    rows = [cell_row(bucket_start_ms=n, sketch=bytes(16_000)) for n in range(2_000)]

    def write(engine: Engine) -> None:
        with writing(engine) as connection:
            upsert_cells(connection, rows)

    server.options["innodb-data-file-path"] = "ibdata1:12M"
    with server:
        store = server.database()
        with open_database(store) as engine:
            with pytest.raises(StoreUnavailable, match="error 1114, The table 'cells' is full"):
                write(engine)
            assert volumes(engine) == {}
    server.options["innodb-data-file-path"] = "ibdata1:12M:autoextend"
    with server, open_database(store) as engine:
        write(engine)
        assert len(volumes(engine)) == len(rows)
