"""What holds for MySQL and MariaDB alone: sessions, logins, locks, connections that end, sizes."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select
from structlog.testing import capture_logs
from tests.sql_servers import PASSWORD, settings_of
from tests.unit.agents.test_publish import Table
from tests.unit.commands.command_line import CommandLine
from tests.unit.store.databases import cell_row, open_database

from rtexp.agents.publish import Publisher
from rtexp.errors import ConfigError, StoreRefused, StoreUnavailable
from rtexp.settings import StoreSettings
from rtexp.store.cells import read_cells, upsert_cells
from rtexp.store.engine import make_engine, opened, reading, writing, writing_alone
from rtexp.store.migrate import check_revision, upgrade
from rtexp.store.operations import remove_older
from rtexp.store.schema import cells, metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine
    from tests.sql_servers import ServerDatabase, SqlServer

    from rtexp.store.cells import CellRow


# --- Sessions and tables


def test_each_connection_says_how_it_wants_the_server_to_be(engine: Engine) -> None:
    def asked(connection: Connection) -> tuple[object, ...]:
        mariadb = engine.dialect.is_mariadb  # type: ignore[attr-defined]
        isolation = "@@tx_isolation" if mariadb else "@@transaction_isolation"
        ask = f"SELECT {isolation}, @@time_zone, @@character_set_client, @@innodb_lock_wait_timeout"
        return tuple(connection.exec_driver_sql(ask).one())

    with writing(engine) as connection:
        assert asked(connection) == ("READ-COMMITTED", "+00:00", "utf8mb4", 1)
        modes = connection.exec_driver_sql("SELECT @@sql_mode").scalar_one().split(",")
        assert {"STRICT_ALL_TABLES", "NO_ENGINE_SUBSTITUTION"} <= set(modes)
        assert not {"ANSI_QUOTES", "NO_BACKSLASH_ESCAPES"} & set(modes)
    with reading(engine) as connection:
        assert asked(connection) == ("REPEATABLE-READ", "+00:00", "utf8mb4", 1)
    with writing(engine) as connection:
        assert asked(connection)[0] == "READ-COMMITTED"


def test_tables_do_not_depend_on_the_servers_defaults(store: ServerDatabase) -> None:
    """The database's own character set is latin1; keys as long as ours don't fit into compact rows."""
    store.server.do(
        "SET GLOBAL default_storage_engine = MyISAM", "SET GLOBAL innodb_default_row_format = compact"
    )
    try:
        with opened(store.settings) as engine:
            upgrade(engine)
    finally:
        store.server.do(
            "SET GLOBAL default_storage_engine = InnoDB", "SET GLOBAL innodb_default_row_format = dynamic"
        )
    found = store.server.do(
        f"SELECT column_name, collation_name FROM information_schema.columns WHERE table_schema = '{store.name}' "
        "AND data_type = 'varchar' AND table_name != 'alembic_version'"
    )
    assert {name for name, _ in found} >= {"name", "control_group", "experiment", "event", "changelog"}
    assert {collation for _, collation in found} in ({"utf8mb4_nopad_bin"}, {"utf8mb4_0900_bin"})
    tables = store.server.do(
        f"SELECT table_name, engine, row_format FROM information_schema.tables WHERE table_schema = '{store.name}'"
    )
    assert {name for name, *_ in tables} == {*metadata.tables, "alembic_version"}
    assert {engine for _, engine, _ in tables} == {"InnoDB"}
    assert {form for name, _, form in tables if name != "alembic_version"} == {"Dynamic"}


def test_names_as_long_as_they_may_be_fit(engine: Engine) -> None:
    rows = [
        cell_row(name, name, name)
        for name in ("x" * 128, "é" * 64, "\uffff" * 42, "\U0001f600" * 32, "\U0001f600" * 31 + "x" * 4)
    ]
    with writing(engine) as connection:
        upsert_cells(connection, rows)
    with reading(engine) as connection:
        assert set(read_cells(connection)) == set(rows)


def test_large_sketches_are_cut_into_statements_that_the_server_takes(engine: Engine) -> None:
    # Each of these bytes is written as two. 500 rows in one statement would be 20 MB, of which MariaDB takes 16.
    awkward = bytes([0, 39, 92, 10]) * 5_000
    rows = [cell_row(bucket_start_ms=i, sketch=awkward) for i in range(600)]
    with writing(engine) as connection:
        upsert_cells(connection, rows)
    with reading(engine) as connection:
        assert list(read_cells(connection)) == rows


def test_what_does_not_fit_is_an_error_and_not_cut_off(engine: Engine) -> None:
    with pytest.raises(Exception, match="Data too long for column 'event'"), writing(engine) as connection:
        upsert_cells(connection, [cell_row(event="x" * 129)])


# --- Logins


def refused(engine: Engine) -> str:
    """What both who start by the database say, in one line."""
    told = set()
    for start in (check_revision, upgrade):
        with pytest.raises(ConfigError) as caught:
            start(engine)
        told.add(str(caught.value))
    assert len(told) == 1
    text = told.pop()
    assert "\n" not in text
    assert PASSWORD not in text
    return text


def test_a_wrong_password_is_a_fault_of_the_configuration_at_the_start(store: ServerDatabase) -> None:
    with opened(settings_of(store.url.set(password="wrong"))) as engine:
        told = refused(engine)
    assert f"{store.name}:***@127.0.0.1" in told
    assert "error 1045, Access denied for user" in told
    assert told.endswith("check user, password and the host that the user may come from")


def test_a_missing_database_is_told_with_what_to_do(sql_server: SqlServer) -> None:
    with opened(settings_of(sql_server.url.set(database="rtexp_missing"))) as engine:
        assert refused(engine).endswith("create it: CREATE DATABASE rtexp_missing")


def test_a_database_of_others_is_told_with_what_to_do(store: ServerDatabase) -> None:
    with opened(settings_of(store.url.set(database=store.server.database().name))) as engine:
        assert refused(engine).endswith("grant the user all privileges on the database")


def test_a_command_ends_with_one_line_and_no_secret(
    store: ServerDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rtexp = CommandLine(tmp_path, monkeypatch, capfd)
    monkeypatch.setenv("RTEXP_STORE__URL", store.settings.url)
    ended = rtexp("db", "upgrade")
    assert (ended.code, ended.err) == (0, "")
    monkeypatch.setenv("RTEXP_STORE__URL", settings_of(store.url.set(password="s3cret")).url)
    ended = rtexp("db", "upgrade")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    ended = rtexp("--debug", "db", "upgrade")
    assert "Traceback" in ended.err
    assert "s3cret" not in ended.err


def test_a_server_that_is_too_old_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OLDEST_MYSQL", "OLDEST_MARIADB"):
        monkeypatch.setattr(f"rtexp.store.mysql.{name}", (99, 1))
    assert refused(engine).endswith("rtexp needs 99.1 or newer")


async def test_a_password_that_changes_while_workers_run_is_read_again(
    store: ServerDatabase, tmp_path: Path
) -> None:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    settings = StoreSettings(url=store.url._replace(password=None).render_as_string(), password_file=path)
    with opened(settings) as engine:
        upgrade(engine)
        table = Table()
        table.count(1)
        publisher = Publisher(engine, lambda: [table])
        assert await publisher.run_round() == 1
        engine.dispose()  # as if the server had been restarted
        store.server.do(f"ALTER USER '{store.name}'@'%%' IDENTIFIED BY 'new'")
        table.count(1)
        with capture_logs() as logs:
            assert await publisher.run_round() == 0
            path.unlink()
            assert await publisher.run_round() == 0
            path.write_text("new")
            assert await publisher.run_round() == 1
        noticed = [entry["event"] for entry in logs if entry["log_level"] != "debug"]
        assert noticed == ["store_unavailable", "store_available"]
        assert "error 1045" in logs[0]["error"]


def test_workers_change_rows_and_an_upgrade_makes_tables_too(sql_server: SqlServer) -> None:
    upgrading = sql_server.database("SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, REFERENCES")
    user = f"'{upgrading.name}'@'%%'"
    with opened(upgrading.settings) as engine:
        upgrade(engine)
        sql_server.do(
            f"REVOKE CREATE, ALTER, INDEX, REFERENCES ON {upgrading.name}.* FROM {user}",
        )
        engine.dispose()
        check_revision(engine)
        table = Table()
        table.count(1, 2)
        assert asyncio.run(Publisher(engine, lambda: [table]).run_round()) == 2
        with writing_alone(engine) as connection:
            connection.execute(insert(metadata.tables["experiments"]).values(EXPERIMENT))
        with writing(engine) as connection:
            remove_older(connection, 0)


EXPERIMENT = {"name": "feed", "control_group": "control", "created_at_ms": 0}


NEWEST = "0003"
"""Revision."""

# --- Two at once


def test_two_upgrades_at_once_are_one_and_the_other_finds_it_done(store: ServerDatabase) -> None:
    def run(_: int) -> str | None:
        with opened(store.settings) as engine:
            return upgrade(engine).before

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(run, range(4)), key=str) == [NEWEST] * 3 + [None]


def test_who_writes_alone_waits_for_another_and_gives_up_in_the_end(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtexp.store.engine._LOCK_SECONDS", 0)
    with (
        writing_alone(engine),
        writing(engine),
        pytest.raises(StoreUnavailable, match="another process upgrades it or loads experiments"),
        writing_alone(engine),
    ):
        pytest.fail("two are alone")
    with writing_alone(engine):
        pass


def test_a_first_publish_that_another_worker_was_quicker_with_is_no_fault(
    engine: Engine, patient: Engine, store: ServerDatabase
) -> None:
    table = Table()
    table.count(1)
    with writing(engine) as connection:
        # Not committed: the second one finds nothing yet, and waits at its own insert.
        mine = {"changelog": Table.changelog, "partition": 0, "incarnation": "first"}
        connection.execute(insert(metadata.tables["incarnations"]).values(mine))
        publisher = Publisher(patient, lambda: [table])
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(asyncio.run, publisher.run_round())
            store.wait_for_lock_wait()
            connection.commit()
            assert waiting.result(20) == 1


# --- Locks and lost connections


@pytest.fixture
def patient(engine: Engine, store: ServerDatabase) -> Iterator[Engine]:
    """An engine that waits for locks, however slow the machine is."""
    made = make_engine(store.settings, busy_seconds=30)
    yield made
    made.dispose()


@contextmanager
def holding(store: ServerDatabase, row: CellRow) -> Iterator[Connection]:
    """Meanwhile somebody else has locked this row."""
    with open_database(store) as other, writing(other) as connection:
        mine = cells.c.bucket_start_ms == row.bucket_start_ms
        assert connection.execute(select(cells.c.volume).where(mine).with_for_update()).one()
        yield connection


def put(engine: Engine, *rows: CellRow) -> None:
    with writing(engine) as connection:
        upsert_cells(connection, rows)


def stored(engine: Engine) -> list[CellRow]:
    with reading(engine) as connection:
        return list(read_cells(connection))


def test_a_row_that_someone_holds_is_waited_for_and_then_given_up(
    engine: Engine, store: ServerDatabase
) -> None:
    first, second = cell_row(bucket_start_ms=1), cell_row(bucket_start_ms=2)
    put(engine, first, second)
    newer = [row._replace(volume=7, sequence=2) for row in (first, second)]
    with holding(store, second):
        with pytest.raises(StoreUnavailable, match="error 1205, Lock wait timeout"):
            put(engine, *newer)
        assert stored(engine) == [first, second], "of a transaction that failed nothing is left"
        put(engine, newer[0])
    put(engine, *newer)
    assert stored(engine) == newer


def test_a_deadlock_costs_one_of_two_their_transaction(
    engine: Engine, patient: Engine, store: ServerDatabase
) -> None:
    rows = [cell_row(bucket_start_ms=1), cell_row(bucket_start_ms=2)]
    put(engine, *rows)
    newer = [row._replace(volume=7, sequence=2) for row in rows]

    def write_both() -> str:
        try:
            put(patient, *newer)
        except StoreUnavailable as error:
            return str(error)
        return ""

    def take_first(connection: Connection) -> str:
        try:
            connection.exec_driver_sql("UPDATE cells SET exposures = 1 WHERE bucket_start_ms = 1")
        except Exception as error:  # noqa: BLE001 - of whatever kind, it is the other one's
            return str(error)
        return ""

    # We hold the second and want the first, they have the first and want the second.
    with holding(store, rows[1]) as connection, ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(write_both)
        store.wait_for_lock_wait()
        ours = take_first(connection)
        connection.rollback()
        told = [ours, theirs.result(20)]
    assert sum("1213" in text for text in told) == 1, told
    put(engine, *newer)
    assert stored(engine) == newer


def test_an_idle_connection_that_has_ended_is_replaced_without_a_word(
    engine: Engine, store: ServerDatabase
) -> None:
    put(engine, cell_row())
    assert store.end_connections() > 0
    assert stored(engine) == [cell_row()]


@pytest.mark.parametrize("begin", [reading, writing, writing_alone], ids=lambda f: f.__name__)
def test_a_connection_that_ends_in_the_middle_is_an_outage_and_nothing_is_written(
    engine: Engine, store: ServerDatabase, begin: Callable[[Engine], AbstractContextManager[Connection]]
) -> None:
    def use_it() -> None:
        with begin(engine) as connection:
            if begin != reading:
                upsert_cells(connection, [cell_row()])
            assert store.end_connections() > 0
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(StoreUnavailable, match=r"error \d+"):
        use_it()
    assert stored(engine) == []
    put(engine, cell_row())
    assert stored(engine) == [cell_row()]


def test_a_login_that_is_refused_later_is_retried_like_any_outage(
    engine: Engine, store: ServerDatabase
) -> None:
    put(engine, cell_row())
    store.server.do(f"ALTER USER '{store.name}'@'%%' IDENTIFIED BY 'new'")
    store.end_connections()
    with pytest.raises(StoreRefused, match="error 1045"):
        stored(engine)
    with pytest.raises(StoreUnavailable):
        put(engine, cell_row())


def test_a_server_that_is_not_there_is_an_outage(store: ServerDatabase) -> None:
    engine = make_engine(settings_of(store.url.set(port=1)))
    for start in (check_revision, upgrade):
        with pytest.raises(StoreUnavailable, match=r"error 2003, Can't connect .* refused"):
            start(engine)


def test_a_table_that_is_gone_while_a_backup_is_put_back_is_an_outage(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("RENAME TABLE cells TO gone")
    with pytest.raises(StoreUnavailable, match="error 1146"):
        stored(engine)
