"""Cells in SQL: absolute, as new as their sequence, in the order of their key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.schema import CreateTable
from tests.unit.store.databases import cell_row

from rtexp.store.cells import READ_ROWS, CellRow, read_cells, upsert_cells
from rtexp.store.engine import reading, writing
from rtexp.store.schema import cells, metadata
from rtexp.store.upserts import BATCH_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine


def write(engine: Engine, *rows: CellRow) -> None:
    with writing(engine) as connection:
        upsert_cells(connection, rows)


def stored(engine: Engine, experiment: str | None = None) -> Sequence[CellRow]:
    with reading(engine) as connection:
        return list(read_cells(connection, experiment=experiment))


def test_a_row_has_the_columns_of_the_table_in_their_order() -> None:
    assert CellRow._fields == tuple(cells.c.keys())
    assert [column.name for column in cells.primary_key] == list(CellRow._fields[:5])


def test_a_row_is_read_back_as_it_was_written(engine: Engine) -> None:
    row = CellRow("feed", -1, "treatment", "", 2**62, 2**62, 2, 2**62, 4, 5, bytes(range(256)), 7)
    write(engine, row, cell_row(sketch=None))
    assert set(stored(engine)) == {row, cell_row(sketch=None)}


def test_a_row_of_a_higher_sequence_replaces_all_values(engine: Engine) -> None:
    write(engine, cell_row(volume=9, sketch=b"old", sequence=5))
    newer = cell_row(volume=3, sketch=b"new", sequence=6)
    write(engine, newer)
    assert stored(engine) == [newer]


def test_the_same_sequence_again_repairs_what_someone_else_did_to_the_row(engine: Engine) -> None:
    row = cell_row(volume=9, sequence=5)
    write(engine, row)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE cells SET volume = 0")
    write(engine, row)
    assert stored(engine) == [row]


def test_a_late_writer_of_a_lower_sequence_changes_nothing(engine: Engine) -> None:
    write(engine, cell_row(volume=9, sequence=6))
    write(engine, cell_row(volume=3, sequence=5), cell_row(event="search", sequence=5))
    assert stored(engine) == [cell_row(volume=9, sequence=6), cell_row(event="search", sequence=5)]


def test_more_rows_than_a_batch_and_a_fetch_are_all_written_and_read(engine: Engine) -> None:
    count = BATCH_ROWS + READ_ROWS + 1
    rows = [cell_row(bucket_start_ms=i * 900_000) for i in range(count)]
    write(engine, *rows)
    assert stored(engine) == rows


def test_names_that_differ_only_by_case_accents_or_spaces_are_cells_of_their_own(engine: Engine) -> None:
    names = ["feed", "Feed", "féed", "fe\u0301ed", "feed ", " feed", "straße", "strasse", "feed\x00"]
    rows = [cell_row(experiment=name, group=name, event=name) for name in names]
    write(engine, *rows)
    assert set(stored(engine)) == set(rows)
    assert stored(engine, "feed") == [rows[0]]


def test_rows_come_in_order_of_their_key_names_byte_for_byte(engine: Engine) -> None:
    keys = [
        ("Feed", 2, "c", "", 1),
        ("feed", 1, "c", "x", 2),
        ("feed", 1, "t", "", 1),
        ("feed", 1, "t", "x", 1),
        ("feed", 1, "t", "x", 2),
        ("feed", 2, "c", "", 1),
        ("é", 1, "c", "", 1),
        ("\uffff", 1, "c", "", 1),
        ("\U0001f600", 1, "c", "", 1),
    ]
    rows = [cell_row(e, g, v, b, period_start_ms=p) for e, p, g, v, b in keys]
    write(engine, *reversed(rows))
    assert stored(engine) == rows
    assert [row[0].encode() for row in rows] == sorted(row[0].encode() for row in rows)


def test_every_table_compiles_for_mysql_too() -> None:
    # Until MySQL is supported this is all that can be asked without a server.
    for table in metadata.tables.values():
        for dialect in (sqlite.dialect(), mysql.dialect()):
            assert str(CreateTable(table).compile(dialect=dialect)).strip().startswith("CREATE TABLE")
