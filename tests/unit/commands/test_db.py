"""`rtexp db upgrade`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.commands.command_line import CommandLine
from tests.unit.store.databases import SqliteFile, open_database

from rtexp.store.engine import writing
from rtexp.store.migrate import check_revision

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capfd)


def test_an_upgrade_makes_the_tables_and_a_second_has_nothing_to_do(rtexp: CommandLine) -> None:
    first = rtexp("db", "upgrade")
    assert (first.code, first.err) == (0, "")
    assert first.out == f"sqlite:///{rtexp.database} is at revision 0003 now (before: no tables)\n"
    assert rtexp("db", "upgrade").out == f"sqlite:///{rtexp.database} is at revision 0003 already\n"
    with open_database(SqliteFile(rtexp.database), migrated=False) as engine:
        check_revision(engine)


def test_programs_get_json(rtexp: CommandLine) -> None:
    assert json.loads(rtexp("db", "upgrade", "--json").out) == {
        "url": f"sqlite:///{rtexp.database}",
        "before": None,
        "after": "0003",
    }


def test_a_database_of_a_newer_version_is_one_line_and_exit_code_1(rtexp: CommandLine) -> None:
    with open_database(SqliteFile(rtexp.database)) as engine, writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    ended = rtexp("db", "upgrade")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "a newer rtexp has upgraded it" in ended.err


def test_a_database_that_is_not_supported_is_exit_code_2(
    rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTEXP_STORE__URL", "postgresql://me:s3cret@host/rtexp")
    ended = rtexp("db", "upgrade")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "RTEXP_STORE__URL: expected a SQLite file" in ended.err
    assert "s3cret" not in ended.err


@pytest.mark.parametrize("arguments", [("db",), ("db", "upgrade")])
def test_help_ends_with_an_example(rtexp: CommandLine, arguments: tuple[str, ...]) -> None:
    ended = rtexp(*arguments, "--help")
    assert ended.code == 0
    assert "Example: rtexp db upgrade" in ended.out
