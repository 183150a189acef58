"""What is said of the database, of the experiments in it, and of the workers that it knows."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.unit.store.databases import Database, open_database

from rtexp.local.broker_files import free_port
from rtexp.local.checks import workers as workers_module
from rtexp.local.checks.database import database
from rtexp.local.checks.definitions import definitions
from rtexp.local.checks.everything import check_sql
from rtexp.local.checks.workers import judge, wait_for_workers, workers
from rtexp.settings import ActionSettings, MetadataSettings, Settings
from rtexp.store.definitions import parse_definitions
from rtexp.store.engine import writing, writing_alone
from rtexp.store.metadata import load
from rtexp.store.operations import WorkerRow, upsert_workers

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from rtexp.local.checks.findings import Finding

NOW = 1_700_000_000_000


@pytest.fixture
def settings(store: Database) -> Settings:
    return Settings(store=store.settings)


def told(found: list[Finding]) -> list[str]:
    return [f"{finding.level} {finding.check}: {finding.text}" for finding in found]


def test_a_database_that_is_well(engine: Engine, settings: Settings) -> None:
    found = told(database(settings))
    assert found[0].startswith("ok database: ")
    assert "its tables are as they should be" in found[0]
    assert found[-1] == "ok database: rows may be read, added, changed and removed"
    with writing(engine) as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM incarnations").scalar_one() == 0


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    missing = Settings.model_validate({"store": {"url": f"sqlite:///{tmp_path}/data/x.db"}})
    (line,) = told(database(missing))
    assert (
        line
        == f"fail database: sqlite:///{tmp_path}/data/x.db: there is no such file yet: run `rtexp db upgrade`"
    )
    assert list(tmp_path.iterdir()) == []


def test_tables_of_another_revision_say_what_to_run(engine: Engine, settings: Settings) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    (line,) = told(database(settings))
    assert "is at revision 0001, this version needs" in line
    assert "run `rtexp db upgrade`" in line


def test_a_database_that_cannot_be_written_says_which_rights_are_needed(
    store: Database, settings: Settings
) -> None:
    with open_database(store), store.refusing_writes():
        found = told(database(settings))
    assert found[0].startswith("ok database: ")
    assert found[-1].startswith("fail database: ")
    assert "workers need SELECT, INSERT, UPDATE and DELETE" in found[-1]


def define(engine: Engine, settings: Settings, extra: str = "") -> None:
    text = f"experiments: [{{name: feed, control: c, groups: [c, t]{extra}}}]"
    with writing_alone(engine) as connection:
        found = parse_definitions(text, settings).experiments
        load(connection, found, pipeline=settings.pipeline, now_ms=NOW)


def test_no_experiments_are_a_warning(engine: Engine, settings: Settings) -> None:
    assert told(definitions(settings)) == [
        "warn experiments: none is defined: `rtexp experiments load FILE`, or set [metadata] query"
    ]
    define(engine, settings, ", " + ramped_at(datetime.now(UTC)))
    assert told(definitions(settings)) == ["ok experiments: 1 in SQL"]


def ramped_at(time: datetime) -> str:
    return f"allocations: [{{group: c, percent: 5, at: {time:%Y-%m-%dT%H:%M:%SZ}}}]"


@pytest.mark.parametrize("clock", ["live", "records"])
def test_experiments_whose_periods_are_all_over_are_a_warning_but_before_a_replay(
    engine: Engine, settings: Settings, clock: str
) -> None:
    define(engine, settings, ", " + ramped_at(datetime.now(UTC) - timedelta(hours=73)))
    pipeline = settings.pipeline.model_copy(update={"clock": clock})
    (line,) = told(definitions(settings.model_copy(update={"pipeline": pipeline})))
    if clock == "records":
        assert line == "ok experiments: 1 in SQL"
    else:
        assert line.startswith("warn experiments: 1 in SQL, none of them in a period now")
        assert "the 72 hours after a ramp" in line


def test_a_plan_about_an_event_that_is_tracked_no_more_is_a_warning(
    engine: Engine, settings: Settings
) -> None:
    define(engine, settings, ", good: {search: up}")
    other = settings.model_copy(update={"actions": ActionSettings(tracked=("buy",))})
    found = told(definitions(other))
    assert found[1].startswith("warn experiments: experiment `feed`.good: `search` is not tracked")


def asking(settings: Settings, query: str) -> Settings:
    return settings.model_copy(update={"metadata": MetadataSettings(query=query)})


ROWS = "SELECT 'x' AS experiment, 'c' AS group_name, 'c' AS control, 5 AS percent, '2023-11-14' AS changed_at"


def test_a_query_is_tried_and_its_wrong_rows_are_told(engine: Engine, settings: Settings) -> None:
    well = f"{ROWS} UNION ALL SELECT 'x', 't', 'c', 5, '2023-11-14'"
    assert told(definitions(asking(settings, well)))[1:] == [
        "ok experiments: [metadata] query yields 1, all of which fit"
    ]
    assert told(definitions(asking(settings, ROWS)))[1:] == [
        (
            "fail experiments: [metadata] query, row 1, experiment `x`: group: expected the control and at least one "
            "group to compare with it"
        )
    ]
    (line,) = told(definitions(asking(settings, "SELECT 1 FROM gone")))[1:]
    assert line.startswith("fail experiments: [metadata] query failed in ")
    many = " UNION ALL ".join(ROWS.replace("'x'", f"'x{i}'") for i in range(8))
    assert told(definitions(asking(settings, many)))[-1] == (
        "fail experiments: 3 more are refused: see `rtexp experiments list`"
    )


async def test_a_query_is_tried_before_there_are_tables(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (x)")
    store = {"url": f"sqlite:///{path}"}
    asked = Settings.model_validate(
        {"store": store, "metadata": {"query": "SELECT x AS experiment FROM mine"}}
    )
    found = told(await check_sql(asked))
    assert found[0].endswith("has no tables yet: run `rtexp db upgrade`")
    assert found[1:3] == [
        "fail experiments: not known before the database is well",
        "fail workers: not known before the database is well",
    ]
    assert "[metadata] query" in found[3]
    assert "group" in found[3]
    assert "percent" in found[3]


async def test_a_query_is_not_tried_where_its_database_does_not_answer() -> None:
    store = {"url": f"mysql+pymysql://x@127.0.0.1:{free_port()}/x"}
    found = await check_sql(Settings.model_validate({"store": store, "metadata": {"query": "SELECT 1"}}))
    assert [finding.check for finding in found] == ["database", "experiments", "workers"]


def row(job: str, *, url: str = "http://127.0.0.1:1", updated_ms: int = NOW) -> WorkerRow:
    return WorkerRow(f"host-{job}", job, url, 8, NOW, 0, 1, 1.0, updated_ms)


ALL = [row("ingest"), row("aggregate"), row("results")]


def test_workers_that_say_so_are_ready() -> None:
    said = {f"host-{job}": {"ready": True} for job in ("ingest", "aggregate", "results")}
    assert told(judge(ALL, said, NOW)) == [
        "ok workers: ingest: 1 ready",
        "ok workers: aggregate: 1 ready",
        "ok workers: results: 1 ready",
    ]


def test_a_job_without_a_worker_and_a_worker_that_is_not_ready_are_told() -> None:
    said = {"host-aggregate": {"ready": False, "reasons": ["recovering"]}, "host-results": None}
    found = told(judge([row("aggregate"), row("results")], said, NOW))
    assert [line.split(":")[1].strip()[:22] for line in found] == [
        "no ingest worker has s",
        "host-aggregate (aggreg",
        "host-results (results)",
    ]
    assert "`rtexp up`" in found[0]
    assert "isn't ready (recovering)" in found[1]
    assert "doesn't answer at http" in found[2]
    assert all(line.startswith("fail") for line in found)


def test_a_worker_that_serves_nothing_is_believed_and_one_with_another_clock_is_not() -> None:
    silent = [row(job, url="") for job in ("ingest", "aggregate")]
    found = told(judge([*silent, row("results", url="", updated_ms=NOW + 9000)], {}, NOW))
    assert found[:2] == ["ok workers: ingest: 1 ready", "ok workers: aggregate: 1 ready"]
    assert found[3].startswith("fail clocks: the clock of host-results (results) is 9.0 s ahead")


def speak(engine: Engine, ago_ms: int) -> None:
    now_ms = time.time_ns() // 1_000_000
    with writing(engine) as connection:
        upsert_workers(connection, [one._replace(updated_ms=now_ms - ago_ms) for one in ALL])


def test_those_who_have_spoken_lately_are_asked(engine: Engine, settings: Settings) -> None:
    speak(engine, 3_600_000)
    asked: list[str] = []

    def ask(url: str) -> dict[str, object]:
        asked.append(url)
        return {"ready": True}

    assert [f.level for f in workers(settings, ask)] == ["fail"] * 3
    assert asked == []
    speak(engine, 1000)
    assert [f.level for f in workers(settings, ask)] == ["ok"] * 3
    assert asked == ["http://127.0.0.1:1/health/ready"] * 3


async def test_waiting_ends_when_workers_are_ready_and_when_the_time_is_over(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready: list[dict[str, object]] = [{"ready": False}] * 3
    monkeypatch.setattr(workers_module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(
        workers_module, "workers", lambda _: judge(ALL, {one.worker: ready[0] for one in ALL}, NOW)
    )
    began = time.monotonic()
    await wait_for_workers(settings, 0.2)
    assert time.monotonic() - began >= 0.2
    ready[0] = {"ready": True}
    await wait_for_workers(settings, 600)
    assert time.monotonic() - began < 500


async def test_waiting_begins_before_there_is_a_database(tmp_path: Path) -> None:
    missing = Settings.model_validate({"store": {"url": f"sqlite:///{tmp_path}/x.db"}})
    await wait_for_workers(missing, 0.05)


def test_a_database_of_something_else_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (x)")
    (line,) = told(database(Settings.model_validate({"store": {"url": f"sqlite:///{path}"}})))
    assert "has no tables yet: run `rtexp db upgrade`" in line
