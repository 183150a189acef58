"""Running the query of `[metadata]` on a SQLite file: read, not changed, not for long; every failure is one line."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from rtexp.settings import MetadataSettings, Settings
from rtexp.store.foreign import QueryFailed, make_foreign_engine, run_query

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE tests (x, y)")
        theirs.execute("INSERT INTO tests VALUES (1, '100 %')")
        theirs.commit()
    return path


def settings_of(path: Path) -> Settings:
    return Settings(metadata=MetadataSettings(query="SELECT 1", url=f"sqlite:///{path}"))


def failure(path: Path, query: str, *, seconds: float = 10) -> str:
    with pytest.raises(QueryFailed) as caught:
        run_query(make_foreign_engine(settings_of(path), seconds=seconds), query)
    return str(caught.value)


@pytest.mark.parametrize("end", ["", ";", " ;\n"])
def test_columns_and_rows_come_as_they_are(path: Path, end: str) -> None:
    found = run_query(
        make_foreign_engine(settings_of(path)), f"SELECT x, y AS Y FROM tests WHERE y LIKE '%%'{end}"
    )
    assert (found.columns, found.rows) == (["x", "Y"], [(1, "100 %")])


def test_a_file_that_is_not_theirs_any_more_is_named_and_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "gone.db"
    told = failure(missing, "SELECT 1 AS x FROM tests")
    assert told == f"[metadata] query failed in sqlite:///{missing}: unable to open database file"
    assert not missing.exists()


@pytest.mark.parametrize(
    "query",
    [
        "WITH x AS (SELECT 1) INSERT INTO tests SELECT 1, 2",
        "SELECT 1; DROP TABLE tests",
        "CREATE TABLE more (x)",
        "SELEC",
    ],
)
def test_what_is_no_reading_fails_and_changes_nothing(path: Path, query: str) -> None:
    before = path.read_bytes()
    failure(path, query)
    assert path.read_bytes() == before


def test_a_query_without_end_is_given_up(path: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n"
    assert failure(path, endless, seconds=0.2).endswith("interrupted")


def test_rows_without_end_are_refused(path: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    assert "more than 100,000 rows: leave out experiments of long ago" in failure(path, endless)


def test_text_in_no_known_encoding_is_a_failure_like_others(path: Path) -> None:
    assert "[metadata] query failed" in failure(path, "SELECT CAST(x'ff' AS TEXT)")
