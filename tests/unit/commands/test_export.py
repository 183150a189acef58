"""`rtexp export`: cells and looks."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from tests.unit.commands.command_line import CommandLine
from tests.unit.store.databases import SqliteFile, cell_row, look_row, open_database

from rtexp.errors import StoreUnavailable
from rtexp.store.cells import CellRow, upsert_cells
from rtexp.store.engine import writing
from rtexp.store.looks import LookRow, upsert_looks

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = (
    "experiment,period_start_ms,group_name,event,bucket_start_ms,"
    "volume,actors,sum_squares,exposures,multiple_exposures,sequence\n"
)


@pytest.fixture
def rtexp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """A database with cells of two experiments, written in no order."""
    command_line = CommandLine(tmp_path, monkeypatch, capfd)
    rows = [
        cell_row("feed", "treatment", "click", 1, volume=3, sequence=9),
        cell_row('a "b", é', "c\nd", "", 2, sketch=b"\x00\xff"),
        cell_row("feed", "control", "click", 1, sketch=None),
    ]
    with open_database(SqliteFile(command_line.database)) as engine, writing(engine) as connection:
        upsert_cells(connection, rows)
        upsert_looks(connection, [look_row(look=2), look_row(look=1), look_row(experiment="ranking")])
    return command_line


def test_csv_has_the_columns_of_the_table_and_rows_in_order_of_their_key(rtexp: CommandLine) -> None:
    ended = rtexp("export", "cells", "--format", "csv")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        HEADER
        + '"a ""b"", é",0,"c\nd",,2,1,1,1,0,0,1\n'
        + "feed,0,control,click,1,1,1,1,0,0,1\n"
        + "feed,0,treatment,click,1,3,1,9,0,0,9\n"
    )


def test_csv_is_the_default_and_one_experiment_may_be_asked_for(rtexp: CommandLine) -> None:
    ended = rtexp("export", "cells", "--experiment", "feed")
    assert [row[:3] for row in csv.reader(ended.out.splitlines())] == [
        HEADER.split(",")[:3],
        ["feed", "0", "control"],
        ["feed", "0", "treatment"],
    ]


def test_an_experiment_without_cells_gives_a_header_alone(rtexp: CommandLine) -> None:
    assert rtexp("export", "cells", "--experiment", "Feed").out == HEADER


def test_json_lines_keep_numbers_and_null(rtexp: CommandLine) -> None:
    ended = rtexp("export", "cells", "--format", "jsonl", "--sketches")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [row["sketch"] for row in rows] == ["AP8=", None, "c2tldGNo"]
    assert rows[2] == {
        "experiment": "feed",
        "period_start_ms": 0,
        "group_name": "treatment",
        "event": "click",
        "bucket_start_ms": 1,
        "volume": 3,
        "actors": 1,
        "sum_squares": 9,
        "exposures": 0,
        "multiple_exposures": 0,
        "sketch": "c2tldGNo",
        "sequence": 9,
    }


def test_a_file_is_written_whole(rtexp: CommandLine) -> None:
    Path("out.csv").write_text("the last export")
    assert rtexp("export", "cells", "--output", "out.csv") == (0, "", "")
    assert Path("out.csv").read_text(encoding="utf-8") == rtexp("export", "cells").out
    assert sorted(path.name for path in Path().iterdir() if "out" in path.name) == ["out.csv"]


def test_an_export_that_fails_leaves_the_last_file(
    rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Iterator[CellRow]:
        yield cell_row()
        raise StoreUnavailable("the database went away")

    Path("out.csv").write_text("the last export")
    monkeypatch.setattr("rtexp.commands.export.read_cells", fail)
    assert rtexp("export", "cells", "--output", "out.csv") == (1, "", "rtexp: the database went away\n")
    assert Path("out.csv").read_text() == "the last export"


def test_a_file_that_cannot_be_written_is_one_line(rtexp: CommandLine) -> None:
    ended = rtexp("export", "cells", "--output", "missing/out.csv")
    assert ended == (2, "", "rtexp: missing/out.csv can't be written: No such file or directory\n")


def test_a_database_without_tables_says_what_to_run(
    rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTEXP_STORE__URL", f"sqlite:///{rtexp.database}2")
    ended = rtexp("export", "cells", "--output", "out.csv")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "run `rtexp db upgrade`" in ended.err
    assert not Path("out.csv").exists()


def test_a_format_that_is_not_supported_is_wrong_usage(rtexp: CommandLine) -> None:
    ended = rtexp("export", "cells", "--format", "xml")
    assert ended.code == 2
    assert "'csv', 'jsonl', 'parquet'" in ended.err


def test_json_is_json_lines(rtexp: CommandLine) -> None:
    for table in ("cells", "looks"):
        assert rtexp("export", table, "--json") == rtexp("export", table, "--format", "jsonl")


def test_cells_as_parquet_have_the_types_of_the_table(rtexp: CommandLine) -> None:
    assert rtexp("export", "cells", "--format", "parquet", "--output", "out.parquet") == (0, "", "")
    assert "sketch" not in pq.read_schema("out.parquet").names
    rtexp("export", "cells", "--sketches", "--format", "parquet", "--output", "out.parquet")
    table = pq.read_table("out.parquet")
    assert [(f.name, str(f.type), f.nullable) for f in table.schema] == [
        (name, "string", False)
        if name in {"experiment", "group_name", "event"}
        else (name, "binary", True)
        if name == "sketch"
        else (name, "int64", False)
        for name in CellRow._fields
    ]
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        tuple(cell_row('a "b", é', "c\nd", "", 2, sketch=b"\x00\xff")),
        tuple(cell_row("feed", "control", "click", 1, sketch=None)),
        tuple(cell_row("feed", "treatment", "click", 1, volume=3, sequence=9)),
    ]


def test_looks_as_parquet_say_the_same_as_json_and_null_is_never_zero(rtexp: CommandLine) -> None:
    with open_database(SqliteFile(rtexp.database)) as engine, writing(engine) as connection:
        upsert_looks(connection, [look_row(look=3)._replace(effect=None, z=None, reason="empty_group")])
    rtexp("export", "looks", "--format", "parquet", "--output", "out.parquet")
    table = pq.read_table("out.parquet")
    assert table.to_pylist() == [
        json.loads(line) for line in rtexp("export", "looks", "--json").out.splitlines()
    ]
    kinds = {f.name: (str(f.type), f.nullable) for f in table.schema}
    assert kinds["z"] == ("double", True)
    assert kinds["crossed"] == ("bool", False)
    assert kinds["plan_hash"] == ("string", True)
    assert table["z"].null_count == 1


def test_an_experiment_without_cells_gives_parquet_without_rows(rtexp: CommandLine) -> None:
    rtexp("export", "cells", "--experiment", "Feed", "--format", "parquet", "--output", "out.parquet")
    assert pq.read_table("out.parquet").num_rows == 0


def test_parquet_goes_to_standard_output_where_that_is_a_pipe(rtexp: CommandLine) -> None:
    words = [sys.executable, "-m", "rtexp", "export", "cells", "--format", "parquet"]
    done = subprocess.run(words, capture_output=True, check=True, timeout=60)
    assert pq.read_table(io.BytesIO(done.stdout)).num_rows == 3
    assert done.stderr == b""


def test_parquet_is_not_poured_into_a_terminal(rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    ended = rtexp("export", "cells", "--format", "parquet")
    assert (ended.code, ended.out) == (2, "")
    assert "give --output FILE" in ended.err


def test_without_pyarrow_the_last_file_stays_and_the_error_says_what_to_install(
    rtexp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out.parquet").write_text("the last export")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ended = rtexp("export", "cells", "--format", "parquet", "--output", "out.parquet")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "pip install 'rtexp[parquet]'" in ended.err
    assert Path("out.parquet").read_text() == "the last export"


def test_looks_are_all_exported_in_order_of_their_key(rtexp: CommandLine) -> None:
    ended = rtexp("export", "looks", "--format", "jsonl")
    assert (ended.code, ended.err) == (0, "")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    expected = [look_row(look=1), look_row(look=2), look_row(experiment="ranking")]
    assert rows == [row._asdict() for row in expected]


def test_looks_as_csv_have_the_columns_of_the_table_and_say_the_same_as_json(rtexp: CommandLine) -> None:
    ended = rtexp("export", "looks", "--experiment", "ranking")
    (row,) = csv.DictReader(ended.out.splitlines())
    assert list(row) == list(LookRow._fields)
    assert (row["crossed"], row["withheld"], row["reason"]) == ("true", "false", "")
    assert float(row["lift"]) == look_row().lift


def test_looks_go_to_a_file_whole(rtexp: CommandLine) -> None:
    assert rtexp("export", "looks", "--output", "out.csv") == (0, "", "")
    assert Path("out.csv").read_text(encoding="utf-8") == rtexp("export", "looks").out
    assert rtexp("export", "looks", "--output", "missing/out.csv").code == 2


@pytest.mark.parametrize(
    ("arguments", "example"),
    [
        (("export",), "Example: rtexp export cells --format csv"),
        (("export", "cells"), "Example: rtexp export cells --format csv"),
        (("export", "looks"), "Example: rtexp export looks --format jsonl"),
    ],
)
def test_help_ends_with_an_example(rtexp: CommandLine, arguments: tuple[str, ...], example: str) -> None:
    ended = rtexp(*arguments, "--help")
    assert ended.code == 0
    assert example in ended.out
