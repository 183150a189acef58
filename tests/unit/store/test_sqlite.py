"""What holds for SQLite alone: its file, its directory, its one writer, and transactions around DDL."""

from __future__ import annotations

from contextlib import closing
from sqlite3 import connect
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import inspect
from tests.unit.store.databases import SqliteFile, open_database

from rtexp.errors import ConfigError, StateError, StoreUnavailable
from rtexp.store.engine import make_engine, opened, reading, writing
from rtexp.store.migrate import MIGRATIONS, upgrade

if TYPE_CHECKING:
    from pathlib import Path


def test_the_directory_of_a_file_is_made(tmp_path: Path) -> None:
    with open_database(SqliteFile(tmp_path / "new" / "deep" / "x.db")):
        assert (tmp_path / "new" / "deep" / "x.db").exists()


def test_a_directory_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"\[store\] url: .* can't be made"):
        make_engine(SqliteFile(tmp_path / "file" / "x.db").settings)


def test_connections_write_ahead_and_enforce_foreign_keys(tmp_path: Path) -> None:
    with open_database(SqliteFile(tmp_path / "x.db")) as engine, reading(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_writer_waits_for_the_lock_before_its_first_read(tmp_path: Path) -> None:
    store = SqliteFile(tmp_path / "x.db")
    with (
        open_database(store) as engine,
        store.refusing_writes(),
        pytest.raises(StoreUnavailable, match="locked"),
        writing(engine),
    ):
        pytest.fail("a transaction began beside the lock")


def test_a_writer_keeps_others_from_writing_from_its_first_read_on(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with open_database(SqliteFile(path)) as engine, writing(engine) as connection:
        connection.exec_driver_sql("SELECT count(*) FROM cells").scalar()
        with (
            closing(connect(path, timeout=0.02)) as other,
            pytest.raises(Exception, match="locked"),
        ):
            other.execute("DELETE FROM cells")


def test_an_upgrade_that_fails_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "migrations"
    (broken / "versions").mkdir(parents=True)
    (broken / "env.py").write_text((MIGRATIONS / "env.py").read_text())
    (broken / "versions" / "0001_broken.py").write_text(
        "from alembic import op\nrevision = '0001'\ndown_revision = None\n"
        "def upgrade():\n    op.execute('CREATE TABLE half (id INTEGER)')\n    raise RuntimeError('cut')\n"
    )
    monkeypatch.setattr("rtexp.store.migrate.MIGRATIONS", broken)
    with open_database(SqliteFile(tmp_path / "x.db"), migrated=False) as engine:
        with pytest.raises(RuntimeError, match="cut"):
            upgrade(engine)
        assert inspect(engine).get_table_names() == []


def test_a_file_that_is_no_database_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    text = "a letter, not a database\n" * 100
    path.write_text(text)
    with (
        opened(SqliteFile(path).settings) as engine,
        pytest.raises(StateError, match="not a database"),
        writing(engine),
    ):
        pytest.fail("a transaction began in a letter")
    assert path.read_text() == text
