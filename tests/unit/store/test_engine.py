"""How the database is opened, and what happens when it doesn't answer."""

from __future__ import annotations

from contextlib import closing
from sqlite3 import connect
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import IntegrityError
from tests.unit.store.databases import locked, open_database, settings_of

from rtexp.errors import ConfigError, StateError, StoreUnavailable
from rtexp.store.engine import make_engine, opened, reading, writing

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine


def test_the_directory_of_a_sqlite_file_is_made(tmp_path: Path) -> None:
    with open_database(tmp_path / "new" / "deep" / "x.db"):
        assert (tmp_path / "new" / "deep" / "x.db").exists()


def test_a_directory_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"\[store\] url: .* can't be made"):
        make_engine(settings_of(tmp_path / "file" / "x.db"))


def test_connections_write_ahead_and_enforce_foreign_keys(tmp_path: Path) -> None:
    with open_database(tmp_path / "x.db") as engine, reading(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_locked_database_is_unavailable_for_writing_only(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with open_database(path) as engine:
        with locked(path):
            with pytest.raises(StoreUnavailable, match="locked"), writing(engine):
                pytest.fail("a transaction began beside the lock")
            with reading(engine) as connection:
                assert connection.exec_driver_sql("SELECT count(*) FROM cells").scalar() == 0
        with writing(engine) as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM cells").scalar() == 0


def test_a_writer_keeps_others_from_writing_from_its_first_read_on(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with open_database(path) as engine, writing(engine) as connection:
        connection.exec_driver_sql("SELECT count(*) FROM cells").scalar()
        with (
            closing(connect(path, timeout=0.02)) as other,
            pytest.raises(Exception, match="locked"),
        ):
            other.execute("DELETE FROM cells")


def test_an_exception_rolls_everything_back(tmp_path: Path) -> None:
    insert = "INSERT INTO experiments (name, control_group, created_at_ms) VALUES ('feed', 'control', 0)"

    def insert_twice(engine: Engine) -> None:
        with writing(engine) as connection:
            connection.exec_driver_sql(insert)
            connection.exec_driver_sql(insert)

    with open_database(tmp_path / "x.db") as engine:
        with pytest.raises(IntegrityError):
            insert_twice(engine)
        with reading(engine) as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM experiments").scalar() == 0


def test_a_file_that_is_no_database_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    text = "a letter, not a database\n" * 100
    path.write_text(text)
    with (
        opened(settings_of(path)) as engine,
        pytest.raises(StateError, match="not a database"),
        writing(engine),
    ):
        pytest.fail("a transaction began in a letter")
    assert path.read_text() == text
